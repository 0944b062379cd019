"""Waypoints, enrollment and endpoints, as pure functions of the cluster's objects."""

import re
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
HBONE_PORT = 15008
USE_WAYPOINT = "istio.io/use-waypoint"
CANARY = "istio.io/use-waypoint-canary"
CANARY_WEIGHT = "istio.io/use-waypoint-canary-weight"
_WEIGHT = re.compile(r"[+-]?0{0,9}[0-9]{1,3}")  # as Go's Atoi reads it
# Collections of a Snapshot, by the name of its field.
PATHS = {
    "services": "/api/v1/services",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "gateways": "/apis/gateway.networking.k8s.io/v1/gateways",
    "entries": "/apis/networking.istio.io/v1/serviceentries",
}
# Waypoints as `namespace/name`, each with its percentage of new connections.
WaypointWeights = tuple[tuple[str, int], ...]
DATAPLANE_MODE = "istio.io/dataplane-mode"


@dataclass(frozen=True)
class Snapshot:
    """Copies of the collections, each by `namespace/name`."""

    services: dict[str, Object] = field(default_factory=dict)
    slices: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    namespaces: dict[str, Object] = field(default_factory=dict)
    gateways: dict[str, Object] = field(default_factory=dict)
    entries: dict[str, Object] = field(default_factory=dict)


@dataclass(frozen=True)
class ClientPod:
    """A Pod that may open connections; `account` is `namespace/name` of its service account if it is enrolled."""

    uid: str
    address: str
    account: str | None


def labels_of(item: Object | None) -> dict[str, str]:
    """Return the labels of an object that may be None."""
    return (item or {}).get("metadata", {}).get("labels") or {}


def annotations(item: Object) -> dict[str, str]:
    """Return the annotations of an object."""
    return item["metadata"].get("annotations") or {}


def service_waypoint(snapshot: Snapshot, service: Object) -> str | None:
    """Return `namespace/name` of the waypoint that clients of a Service must use, or None.

    The Service's label has priority over its namespace's; `none` disables the waypoint. As in ztunnel, a label has no
    effect while its Gateway does not exist, has no address, is not for Services, or does not allow this namespace.

    Source: https://istio.io/latest/docs/ambient/usage/waypoint/, and istiod's waypoint collection.
    """
    namespace = service["metadata"]["namespace"]
    for labels in (labels_of(service), labels_of(snapshot.namespaces.get(namespace))):
        name = labels.get(USE_WAYPOINT)
        if name == "none":
            return None
        if name is not None:
            key = f"{labels.get(USE_WAYPOINT + '-namespace', namespace)}/{name}"
            gateway = snapshot.gateways.get(key)
            return key if gateway and _accepts_services(snapshot, gateway, namespace) else None
    return None


def waypoint_weights(snapshot: Snapshot, service: Object) -> WaypointWeights:
    """Return the waypoint of a Service, or baseline and canary with their weights (0 to 100); empty without one.

    With an unusable canary, or a weight that is not an integer from 0 to 100, the baseline gets all. The namespace's
    canary counts only if the baseline is the namespace's, too.

    Source: istiod's buildWeightedWaypoints.
    """
    baseline = service_waypoint(snapshot, service)
    if baseline is None:
        return ()
    namespace = service["metadata"]["namespace"]
    levels = [service]
    if USE_WAYPOINT not in labels_of(service):
        levels += [item for item in [snapshot.namespaces.get(namespace)] if item]
    labels = next((labels_of(level) for level in levels if CANARY in labels_of(level)), {})
    canary = f"{labels.get(CANARY + '-namespace', namespace)}/{labels.get(CANARY)}"
    gateway = snapshot.gateways.get(canary)
    weight = next((text for level in levels if (text := annotations(level).get(CANARY_WEIGHT)) is not None), "0")
    usable = labels.get(CANARY) not in (None, "", "none") and canary != baseline
    if not usable or not gateway or not _accepts_services(snapshot, gateway, namespace):
        return ((baseline, 100),)
    if not _WEIGHT.fullmatch(weight) or not 0 <= int(weight) <= 100:
        return ((baseline, 100),)
    return ((baseline, 100 - int(weight)), (canary, int(weight)))


def _accepts_services(snapshot: Snapshot, gateway: Object, namespace: str) -> bool:
    # istiod sets the address once the waypoint is reachable, and never removes it.
    if gateway["metadata"].get("deletionTimestamp") or not gateway.get("status", {}).get("addresses"):
        return False
    if labels_of(gateway).get("istio.io/waypoint-for", "service") not in ("service", "all"):
        return False
    listeners = [item for item in gateway["spec"].get("listeners") or [] if item.get("protocol") == "HBONE"]
    return any(_allows_namespace(snapshot, gateway, listener, namespace) for listener in listeners)


