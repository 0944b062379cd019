"""Rules of Istio's ambient mode: hosts, durations, enrollment in waypoints, and production namespaces."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from .fields import fields, items, number, text
from .resources import ClusterSnapshot, Key, Parameters, Resource

WAYPOINT_CLASS = "istio-waypoint"
AGENTGATEWAY_CLASS = "istio-agentgateway-waypoint"
USE_WAYPOINT = "istio.io/use-waypoint"
USE_CANARY = "istio.io/use-waypoint-canary"
CANARY_WEIGHT = "istio.io/use-waypoint-canary-weight"
# Label of the Service that istiod makes for a waypoint; that Service is itself in no waypoint.
MANAGED = "gateway.istio.io/managed"
WAYPOINT_FOR = "istio.io/waypoint-for"
FOR_SERVICES = ("service", "all")  # values of WAYPOINT_FOR that include requests to Services
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"  # label of the Pods of a Gateway
HBONE = (15008, "HBONE")  # port and protocol of a waypoint's listener

GatewayName = tuple[str, str]  # namespace and name of a Gateway
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Enrollment(NamedTuple):
    """Waypoints of a Service, or of a Namespace for each Service in it without labels of its own."""

    primary: GatewayName | None
    canary: GatewayName | None
    weight: object  # as written in the annotation; None where it is absent, which means 0


def gateway_named(labels: Mapping[str, str], label: str, namespace: str) -> GatewayName | None:
    """Return the Gateway that `label` names for a resource of `namespace`.

    Source: istiod 1.31, GetUseWaypoint and getUseWaypointCanary: only a canary may be empty.
    """
    name = labels.get(label, "none")
    if name == "none" or (label == USE_CANARY and not name):
        return None
    return labels.get(f"{label}-namespace", namespace), name


def enrollment(snapshot: ClusterSnapshot, key: Key) -> Enrollment:
    """Return the enrollment of a Service, ServiceEntry or Namespace as istiod computes it.

    A Service uses the canary and the weight of its Namespace only where it takes the primary from there, too.
    """
    kind, namespace, name = key
    place = name if kind == "Namespace" else namespace
    labels, annotations = snapshot.labels(*key), snapshot.annotations(*key)
    inherits = kind != "Namespace" and USE_WAYPOINT not in labels
    above: Key = ("Namespace", "", place)
    labels_above, notes_above = (snapshot.labels(*above), snapshot.annotations(*above)) if inherits else ({}, {})
    return Enrollment(
        gateway_named(labels if USE_WAYPOINT in labels else labels_above, USE_WAYPOINT, place),
        gateway_named(labels if USE_CANARY in labels else labels_above, USE_CANARY, place),
        annotations.get(CANARY_WEIGHT, notes_above.get(CANARY_WEIGHT)),
    )


def enrolled_services(snapshot: ClusterSnapshot, *kinds: str) -> dict[Key, Enrollment]:
    """Return the resources of `kinds` and the Namespaces without one that have a primary waypoint."""
    found: dict[Key, Enrollment] = {}
    for kind in (*kinds, "Namespace"):
        for key in dict.fromkeys(item.key for item in snapshot.all(kind) if MANAGED not in item.labels):
            enrolled = enrollment(snapshot, key)
            heirs = kind == "Namespace" and any(
                other[1] == key[2] and known.primary == enrolled.primary and known.canary == enrolled.canary
                for other, known in found.items()
            )
            if enrolled.primary and not heirs:
                found[key] = enrolled
    return found


def traffic_of(snapshot: ClusterSnapshot, waypoint: GatewayName | None) -> str:
    """Return the kind of traffic of a waypoint: `service` unless the label of its Gateway says otherwise."""
    return snapshot.labels("Gateway", *waypoint).get(WAYPOINT_FOR, "service") if waypoint else "service"


def allows_namespace(snapshot: ClusterSnapshot, waypoint: GatewayName, namespace: str) -> bool:
    """Return False if the listener of a waypoint certainly refuses the Services of a namespace.

    Source: istiod 1.31, makeWaypointSelector: without `allowedRoutes` it takes those of its own namespace only.
    """
    for listener in items(snapshot.spec("Gateway", *waypoint), "listeners"):
        if (number(listener, "port"), text(listener, "protocol")) != HBONE:
            continue
        places = fields(listener, "allowedRoutes", "namespaces")
        allowed = text(places, "from", default="Same")
        if allowed == "Selector":  # only its matchLabels are compared
            labels = {"kubernetes.io/metadata.name": namespace, **snapshot.labels("Namespace", "", namespace)}
            wanted = fields(places, "selector", "matchLabels")
            known = any(not part.patch for part in snapshot.find("Namespace", "", namespace))
            return not known or all(labels.get(label) == value for label, value in wanted.items())
        return allowed == "All" or waypoint[0] == namespace
    return True


def selects_gateway(snapshot: ClusterSnapshot, policy: Resource) -> bool:
    """Return True if a policy selects a Gateway that is no waypoint: that Gateway enforces it.

    Source: istiod 1.31, ShouldAttachPolicy: of the Gateways, only a waypoint ignores selectors.
    """
    name = text(policy.spec, "selector", "matchLabels", GATEWAY_NAME)
    used = snapshot.spec("Gateway", policy.namespace, name).get("gatewayClassName") if name else None
    return used not in (None, WAYPOINT_CLASS, AGENTGATEWAY_CLASS)


def unenforced_reason(snapshot: ClusterSnapshot, service: Key, route_namespace: str | None) -> str:
    """Return why no waypoint enforces a policy or route of a Service in the ambient mesh; empty where one may.

    Args:
        snapshot: The resources.
        service: The Service or ServiceEntry.
        route_namespace: Namespace of the route; None for a policy.

    Source: istiod 1.31, fetchWaypointForService and getVirtualServiceForWaypoint.
    """
    kind, namespace, name = service
    title = f"{kind} {namespace}/{name}"
    primary, canary, _weight = enrollment(snapshot, service)
    if not primary:
        known = snapshot.find(*service) or snapshot.is_complete_for(namespace)
        return f"{title} has no waypoint" if known else ""
    if not allows_namespace(snapshot, primary, namespace):
        return f"allowedRoutes of waypoint {'/'.join(primary)} do not include the namespace of {title}"
    if traffic_of(snapshot, primary) not in FOR_SERVICES:
        return f"waypoint {'/'.join(primary)} of {title} takes no traffic to Services"
    if route_namespace not in (None, namespace, primary[0], (canary or primary)[0]):
        return f"it is neither in the namespace of {title} nor in that of its waypoint"
    return ""


def is_ambient(snapshot: ClusterSnapshot, namespace: str) -> bool:
    """Return True if the Pods of a namespace are in the ambient mesh."""
    return snapshot.labels("Namespace", "", namespace).get("istio.io/dataplane-mode") == "ambient"


def service_of(host: str, namespace: str) -> tuple[str, str] | None:
    """Return namespace and name of the Service that `host` means in a resource of `namespace`; None for another host.

    Source: istiod 1.31, ResolveShortnameToFQDN: it completes a name without a dot only, so that `a.b` is no Service.
    """
    name, *rest = host.split(".")
    if "*" in host or (rest and (len(rest) < 3 or rest[1] != "svc")):
        return None
    return (rest[0] if rest else namespace), name


def seconds(duration: str) -> float:
    """Return a Go duration such as `1m30s` in seconds; 0 where it is empty."""
    return sum(float(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", duration))


def matches_any(value: str, patterns: Sequence[Any]) -> bool:
    """Return True if one of the patterns, with `*` and `?`, matches all of `value`."""
    return any(fnmatchcase(value, str(pattern)) for pattern in patterns)


def production_reason(snapshot: ClusterSnapshot, parameters: Parameters, namespace: str) -> str:
    """Return why `namespace` is production by the parameters `stacks` and `namespaceLabels`; empty where it is not."""
    if matches_any(snapshot.stack, parameters["stacks"]):
        return f"stack {snapshot.stack} is production"
    labels = snapshot.labels("Namespace", "", namespace)
    for label, value in parameters["namespaceLabels"].items():
        if labels.get(label) == value:
            return f"namespace {namespace} is production ({label}={value})"
    return ""


def enrolling_resources(snapshot: ClusterSnapshot, key: Key, label: str = USE_WAYPOINT) -> list[Resource]:
    """Return the resources with the label that enrolls `key`: those of itself, else of its Namespace."""
    place = key if label in snapshot.labels(*key) else ("Namespace", "", key[1])
    return [item for item in snapshot.find(*place) if label in item.labels]
