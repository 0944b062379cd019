"""Labels and annotations that enroll a namespace or its Services in waypoints, as istiod reads them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]
PRIMARY, CANARY = "istio.io/use-waypoint", "istio.io/use-waypoint-canary"
WEIGHT = "istio.io/use-waypoint-canary-weight"
PRIMARY_HOME, CANARY_HOME = "istio.io/use-waypoint-namespace", "istio.io/use-waypoint-canary-namespace"
HOMES = {PRIMARY: PRIMARY_HOME, CANARY: CANARY_HOME}  # label of the namespace, by label of the waypoint
_WEIGHT = re.compile(r"[+-]?0{0,9}[0-9]{1,3}")  # as Go's Atoi reads it
# Managers of fields that the Kubernetes provider writes as; its name has a random end for each patch.
_PROVIDER = "pulumi-kubernetes"


def labels(item: Object | None) -> dict[str, str]:
    """Return the labels of an object that name its waypoints."""
    found = ((item or {}).get("metadata") or {}).get("labels") or {}
    return {name: str(found[name]) for name in (PRIMARY, CANARY) if found.get(name)}


def waypoints(service: Object, namespace: Object) -> set[tuple[str, str]]:
    """Return namespace and name of the waypoints of a Service; its own label goes before the namespace's.

    Source: istiod, GetUseWaypoint and getUseWaypointCanary.
    """
    chosen = service if PRIMARY in labels(service) else namespace
    found, own = labels(chosen), chosen["metadata"].get("labels") or {}
    if found.get(PRIMARY, "none") == "none":
        return set()
    here = service["metadata"]["namespace"]
    return {(own.get(HOMES[label]) or here, name) for label, name in found.items() if name != "none"}


def every_label(item: Object) -> dict[str, str]:
    """Return the labels of an object that name its waypoints and their namespaces."""
    found = item["metadata"].get("labels") or {}
    return {name: str(found[name]) for name in (PRIMARY, CANARY, PRIMARY_HOME, CANARY_HOME) if name in found}


def grouped(places: Sequence[str], home: str) -> dict[str, list[str]]:
    """Return the enrolled Services by namespace; an empty list is all Services of the namespace.

    Args:
        places: `NAME`, `NAMESPACE/NAME`, or `NAMESPACE/` for a whole namespace; none for the whole of `home`.
        home: Namespace of the waypoint, which is that of a `NAME` alone.
    """
    found: dict[str, list[str]] = {} if places else {home: []}
    for place in places:
        namespace, _, name = place.rpartition("/")
        found.setdefault(namespace or home, []).extend([name] if name else [])
    return found


def addressless(service: Object) -> bool:
    """Check that a Service has no virtual address; no waypoint sees requests to its Pods' own addresses."""
    return bool(service["spec"].get("clusterIP", "None") == "None")


def expected(services: Object, names: Sequence[str]) -> set[str]:
    """Return the Services of a list, as `name.namespace`, that istiod sends to the namespace's waypoint.

    Args:
        services: All Services of the namespace, as kubectl lists them.
        names: The Services that are enrolled; without them, all that have no label of their own.

    Source: istiod, buildWeightedWaypoints: no waypoint for gateways, for Services without an address, or for UDP alone.
    """
    found = set()
    for item in services["items"]:
        meta = item["metadata"]
        own = meta.get("labels") or {}
        chosen = meta["name"] in names if names else PRIMARY not in own
        ports = [port for port in item["spec"].get("ports") or [] if port.get("protocol", "TCP") == "TCP"]
        if chosen and ports and not addressless(item) and "gateway.istio.io/managed" not in own:
            found.add(f"{meta['name']}.{meta['namespace']}")
    return found


def weight(item: Object) -> int:
    """Return the percent of new connections, 0 to 100, that an object's annotation gives to its canary.

    Source: istiod: with a weight that is not a whole number from 0 to 100, all connections go to the primary.
    """
    text = str((item["metadata"].get("annotations") or {}).get(WEIGHT, "0"))
    found = int(text) if _WEIGHT.fullmatch(text) else 0
    return found if 0 <= found <= 100 else 0


def share(item: Object, gateway: str) -> int:
    """Return the percent of new connections to an object's waypoints that `gateway` gets, 0 to 100."""
    found = labels(item)
    primary, canary = found.get(PRIMARY), found.get(CANARY)
    part = weight(item) if canary not in (None, "none", primary) else 0
    return {canary: part, primary: 100 - part}.get(gateway, 0)


def conflict(items: Iterable[Object], wanted: Mapping[str, str], home: str) -> str:
    """Return a line with the fix for a label that another tool has set to another value; empty where there is none.

    A label that is not wanted stays beside the others, and would send the traffic elsewhere.

    Args:
        items: The objects that are to be enrolled, with their `managedFields`.
        wanted: The labels that they are to get.
        home: Namespace of the waypoint.
    """
    for item in items:
        kind, meta = str(item["kind"]).lower(), item["metadata"]
        for name, value in every_label(item).items():
            owners = [
                entry["manager"]
                for entry in meta.get("managedFields") or []
                if f"f:{name}" in ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:labels", {})
            ]
            need = wanted.get(name, home if name in HOMES.values() else "none")
            if value != need and owners and not any(own.startswith(_PROVIDER) for own in owners):
                where = f" --namespace {meta['namespace']}" if "namespace" in meta else ""
                return (
                    f"{kind} {meta['name']} has the label {name}={value} of {', '.join(owners)}, and this waypoint "
                    f"needs {need}; remove it: kubectl label {kind} {meta['name']}{where} {name}-"
                )
    return ""
