"""Checks of a waypoint's arguments, and the objects that they enroll."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pulumi

from ..types import CanaryWaypoint, Enroll, WaypointFor
from . import http_text, objects

DEFAULT = "waypoint"  # name of the Gateway


def revision(component: str, args: Mapping[str, Any], field: str) -> pulumi.Input[str]:
    """Return the revision in `args`, empty where there is none. Raise RunError."""
    return http_text.label(component, field, args["revision"]) if args.get("revision", "") != "" else ""


def canary(component: str, given: Any, primary: str, enroll: Enroll, scope: WaypointFor) -> CanaryWaypoint | None:
    """Return the canary with its weight filled in; None where there is none. Raise RunError."""
    if given is None:
        return None
    gateway = http_text.label(component, "canary.gateway", given["gateway"])
    if gateway == primary:
        raise objects.refuse(component, "canary.gateway", gateway, "another name than the primary's")
    if enroll is Enroll.NOTHING:
        raise objects.refuse(component, "canary", given, "absent where enroll is nothing: no connections come to share")
    if scope is WaypointFor.WORKLOAD:
        raise objects.refuse(component, "canary", given, "absent with workload: Istio shares Services' traffic only")
    weight = objects.whole(component, "canary.weight", given.get("weight", 0), 0, 100)
    found: CanaryWaypoint = {**given, "gateway": gateway, "weight": weight}  # type: ignore[typeddict-item]
    return found


def services(component: str, args: Mapping[str, Any], enroll: Enroll) -> list[str]:
    """Return the Services to enroll, as `NAME` or `NAMESPACE/NAME`. Raise RunError."""
    given = args.get("services", [])
    if enroll is not Enroll.SERVICES:
        if given:
            raise objects.refuse(component, "services", given, "absent unless enroll is services")
        return []
    found = objects.names(component, "services", given)
    for name in found:
        if not all(name.split("/")) or name.count("/") > 1:
            raise objects.refuse(component, "services", name, "a name, or NAMESPACE/NAME for another namespace")
        for part in name.split("/"):
            http_text.label(component, "services", part)
    return found


def namespaces(component: str, args: Mapping[str, Any], enroll: Enroll) -> list[str]:
    """Return the namespaces to enroll; none means the waypoint's own. Raise RunError."""
    given = args.get("namespaces")
    if given is None:
        return []
    if enroll is not Enroll.NAMESPACE:
        raise objects.refuse(component, "namespaces", given, "absent unless enroll is namespace")
    found = objects.names(component, "namespaces", given)
    for name in found:
        http_text.label(component, "namespaces", name)
    return found


class Place(NamedTuple):
    """An object that gets the labels."""

    suffix: str
    """End of the name of its resource."""
    text: str
    """`NAME`, `NAMESPACE/NAME`, or `NAMESPACE/`; empty for the waypoint's own namespace."""
    document: dict[str, Any]
    """The object without the labels."""
    elsewhere: bool
    """True where the labels have to name the waypoint's namespace."""


def places(enroll: Enroll, home: pulumi.Input[str], services: list[str], namespaces: list[str]) -> list[Place]:
    """Return the objects that get the labels.

    Args:
        enroll: Kind of the objects.
        home: Namespace of the waypoint.
        services: The Services, with `enroll: services`.
        namespaces: The namespaces, with `enroll: namespace`; none means `home`.
    """
    if enroll is Enroll.NAMESPACE:
        return [
            Place(
                "" if name in (home, "") else f"-{name}",
                f"{name}/" if name else "",
                _namespace(name or home),
                name not in (home, ""),
            )
            for name in namespaces or [""]
        ]
    return [_service(home, service) for service in services]


def _namespace(name: pulumi.Input[str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _service(home: pulumi.Input[str], service: str) -> Place:
    namespace, _, name = service.rpartition("/")
    # The provider's own wait for a Service takes ten seconds and more, and a label is there at once.
    metadata = {"name": name, "namespace": namespace or home, "annotations": {**objects.SKIP_AWAIT}}
    document = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    return Place(f"-{service.replace('/', '.')}", service, document, namespace not in (home, ""))


def extended(document: dict[str, Any], field: str, *values: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
    """Return the object with more labels or annotations."""
    metadata = document["metadata"]
    found = {**metadata.get(field, {})}
    for more in values:
        found |= more
    return {**document, "metadata": {**metadata, field: found}}


def suffix(gateway: str) -> str:
    """Return the end of the name of a Gateway's resource: a canary that becomes the primary is the same resource."""
    return "" if gateway == DEFAULT else f"-{gateway}"
