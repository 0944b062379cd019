"""Installation of Istio's ambient profile and of the lab's application."""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import yaml

from embedded import groups
from embedded.control_plane import admission
from embedded.control_plane.addresses import NODE_IP
from embedded.kube import Kube, Object

MANAGER = "waypoint-lab"
# Their Pods must be ready for the cluster to be ready. Pods in other namespaces are the user's own.
NAMESPACES = ("istio-system", "bookinfo-frontends", "bookinfo-backends")
USER_TOOLS = ("kubectl", "helm", "pulumi")  # starts of field managers' names
INGRESS_SERVICE = "/api/v1/namespaces/istio-system/services/ingress-istio"
# istiod's ports on the node by the name of the Service's port.
ISTIOD_PORTS = (("grpc-xds", 15010), ("https-dns", 15012), ("http-monitoring", 15014), ("https-webhook", 15017))
BOOKINFO = Path(__file__).parents[1] / "bookinfo" / "bookinfo.yaml"
SERVICE_TYPE = "networking.istio.io/service-type"
# istiod runs as a process of the node; the node proxy takes the place of ztunnel and the CNI agent. Nothing is injected
# into Pods of an ambient mesh.
LEFT_OUT = {
    "Deployment",
    "DaemonSet",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "MutatingWebhookConfiguration",
}
# yaml's C loader is an order of magnitude faster, and the CRDs are two megabytes of YAML.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def path_of(item: Object) -> str:
    """Return the API path of an object; its kind has a regular plural."""
    version, kind, namespace = item["apiVersion"], item["kind"].lower(), item["metadata"].get("namespace")
    base = f"/api/{version}" if version == "v1" else f"/apis/{version}"
    middle = f"/namespaces/{namespace}" if namespace else ""
    plural = kind.removesuffix("y") + "ies" if kind.endswith("policy") else f"{kind}s"
    return f"{base}{middle}/{plural}/{item['metadata']['name']}"


def _load(text: str) -> list[Object]:
    return [item for item in yaml.load_all(text, Loader=_LOADER) if item]


def parsed(share: Path, folder: Path) -> list[Object]:
    """Return all objects of the mesh. They are kept as JSON in `folder`, because parsing the YAML takes seconds."""
    source = hashlib.sha256(Path(__file__).read_bytes() + share.parent.name.encode()).hexdigest()[:16]
    cache = folder / f"mesh-{source}.json"
    try:
        kept: list[Object] = json.loads(cache.read_text())
        return kept
    except (OSError, ValueError):
        pass
    items = [
        item
        for file in sorted((share / "gateway-api" / "standard").glob("gateway*.yaml"))
        for item in _load(file.read_text())
    ]
    items += [
        _adapt(item) for item in _load((share / "istio-ambient.yaml").read_text()) if item["kind"] not in LEFT_OUT
    ]
    items += [admission.for_every_object(item) for item in items if item["kind"] == "ValidatingWebhookConfiguration"]
    new = cache.with_suffix(".new")
    new.write_text(json.dumps(items))
    new.replace(cache)
    return items


def _adapt(item: Object) -> Object:
    name = (item["kind"], item["metadata"]["name"])
    if name == ("ConfigMap", "istio"):
        mesh = yaml.safe_load(item["data"]["mesh"])
        # Metrics need istio.stats, a filter that only Istio's build of Envoy has.
        mesh.get("defaultProviders", {}).pop("metrics", None)
        mesh["extensionProviders"] = [{"name": "envoy", "envoyFileAccessLog": {"path": "/dev/stdout"}}]
        item["data"]["mesh"] = yaml.safe_dump(mesh)
    return item


def _slice(namespace: str, service: str, ports: Iterable[tuple[str, int]]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-node",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports],
    }


async def _apply(kube: Kube, items: Iterable[Object]) -> None:
    gate = asyncio.Semaphore(16)

    async def one(item: Object) -> None:
        async with gate:
            await kube.apply(path_of(item), item, manager=MANAGER)

    await asyncio.gather(*(one(item) for item in items))


async def install(kube: Kube, share: Path, folder: Path) -> None:
    """Apply the CRDs and Istio's own objects.

    Args:
        kube: Client of the API server.
        share: `share` folder of the toolchain.
        folder: Folder for the parsed objects.
    """
    items = await asyncio.to_thread(parsed, share, folder)
    first = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}
    await _apply(kube, [first])
    await _apply(kube, items + admission.policies())
    for item in admission.without_groups():
        if groups.available():
            await kube.delete(path_of(item))
        else:
            await kube.apply(path_of(item), item, manager=MANAGER)
    await _apply(
        kube, [_slice("default", "kubernetes", [("https", 6443)]), _slice("istio-system", "istiod", ISTIOD_PORTS)]
    )


async def _is_users(kube: Kube, item: Object) -> bool:
    """Return True if the object exists and a user's tool has written it: it stays as it is."""
    found = await kube.get(path_of(item)) or {"metadata": {}}
    return any(
        str(entry.get("manager", "")).startswith(USER_TOOLS) and not entry.get("subresource")
        for entry in found["metadata"].get("managedFields") or []
    )


async def apply_bookinfo(kube: Kube) -> None:
    """Apply the lab's application, namespaces first, but for what a user has deployed in its place."""
    items = _load(BOOKINFO.read_text())
    for item in items:
        if item["kind"] == "Gateway":  # Services of type LoadBalancer, the default, get an address here
            item["metadata"].get("annotations", {}).pop(SERVICE_TYPE, None)
    await _apply(kube, [item for item in items if item["kind"] == "Namespace"])
    rest = [item for item in items if item["kind"] != "Namespace"]
    users = await asyncio.gather(*(_is_users(kube, item) for item in rest))
    await _apply(kube, [item for item, kept in zip(rest, users, strict=True) if not kept])


async def ingress_address(kube: Kube) -> tuple[str, int] | None:
    """Return the address of the ingress gateway, or None while it does not exist."""
    service = await kube.get(INGRESS_SERVICE)
    return (service["spec"]["clusterIP"], 80) if service else None


async def pods_not_ready(kube: Kube) -> list[str]:
    """Return `NAMESPACE/NAME: REASON` of every Pod and Deployment in NAMESPACES that is not ready.

    A Pod that has ended, well or not, never runs again. The lab's own are of Deployments, which are not ready then.
    """
    answer: list[str] = []
    for pod in (await kube.request("GET", "/api/v1/pods"))["items"]:
        meta, status = pod["metadata"], pod.get("status", {})
        ended = meta.get("deletionTimestamp") or status.get("phase") in ("Succeeded", "Failed")
        if meta["namespace"] not in NAMESPACES or ended:
            continue
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        if not ready:
            waits = [c.get("state", {}).get("waiting", {}).get("reason") for c in status.get("containerStatuses", [])]
            why = next((reason for reason in waits if reason), status.get("phase", "Pending"))
            answer.append(f"{meta['namespace']}/{meta['name']}: {why}")
    for item in (await kube.request("GET", "/apis/apps/v1/deployments"))["items"]:
        if item["metadata"]["namespace"] not in NAMESPACES:
            continue
        wanted, have = item["spec"].get("replicas", 1), item.get("status", {}).get("readyReplicas", 0)
        if have < wanted:
            answer.append(f"{item['metadata']['namespace']}/{item['metadata']['name']}: {have} of {wanted} Pods ready")
    return answer