def _allows_namespace(snapshot: Snapshot, gateway: Object, listener: Object, namespace: str) -> bool:
    rule = (listener.get("allowedRoutes") or {}).get("namespaces") or {}
    allowed: str = rule.get("from", "Same")
    if allowed == "All" or gateway["metadata"]["namespace"] == namespace:
        return allowed != "None"
    if allowed != "Selector":
        return False
    labels = labels_of(snapshot.namespaces.get(namespace))
    selector = rule.get("selector") or {}
    wanted: dict[str, str] = selector.get("matchLabels") or {}
    return wanted.items() <= labels.items() and all(
        _expression(item, labels) for item in selector.get("matchExpressions") or []
    )


def _expression(item: Object, labels: dict[str, str]) -> bool:
    value, values = labels.get(item["key"]), item.get("values") or []
    return {
        "In": value is not None and value in values,
        "NotIn": value is None or value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(item["operator"], False)


def enrolled(snapshot: Snapshot, pod: Object) -> bool:
    """Return True for a Pod whose traffic the mesh captures: ambient by label of Pod or namespace, and no gateway."""
    labels = labels_of(pod)
    if "gateway.networking.k8s.io/gateway-name" in labels:
        return False
    mode = labels.get(DATAPLANE_MODE) or labels_of(snapshot.namespaces.get(pod["metadata"]["namespace"])).get(
        DATAPLANE_MODE
    )
    return mode == "ambient"


def clients(snapshot: Snapshot) -> list[ClientPod]:
    """Return the running Pods with an address of their own, one per address: Envoy refuses a duplicate source."""
    by_address: dict[str, Object] = {}
    for pod in snapshot.pods.values():
        status = pod.get("status", {})
        address = status.get("podIP")
        if not address or pod["spec"].get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed"):
            continue
        other = by_address.get(address)
        # A new Pod may have the address while the object of the old one still exists.
        if other is None or _age_rank(pod) > _age_rank(other):
            by_address[address] = pod
    return sorted((_client(snapshot, address, pod) for address, pod in by_address.items()), key=lambda item: item.uid)


def _age_rank(pod: Object) -> tuple[bool, str, str]:
    meta = pod["metadata"]
    return not meta.get("deletionTimestamp"), meta.get("creationTimestamp") or "", meta["uid"]


def _client(snapshot: Snapshot, address: str, pod: Object) -> ClientPod:
    meta = pod["metadata"]
    account = f"{meta['namespace']}/{pod['spec'].get('serviceAccountName') or 'default'}"
    return ClientPod(str(meta["uid"]), address, account if enrolled(snapshot, pod) else None)


def socket_address(address: str, port: int) -> Object:
    """Return an address in Envoy's form."""
    return {"socket_address": {"address": address, "port_value": port}}


def endpoints(snapshot: Snapshot, service: str, port_name: str | None = None, port: int | None = None) -> list[Object]:
    """Return the ready endpoints of a Service's port in Envoy's form; without any, those that terminate but serve.

    Args:
        snapshot: The cluster's objects.
        service: `namespace/name`.
        port_name: The name of the port.
        port: The target port's number, as an alternative to the name.

    Source: https://github.com/kubernetes/enhancements/issues/1669.
    """
    namespace, name = service.split("/")
    ready: set[tuple[str, int]] = set()
    ending: set[tuple[str, int]] = set()
    for item in snapshot.slices.values():
        meta = item["metadata"]
        if meta["namespace"] != namespace or labels_of(item).get("kubernetes.io/service-name") != name:
            continue
        if item.get("addressType", "IPv4") != "IPv4":
            continue
        numbers = [
            entry["port"]
            for entry in item.get("ports") or []
            if entry.get("port") and ((entry.get("name") or "") == port_name or entry["port"] == port)
        ]
        for endpoint in item.get("endpoints") or []:
            conditions = endpoint.get("conditions") or {}
            found = {(address, number) for address in endpoint["addresses"] for number in numbers}
            if conditions.get("ready") is not False:
                ready |= found
            elif conditions.get("serving") and conditions.get("terminating"):
                ending |= found
    return [{"endpoint": {"address": socket_address(address, number)}} for address, number in sorted(ready or ending)]
