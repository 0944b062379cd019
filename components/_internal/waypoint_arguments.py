"""Checks of a waypoint's arguments, and the objects that they enroll."""

from collections.abc import Mapping
from typing import Any

import pulumi

from ..types import CanaryWaypoint, Enroll, WaypointFor
from . import arguments, objects, waypoint_parameters

DEFAULT = "waypoint"  # name of the Gateway


def revision(component: str, args: Mapping[str, Any], field: str) -> pulumi.Input[str]:
    """Return the revision in `args`, empty where there is none. Raise RunError."""
    return objects.passed_on(component, field, args["revision"]) if args.get("revision", "") != "" else ""


def specs(component: str, args: Mapping[str, Any], shape: Any) -> dict[str, dict[str, Any]]:
    """Return the specs of the objects that istiod creates, by key of the parameters. Raise RunError."""
    given = {field: args[field] for field in ("namespace", *waypoint_parameters.FIELDS) if field in args}
    return waypoint_parameters.check(component, arguments.read(component, given, shape))


def canary(component: str, given: Any, primary: str, enroll: Enroll, scope: WaypointFor) -> CanaryWaypoint | None:
    """Return the canary with its weight filled in; None where there is none. Raise RunError."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise objects.refuse(component, "canary", given, "an object with gateway and weight")
    for field in set(given) - CanaryWaypoint.__annotations__.keys():
        raise objects.refuse(component, "a field of canary", field, ", ".join(CanaryWaypoint.__annotations__))
    gateway = objects.text(component, "canary.gateway", given.get("gateway"))
    if gateway == primary:
        raise objects.refuse(component, "canary.gateway", gateway, "another name than the primary's")
    if enroll is Enroll.NOTHING:
        raise objects.refuse(component, "canary", given, "absent where enroll is nothing: no connections come to share")
    if scope is WaypointFor.WORKLOAD:
        raise objects.refuse(component, "canary", given, "absent with workload: Istio shares Services' traffic only")
    weight = objects.whole(component, "canary.weight", given.get("weight", 0), 0, 100)
    found: CanaryWaypoint = {**given, "gateway": gateway, "weight": weight}  # type: ignore[typeddict-item]
    return found


def places(enroll: Enroll, namespace: pulumi.Input[str], services: list[str]) -> dict[str, dict[str, Any]]:
    """Return the objects that get the labels, by the end of the name of each one's resource."""
    if enroll is Enroll.NAMESPACE:
        return {"": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}}
    # The provider's own wait for a Service takes ten seconds and more, and a label is there at once.
    quick = {"annotations": {"pulumi.com/skipAwait": "true"}}
    return {
        f"-{service}": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": namespace, **quick},
        }
        for service in services
    }


def extended(place: dict[str, Any], field: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the object with more labels or annotations."""
    metadata = place["metadata"]
    return {**place, "metadata": {**metadata, field: {**metadata.get(field, {}), **values}}}


def suffix(gateway: str) -> str:
    """Return the end of the name of a Gateway's resource: a canary that becomes the primary is the same resource."""
    return "" if gateway == DEFAULT else f"-{gateway}"
