"""Rules on what routes and policies point at."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .objects import Findings, Object, Settings, World, service_of
from .routes import rules_of

POLICIES = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin", "TrafficExtension")
_NAMED = ("Service", "Gateway", "ServiceEntry")  # what a targetRef may name, and what is looked up
_NO_ROUTES: Mapping[str, Any] = {}


class Target(NamedTuple):
    """What a route or policy points at; `port` is None where it names none."""

    kind: str
    namespace: str
    name: str
    port: float | None = None


def targets_exist(world: World, _settings: Settings) -> Findings:
    """Routes and policies name Services, ports and Gateways that exist."""
    for item in world.own("HTTPRoute", "VirtualService", "DestinationRule", *POLICIES):
        for target in dict.fromkeys(_targets(world, item)):
            if problem := _missing(world, target):
                yield item, problem


def _missing(world: World, target: Target) -> str:
    found = world.find(target.kind, target.namespace, target.name)
    place = f"{target.kind} {target.namespace}/{target.name}"
    if not found:
        # What cannot be looked up may well be there: `cluster-was-read` says that nobody looked.
        known = not world.problem or bool(world.find("Namespace", "", target.namespace))
        return f"{place} is not {world.elsewhere}" if known else ""
    ports = [port.get("port") for item in found for port in item.spec.get("ports") or []]
    if target.port is None or not ports or target.port in ports:
        return ""
    return f"{place} has no port {target.port:g}; it has {', '.join(f'{port:g}' for port in sorted(set(ports)))}"


def _targets(world: World, item: Object) -> Iterator[Target]:
    if item.base == "HTTPRoute":
        yield from _of_route(item)
    elif item.base in POLICIES:
        yield from policy_targets(item)
    else:
        for host, port in _hosts(item):
            service = service_of(host, item.namespace)
            # `a.b` is a Service only where b is a namespace; any other name may be of the outside.
            if service and (host.count(".") != 1 or world.find("Namespace", "", service[0])):
                yield Target("Service", *service, port)


def _of_route(route: Object) -> Iterator[Target]:
    refs = [ref for ref in route.spec.get("parentRefs") or [] if ref.get("kind", "Gateway") in _NAMED]
    for rule in rules_of(route):
        refs += [{"kind": "Service", **ref} for ref in rule.get("backendRefs") or []]
    for ref in refs:
        kind = str(ref.get("kind", "Gateway"))
        if kind in _NAMED:
            port = ref.get("port") if kind == "Service" else None
            yield Target(kind, str(ref.get("namespace") or route.namespace), str(ref.get("name")), port)


def policy_targets(policy: Object) -> Iterator[Target]:
    """What a policy's targetRefs name; they are always of its own namespace."""
    single = policy.spec.get("targetRef")
    for ref in [*(policy.spec.get("targetRefs") or []), *([single] if single else [])]:
        if ref.get("kind") in _NAMED:
            yield Target(str(ref["kind"]), policy.namespace, str(ref.get("name")))


def _hosts(item: Object) -> Iterator[tuple[str, float | None]]:
    """The hosts that a VirtualService or DestinationRule names, each with the port it is asked for."""
    if item.base == "DestinationRule":
        yield str(item.spec.get("host", "*")), None
        return
    for host in item.spec.get("hosts") or [] if "mesh" in (item.spec.get("gateways") or ["mesh"]) else []:
        yield str(host), None
    for rule in rules_of(item):
        mirrors = [rule["mirror"]] if rule.get("mirror") else []
        mirrors += [mirror.get("destination", _NO_ROUTES) for mirror in rule.get("mirrors") or []]
        routes = [route.get("destination", _NO_ROUTES) for route in rule.get("route") or []]
        for destination in routes + mirrors:
            yield str(destination.get("host", "*")), (destination.get("port") or {}).get("number")
