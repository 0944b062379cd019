"""Rules on who gets a Service's traffic."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .objects import Finding, Findings, Object, Settings, World, matches_any, service_of

_ALL_PATHS = {"type": "PathPrefix", "value": "/"}  # what the API server adds where a match names no path


def rules_of(route: Object) -> list[Any]:
    """The rules of an HTTPRoute, or the HTTP rules of a VirtualService."""
    return list(route.spec.get("http" if route.base == "VirtualService" else "rules") or [])


def weights_add_up(world: World, settings: Settings) -> Findings:
    """Where several backends share a rule, their weights make up `total`; someone answers in every rule.

    Ten times `total` will do as well, and so on, because a share below one percent needs it: 999 and 1 are 0.1 %.
    """
    total = settings["total"]
    fine = {total * 10**power for power in range(5)}  # Source: Gateway API, BackendRef.weight is at most 1,000,000
    for route in world.own("HTTPRoute"):
        for number, rule in enumerate(rules_of(route), 1):
            weights = [ref.get("weight", 1) for ref in rule.get("backendRefs") or []]
            if not weights:
                continue  # a redirect has no backends
            if sum(weights) <= 0:
                yield route, f"rule {number} has no weight above 0, so every request fails"
            elif len(weights) > 1 and sum(weights) not in fine:
                yield route, f"weights of rule {number} add up to {sum(weights):g}, not to {total:g}"


def canary_jump(world: World, settings: Settings) -> Findings:
    """No backend's share grows by more than `maxPoints` over what the cluster serves now; baselines may take all back.

    Judged against the live route of the same name, or else of the same Service, rule by rule (by their matches). A
    route that is new has nothing to be compared with.
    """
    limit = settings["maxPoints"]
    for route in world.own("HTTPRoute"):
        before = _live_route(world, route)
        if before is None:
            continue
        served = {_matches(rule): _shares(rule) for rule in rules_of(before)}
        baselines = {str(parent.get("name")) for parent in _parents(route)}
        for number, rule in enumerate(rules_of(route), 1):
            now = served.get(_matches(rule))
            for name, share in _shares(rule).items() if now else ():
                grown = share - (now or {}).get(name, 0.0)
                if grown <= limit or name in baselines or matches_any(name, settings["baselines"]):
                    continue
                live = f"{(now or {}).get(name, 0.0):g} %"
                yield (
                    route,
                    f"rule {number} sends {share:g} % to {name}; the live route sends {live}: a jump of {grown:g}",
                )


def _live_route(world: World, route: Object) -> Object | None:
    live = [item for item in world.live if item.base == "HTTPRoute"]
    same = [item for item in live if item.key == route.key]
    services = set(services_of(route))
    return next(iter(same or [item for item in live if services & set(services_of(item))]), None)


def _shares(rule: Mapping[str, Any]) -> dict[str, float]:
    refs = rule.get("backendRefs") or []
    total = sum(ref.get("weight", 1) for ref in refs)
    shares: dict[str, float] = {}
    for ref in refs if total else ():
        name = str(ref.get("name"))
        shares[name] = round(shares.get(name, 0.0) + 100 * ref.get("weight", 1) / total, 4)
    return shares


def _matches(rule: Mapping[str, Any]) -> str:
    """A rule's matches as text, the same for what was written and for what the API server made of it."""
    plain = []
    for match in rule.get("matches") or [{}]:
        kept: dict[str, Any] = {}
        for field, value in match.items():
            if field in ("headers", "queryParams"):
                kept[field] = [{"type": "Exact", **item} for item in value]
            elif field == "path":
                kept[field] = {**_ALL_PATHS, **value}
            else:
                kept[field] = value
        if kept.get("path") == _ALL_PATHS:
            del kept["path"]
        plain.append(kept)
    return json.dumps(plain, sort_keys=True)


def _parents(route: Object) -> Iterator[Mapping[str, Any]]:
    return (parent for parent in route.spec.get("parentRefs") or [] if parent.get("kind") == "Service")


def services_of(route: Object) -> Iterator[tuple[str, str]]:
    """Namespace and name of each Service whose traffic the object takes over."""
    if route.base == "HTTPRoute":
        for parent in _parents(route):
            yield str(parent.get("namespace") or route.namespace), str(parent.get("name"))
    elif "mesh" in (route.spec.get("gateways") or ["mesh"]):
        for host in route.spec.get("hosts") or []:
            if service := service_of(str(host), route.namespace):
                yield service


def one_owner_per_service(world: World, _settings: Settings) -> Iterator[Finding]:
    """No HTTPRoute and VirtualService on one Service: the route's catch-all hides the fault.

    Source: istiod orders the rules of an HTTPRoute before those of a VirtualService of the same host.
    """
    routed = {service: route for route in world.all("HTTPRoute") for service in services_of(route)}
    for rule in world.all("VirtualService"):
        for namespace, name in services_of(rule):
            route = routed.get((namespace, name))
            if route and world.owns(rule):
                yield rule, f"{route.title} has Service {namespace}/{name} already, and hides this one"
            elif route and world.owns(route):
                yield route, f"{rule.title} has Service {namespace}/{name} already, and would be hidden"
