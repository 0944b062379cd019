"""Rules on waypoints themselves."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .objects import WAYPOINT_CLASS, Findings, Object, Settings, World, in_production

PORT, PROTOCOL = 15008, "HBONE"
USE = "istio.io/use-waypoint"
CANARY = "istio.io/use-waypoint-canary"
# Source: istiod's gateway controller: a label on a ConfigMap of its own namespace, for all Gateways of a class.
_CLASS_DEFAULTS = "gateway.istio.io/defaults-for-class"
_OVERLAYS = {"deployment": "replicas", "horizontalPodAutoscaler": "minReplicas"}

Name = tuple[str, str]  # namespace and name of a Gateway


def named(labels: Mapping[str, str], label: str, place: str) -> Name | None:
    """The Gateway that `label` names for what is in the namespace `place`; None where none is named.

    Source: istiod 1.31, GetUseWaypoint and getUseWaypointCanary: only a canary may be left empty.
    """
    name = labels.get(label, "none")
    if name == "none" or (label == CANARY and not name):
        return None
    return labels.get(f"{label}-namespace", place), name


def enrolled_with_its_gateway(world: World, _settings: Settings) -> Findings:
    """A label that enrols names a waypoint that exists: one that is missing lets traffic past every policy.

    Connections for a canary that is missing stay with the primary.
    """
    for item in world.own("Namespace", "Service"):
        labels = world.labels(*item.key)  # all of them: another patch may set the namespace of the Gateway
        own = item.name if item.base == "Namespace" else item.namespace
        for label, enrolled in ((USE, "enrolled in"), (CANARY, "enrolled with a share in")):
            waypoint = named(labels, label, own) if label in item.labels else None
            if waypoint and not world.find("Gateway", *waypoint):
                yield item, f"{enrolled} {'/'.join(waypoint)}, but that Gateway is not {world.elsewhere}"


def waypoint_listens_for_hbone(world: World, _settings: Settings) -> Findings:
    """A waypoint has one listener, HBONE on 15008: node proxies and istiod know no other."""
    for gateway in _waypoints(world):
        seen = [(item.get("port"), item.get("protocol")) for item in gateway.spec.get("listeners") or []]
        if not seen:
            yield gateway, "has no listener"
        for port, protocol in seen:
            if (port, protocol) != (PORT, PROTOCOL):
                yield gateway, f"listens for {protocol} on port {int(port or 0)}, not for {PROTOCOL} on {PORT}"


def waypoint_replicas(world: World, settings: Settings) -> Findings:
    """In production a waypoint has `minReplicas` replicas or more: with one, its restart is an outage.

    Counted is what the stack sets: a ConfigMap named by `infrastructure.parametersRef`, or for the whole class, with an
    overlay of the Deployment or an autoscaler; the Deployment itself; or an autoscaler (of the cluster, too). Source:
    istiod's gateway controller leaves `replicas` out of the Deployment unless an overlay sets it.
    """
    wanted = settings["minReplicas"]
    for gateway in _waypoints(world):
        why = in_production(world, settings, gateway.namespace)
        known = max(_replicas(world, gateway), default=1)
        if why and known < wanted:
            yield gateway, f"has {known:g} replica{'' if known == 1 else 's'}, and {why}; wanted are {wanted:g}"


def _waypoints(world: World) -> Iterator[Object]:
    return (item for item in world.own("Gateway") if item.spec.get("gatewayClassName") == WAYPOINT_CLASS)


def _replicas(world: World, gateway: Object) -> Iterator[float]:
    reference = (gateway.spec.get("infrastructure") or {}).get("parametersRef") or {}
    parameters = world.find("ConfigMap", gateway.namespace, str(reference.get("name")))
    defaults = [item for item in world.own("ConfigMap") if item.labels.get(_CLASS_DEFAULTS) == WAYPOINT_CLASS]
    for item in (*defaults, *parameters):
        data = item.properties.get("data") or {}
        yield from (_overlay(str(data.get(name, "")), field) for name, field in _OVERLAYS.items())
    for deployment in world.find("Deployment", gateway.namespace, gateway.name):
        yield deployment.spec.get("replicas", 1)
    for scaler in world.all("HorizontalPodAutoscaler"):
        aims_at: Mapping[str, Any] = scaler.spec.get("scaleTargetRef") or {}
        target = (scaler.namespace, aims_at.get("kind"), aims_at.get("name"))
        if target == (gateway.namespace, "Deployment", gateway.name):
            yield scaler.spec.get("minReplicas", 1)


def _overlay(text: str, field: str) -> float:
    """The number of `field` in an overlay's YAML or JSON; the pack brings no parser of YAML along."""
    found = re.search(rf"""^[\s{{]*.*?\b{field}["']?\s*:\s*(\d+)""", text, re.MULTILINE)
    return float(found.group(1)) if found else 1.0
