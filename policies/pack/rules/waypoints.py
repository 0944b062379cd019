"""Rules on waypoints themselves."""

import re
from collections.abc import Iterator

from ..fields import fields, items, number, text
from ..mesh import (
    AGENTGATEWAY_CLASS,
    HBONE,
    USE_CANARY,
    USE_WAYPOINT,
    WAYPOINT_CLASS,
    allows_namespace,
    enrolling_resources,
    enrollment,
    gateway_named,
    production_reason,
    service_of,
)
from ..resources import ClusterSnapshot, Parameters, Resource, Violations
from .references import host_owner, policy_targets
from .routes import services_of

# Source: istiod's gateway controller: a label on a ConfigMap of its own namespace, for all Gateways of a class.
_CLASS_DEFAULTS = "gateway.istio.io/defaults-for-class"
_OVERLAYS = {"deployment": "replicas", "horizontalPodAutoscaler": "minReplicas"}
_ISTIO_APIS = ("VirtualService", "DestinationRule", "AuthorizationPolicy", "RequestAuthentication", "Telemetry")


def waypoint_exists(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that a label that enrolls names a Gateway that exists and allows the namespace.

    Traffic skips the policies of a primary waypoint that is missing or refuses the namespace; such a canary gets none.
    """
    for item in snapshot.own("Namespace", "Service", "ServiceEntry"):
        labels = snapshot.labels(*item.key)  # with patches: another one may set the namespace of the Gateway
        own = item.name if item.base == "Namespace" else item.namespace
        for label, role in ((USE_WAYPOINT, "waypoint"), (USE_CANARY, "canary waypoint")):
            waypoint = gateway_named(labels, label, own) if label in item.labels else None
            if not waypoint:
                continue
            what = f"is enrolled in {role} {'/'.join(waypoint)}, but"
            if not snapshot.find("Gateway", *waypoint):
                if snapshot.is_complete_for(waypoint[0]):
                    yield item, f"{what} that Gateway is not {snapshot.searched}"
            elif not allows_namespace(snapshot, waypoint, own):
                yield item, f"{what} allowedRoutes of its listener do not include namespace {own}"


def waypoint_listens_on_hbone(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that a waypoint has one kind of listener, HBONE on port 15008: ztunnel and istiod use no other."""
    for gateway in _waypoints(snapshot):
        listeners = items(gateway.spec, "listeners")
        if not listeners:
            yield gateway, "has no listener"
        for listener in listeners:
            port, protocol = number(listener, "port"), text(listener, "protocol")
            if (port, protocol) != HBONE:
                yield gateway, f"listens for {protocol} on port {port:.0f}, not for {HBONE[1]} on {HBONE[0]}"


def waypoint_replicas(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that a waypoint in production has `minReplicas` replicas or more.

    Replicas are set by a ConfigMap named by `infrastructure.parametersRef`, or for the whole class, with an overlay of
    the Deployment or an autoscaler; by the Deployment itself; or by an autoscaler, also of the cluster.
    Source: istiod's gateway controller omits `replicas` from the Deployment unless an overlay sets it.
    """
    wanted = parameters["minReplicas"]
    for gateway in _waypoints(snapshot):
        reason = production_reason(snapshot, parameters, gateway.namespace)
        known = max(_replicas(snapshot, gateway), default=1)
        if reason and known < wanted:
            yield gateway, f"has {known:g} replica{'' if known == 1 else 's'}, but {reason} and needs {wanted:g}"


def waypoint_supports_api(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that no API of Istio is used on a waypoint of class `istio-agentgateway-waypoint`, which ignores them."""
    for item in snapshot.all(*_ISTIO_APIS):
        for (namespace, name), enrolling in _used_waypoints(snapshot, item):
            owned = snapshot.first_owned([item, *enrolling])
            spec = snapshot.spec("Gateway", namespace, name)
            if owned and spec.get("gatewayClassName") == AGENTGATEWAY_CLASS:
                what = "" if owned is item else f"{item.title} "
                yield owned, f"{what}has no effect: waypoint {namespace}/{name} of {AGENTGATEWAY_CLASS} ignores it"


def _used_waypoints(snapshot: ClusterSnapshot, item: Resource) -> Iterator[tuple[tuple[str, str], list[Resource]]]:
    """Yield each waypoint that is meant to enforce `item`, with the resources that make it so."""
    if item.base in ("VirtualService", "DestinationRule"):
        host = service_of(text(item.spec, "host", default="*"), item.namespace)
        named = set(services_of(item)) if item.base == "VirtualService" else {host} if host else set()
        services = {host_owner(snapshot, service) for service in named}
    else:
        targets = list(policy_targets(item))
        services = {target[:3] for target in targets if target.kind in ("Service", "ServiceEntry")}
        for namespace, name in sorted({target[1:3] for target in targets if target.kind == "Gateway"}):
            yield (namespace, name), snapshot.find("Gateway", namespace, name)
    found: dict[tuple[str, str], list[Resource]] = {}
    for key in sorted(services):
        enrolled = enrollment(snapshot, key)
        for waypoint, label in ((enrolled.primary, USE_WAYPOINT), (enrolled.canary, USE_CANARY)):
            if waypoint:
                enrolling = [*enrolling_resources(snapshot, key, label), *snapshot.find("Gateway", *waypoint)]
                found.setdefault(waypoint, []).extend(enrolling)
    yield from found.items()


def _waypoints(snapshot: ClusterSnapshot) -> Iterator[Resource]:
    return (item for item in snapshot.own("Gateway") if item.spec.get("gatewayClassName") == WAYPOINT_CLASS)


def _replicas(snapshot: ClusterSnapshot, gateway: Resource) -> Iterator[float]:
    config = snapshot.find(
        "ConfigMap", gateway.namespace, text(gateway.spec, "infrastructure", "parametersRef", "name")
    )
    defaults = [item for item in snapshot.own("ConfigMap") if item.labels.get(_CLASS_DEFAULTS) == WAYPOINT_CLASS]
    for item in (*defaults, *config):
        data = fields(item.properties, "data")
        yield from (_overlay(text(data, name), field) for name, field in _OVERLAYS.items())
    for deployment in snapshot.find("Deployment", gateway.namespace, gateway.name):
        yield number(deployment.spec, "replicas", default=1)
    for scaler in snapshot.all("HorizontalPodAutoscaler"):
        scales = fields(scaler.spec, "scaleTargetRef")
        if (scaler.namespace, text(scales, "kind"), text(scales, "name")) == (
            gateway.namespace,
            "Deployment",
            gateway.name,
        ):
            yield number(scaler.spec, "minReplicas", default=1)


def _overlay(document: str, field: str) -> float:
    """Return the number of `field` in an overlay's YAML or JSON, without a YAML parser; 1 where it is absent."""
    found = re.search(rf"""^[\s{{]*.*?\b{field}["']?\s*:\s*([0-9]{{1,9}})""", document, re.MULTILINE)
    return float(found.group(1)) if found else 1.0
