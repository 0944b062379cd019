"""A container's environment: values, references, and `$(NAME)` inside them, by Kubernetes' rules."""

import math
import re
from typing import Any

from embedded.control_plane.addresses import API_SERVICE_IP
from embedded.kube import FAULTS, Object
from embedded.node.kubelet.api_cache import ApiStore

UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1}
REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.][A-Za-z0-9_.-]*)\)")
# Variables of every container: the API server.
SERVICES = {"KUBERNETES_SERVICE_HOST": API_SERVICE_IP, "KUBERNETES_SERVICE_PORT": "443"}
INDEXED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class MissingReference(Exception):
    """An object that a Pod refers to does not exist yet, or a setting is not supported; the message names it."""


# Errors of reading what a Pod refers to; it is tried again.
UNAVAILABLE = (MissingReference, *FAULTS)


def reason(error: Exception) -> str:
    """Return the text of an error; a timeout has none of its own."""
    return str(error) or type(error).__name__


def quantity(text: str) -> float:
    """Return a Kubernetes quantity such as `250m` or `1Gi` as a number."""
    match = re.fullmatch(r"([0-9.eE+-]+?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)", str(text))
    if not match:
        raise MissingReference(f'"{text}" is not a quantity')
    return float(match[1]) * UNITS[match[2]]


def expand(text: str, known: dict[str, str]) -> str:
    """Replace `$(NAME)` by its value in `known`; keep unknown names; `$$` is a dollar sign."""
    return REFERENCE.sub(lambda m: "$" if m[0] == "$$" else known.get(m[1], m[0]), text)


def expand_known(text: str, known: dict[str, str]) -> str:
    """Replace `$(NAME)` by its value in `known`.

    Raises:
        MissingReference: A name is not known.
    """
    if missing := [name for name in REFERENCE.findall(text) if name and name not in known]:
        raise MissingReference(f"{text}: the container has no variable {missing[0]}")
    return expand(text, known)


def static_probe(container: Object, kind: str) -> Object | None:
    """Return a probe of `container`, with `$(NAME)` in its command replaced by what `env` gives as `value`, if any.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/prober/prober.go
    """
    probe: Object | None = container.get(kind)
    if probe is None or "exec" not in probe:
        return probe
    known = {entry["name"]: entry.get("value") or "" for entry in container.get("env") or []}
    return {**probe, "exec": {"command": [expand(text, known) for text in probe["exec"]["command"]]}}


def field_value(pod: Object, path: str) -> str:
    """Return the downward API's value of `path`, for example `metadata.name`."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    if indexed := INDEXED.fullmatch(path):
        return str((meta.get(indexed[1]) or {}).get(indexed[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        pairs = sorted((meta.get(path.split(".")[1]) or {}).items())
        return "\n".join(f"{key}={_quoted(value)}" for key, value in pairs)
    found: Any = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
    }.get(path)
    if found is None:
        raise MissingReference(f"fieldPath {path} is not supported")
    return str(found)


def _quoted(text: str) -> str:
    """Quote the text as Go's %q does."""
    special = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(special.get(letter, letter) for letter in text) + '"'


def resource_value(pod: Object, container: Object, reference: Object, allocatable: dict[str, str]) -> str:
    """Return the downward API's resource value; without a limit it is the node's capacity."""
    name = reference.get("containerName")
    if name and name != container.get("name"):
        everyone = [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        container = next((each for each in everyone if each["name"] == name), container)
    kind, _, resource = reference["resource"].partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None:
        amount = allocatable.get(resource, "0") if kind == "limits" else "0"
    divisor = quantity(reference.get("divisor") or "1") or 1
    return str(math.ceil(quantity(amount) / divisor))


async def _referred(
    pod: Object, container: Object, entry: Object, store: ApiStore, capacity: dict[str, str]
) -> str | None:
    source, namespace = entry["valueFrom"], pod["metadata"]["namespace"]
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"], capacity)
    for key, kind, read in (
        ("configMapKeyRef", "configmap", store.config_map_text),
        ("secretKeyRef", "secret", store.secret),
    ):
        if reference := source.get(key):
            data = await read(namespace, reference["name"])
            if data is not None and reference["key"] in data:
                return data[reference["key"]].decode(errors="replace")
            if reference.get("optional"):
                return None
            if data is None:
                raise MissingReference(f'{kind} "{reference["name"]}" not found')
            raise MissingReference(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")
    raise MissingReference(f"the source of variable {entry['name']} is not supported: {', '.join(source)}")


async def build(
    pod: Object, container: Object, services: dict[str, str], store: ApiStore, capacity: dict[str, str]
) -> dict[str, str]:
    """Return the variables of `container` that `$(NAME)` may refer to: those of `services`, and the declared ones.

    Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kubelet_pods.go

    Raises:
        MissingReference: A ConfigMap, a Secret or a key does not exist.
    """
    namespace = pod["metadata"]["namespace"]
    declared: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        reference = source.get("configMapRef") or source.get("secretRef") or {}
        kind, read = ("configmap", store.config_map_text) if "configMapRef" in source else ("secret", store.secret)
        data = await read(namespace, reference["name"])
        if data is None and not reference.get("optional"):
            raise MissingReference(f'{kind} "{reference["name"]}" not found')
        for key, content in (data or {}).items():
            declared[source.get("prefix", "") + key] = content.decode(errors="replace")
    for entry in container.get("env") or []:
        if "valueFrom" in entry:
            value = await _referred(pod, container, entry, store, capacity)
            if value is not None:
                declared[entry["name"]] = value
        else:
            declared[entry["name"]] = expand(entry.get("value", ""), services | declared)
    return services | declared
