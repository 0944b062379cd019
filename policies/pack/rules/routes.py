"""Rules on the routes of a Service's traffic."""

import json
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any, NamedTuple

from ..fields import Fields, fields, items, number, plain, text, texts, value_at
from ..mesh import matches_any, service_of
from ..resources import ClusterSnapshot, Parameters, Resource, Violations

_ALL_PORTS = 0
# Source: istiod 1.31, toInternalParentReference: it ignores a parentRef of another group, without a status.
PARENT_GROUPS = {"Service": "", "ServiceEntry": "networking.istio.io", "Gateway": "gateway.networking.k8s.io"}
_REGEX = "RegularExpression"
_ALL_PATHS = {"type": "PathPrefix", "value": "/"}  # default of the API server where a match names no path


class Backend(NamedTuple):
    """A port of a Service, which is given by namespace and name; port 0 where none is named."""

    service: tuple[str, str]
    port: float


Percents = Mapping[Backend, float]


def rules_of(route: Resource) -> list[Fields]:
    """Return the rules of an HTTPRoute, or the HTTP rules of a VirtualService."""
    return items(route.spec, "http" if route.base == "VirtualService" else "rules")


def services_of(route: Resource) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of each Service that the route has as a parent or host."""
    if route.base == "HTTPRoute":
        for parent in _parents(route):
            yield text(parent, "namespace", default=route.namespace), text(parent, "name")
    elif "mesh" in (texts(route.spec, "gateways") or ["mesh"]):
        for host in texts(route.spec, "hosts"):
            if service := service_of(host, route.namespace):
                yield service


def ports_of(route: Resource, service: tuple[str, str]) -> set[int]:
    """Return the ports of a Service that the route has as a parent or host; 0 stands for all ports."""
    if route.base == "HTTPRoute":
        parents = [
            parent
            for parent in _parents(route)
            if (text(parent, "namespace", default=route.namespace), text(parent, "name")) == service
        ]
        return {int(number(parent, "port", default=_ALL_PORTS)) for parent in parents}
    matches = [match for rule in rules_of(route) for match in items(rule, "match") or [{}]]
    return {int(number(match, "port", default=_ALL_PORTS)) for match in matches} or {_ALL_PORTS}


def weights_add_up(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that the weights of several backends add up to `total`, and that one is above 0.

    `total` times a power of ten is right as well: weights 999 and 1 are 99.9 % and 0.1 %. Backends without weights,
    or with the default of 1 each, get equal parts.
    """
    total = parameters["total"]
    allowed = {total * 10**power for power in range(5)}  # Source: Gateway API, BackendRef.weight is at most 1,000,000
    for route in snapshot.own("HTTPRoute"):
        for index, rule in enumerate(rules_of(route), 1):
            weights = [_weight(ref) for ref in items(rule, "backendRefs")]
            if weights and sum(weights) <= 0:
                yield route, f"rule {index} has no weight above 0, so every request fails"
            elif len(weights) > 1 and set(weights) != {1} and sum(weights) not in allowed:
                yield route, f"weights of rule {index} add up to {sum(weights):g}, not to {total:g}"


def canary_jump(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that no backend's weight grows by more than `maxPoints` percentage points over the live route.

    Rules are compared by their matches. The live route has the same name, or else the same Service and port.
    A backend is a port of a Service; one whose port is renumbered is the same.
    `baselines` and the Service of the route itself may take any weight at once.
    """
    limit = parameters["maxPoints"]
    for route in snapshot.own("HTTPRoute"):
        live_route = _live_route(snapshot, route)
        if live_route is None:
            continue
        live = {_text(rule): _percents(rule, live_route.namespace) for rule in rules_of(live_route)}
        exempt = set(services_of(route))
        for index, rule in enumerate(rules_of(route), 1):
            before, after = live.get(_text(rule)) or {}, _percents(rule, route.namespace)
            jumps = dict[str, None]()
            for backend, percent in after.items() if before else ():
                was, ports = _live_percent(backend, before, after), after
                total, had = _total(backend, after), _total(backend, before)
                if total - had > percent - was:  # of all ports of the Service
                    percent, was, ports = total, had, {}
                known = backend.service in exempt or matches_any(backend.service[1], parameters["baselines"])
                if percent - was > limit and not known:
                    title = _title(backend, ports, route.namespace)
                    sends = f"rule {index} sends {percent:g} % to {title}; the live route sends {was:g} %"
                    jumps[f"{sends}: a jump of {percent - was:g}"] = None
            yield from ((route, jump) for jump in jumps)


def _live_percent(backend: Backend, before: Percents, after: Percents) -> float:
    """Return the live percent of a backend; with a new port, that of the ports of its Service that are removed."""
    if backend in before:
        return before[backend]
    return sum(share for other, share in before.items() if other.service == backend.service and other not in after)


def _total(backend: Backend, among: Percents) -> float:
    return sum(percent for other, percent in among.items() if other.service == backend.service)


def _title(backend: Backend, among: Percents, place: str) -> str:
    """Return the name of a backend, without its namespace if that is `place`, and with its port if that is needed."""
    namespace, name = backend.service
    port = f":{backend.port:g}" if sum(other.service == backend.service for other in among) > 1 else ""
    return f"{name}{port}" if namespace == place else f"{namespace}/{name}{port}"


def one_owner_per_service(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that no HTTPRoute or VirtualService of a Service's port hides a rule of another one.

    Source: istiod 1.31, getVirtualServiceForWaypoint: the rules of all routes follow each other, those of HTTPRoutes
    first, and of one kind those of the oldest.
    """
    owners: dict[tuple[str, str], list[Resource]] = {}
    for item in snapshot.all("HTTPRoute", "VirtualService"):
        for service in dict.fromkeys(services_of(item)):
            owners.setdefault(service, []).append(item)
    for (namespace, name), routes in owners.items():
        for first, second in combinations(routes, 2):
            # A route in another namespace may be for that namespace's clients alone.
            if first.same_as(second) or (first.base == second.base and first.namespace != second.namespace):
                continue
            route, rule = sorted((first, second), key=lambda item: item.base)  # an HTTPRoute comes first
            if not _one_hides_another(route, rule, (namespace, name)):
                continue
            if owned := snapshot.first_owned((rule, route)):
                other = route if owned is rule else rule
                effect = "takes precedence" if owned is rule else "would have no effect"
                if first.base == second.base:
                    effect = "a rule of the older one hides one of the newer"
                yield owned, f"{other.title} routes Service {namespace}/{name}, too, and {effect}"


def _one_hides_another(first: Resource, second: Resource, service: tuple[str, str]) -> bool:
    """Return True if a rule of one route hides one of the other: it has the same conditions, or none.

    HTTPRoutes of one port are merged and sorted by their matches: a rule without conditions is the last, but for
    those with a regular expression of the path. Source: istiod 1.31, mergeHTTPRoutes and sortHTTPRoutes.
    """
    for (port, mine), (other_port, other) in product(_conditions(first, service), _conditions(second, service)):
        if not _share_a_port({port}, {other_port}):
            continue
        same_kind = first.base == second.base
        regex = _REGEX in (value_at(mine, "path", "type"), value_at(other, "path", "type"))
        is_last = same_kind and first.base == "HTTPRoute" and port == other_port and not regex
        hides = not mine or (same_kind and not other)
        if mine == other or (hides and not is_last):
            return True
    return False


def _conditions(route: Resource, service: tuple[str, str]) -> list[tuple[int, dict[str, Any]]]:
    """Return the matches of all rules of a route, each with its port; one without conditions is empty.

    A VirtualService with rules of TCP or TLS only has none.
    """
    rules = rules_of(route) or ([] if route.spec.get("tcp") or route.spec.get("tls") else [{}])
    if route.base == "HTTPRoute":
        return list(product(ports_of(route, service), [match for rule in rules for match in _matches(rule)]))
    found = []
    for match in (match for rule in rules for match in items(rule, "match") or [{}]):
        kept = plain(match)
        for field in ("name", "port", *(("gateways",) if "mesh" in texts(match, "gateways") else ())):
            kept.pop(field, None)
        if kept.get("uri") == {"prefix": "/"}:
            del kept["uri"]
        found.append((int(number(match, "port", default=_ALL_PORTS)), kept))
    return found


def _share_a_port(first: set[int], second: set[int]) -> bool:
    return bool(first & second) or _ALL_PORTS in first | second


def _live_route(snapshot: ClusterSnapshot, route: Resource) -> Resource | None:
    live = [item for item in snapshot.live if item.base == "HTTPRoute"]
    same = [item for item in live if item.key == route.key]
    return next(iter(same or [item for item in live if _share_a_service(route, item)]), None)


def _share_a_service(first: Resource, second: Resource) -> bool:
    """Return True if both routes have a port of a Service in common."""
    services = set(services_of(first)) & set(services_of(second))
    return any(_share_a_port(ports_of(first, service), ports_of(second, service)) for service in services)


def _weight(ref: Fields) -> float:
    return number(ref, "weight", default=1)


def _percents(rule: Fields, namespace: str) -> dict[Backend, float]:
    refs = items(rule, "backendRefs")
    total = sum(map(_weight, refs))
    percents: dict[Backend, float] = {}
    for ref in refs if total > 0 else ():
        backend = Backend((text(ref, "namespace", default=namespace), text(ref, "name")), number(ref, "port"))
        percents[backend] = round(percents.get(backend, 0.0) + 100 * _weight(ref) / total, 4)
    return percents


def _text(rule: Fields) -> str:
    """Return the matches of an HTTPRoute's rule as text."""
    return json.dumps(_matches(rule), sort_keys=True)


def _matches(rule: Fields) -> list[dict[str, Any]]:
    """Return the matches of an HTTPRoute's rule, the same for a declared rule and for its live form."""
    normal = []
    for match in items(rule, "matches") or [{}]:
        kept: dict[str, Any] = plain(match)
        for field in {"headers", "queryParams"} & kept.keys():
            kept[field] = [{"type": "Exact", **item} for item in items(kept, field)]
        if isinstance(path := kept.pop("path", None), Mapping) and (path := {**_ALL_PATHS, **path}) != _ALL_PATHS:
            kept["path"] = path
        normal.append(kept)
    return normal


def _parents(route: Resource) -> list[Fields]:
    parents = [parent for parent in items(route.spec, "parentRefs") if text(parent, "kind") == "Service"]
    return [parent for parent in parents if not wrong_group(parent)]


def wrong_group(parent: Fields) -> str:
    """Return the group of a parentRef if it is not that of its kind, so that the route is attached to nothing."""
    group = value_at(parent, "group")
    given = PARENT_GROUPS["Gateway"] if group is None else str(group)
    return "" if given == PARENT_GROUPS.get(text(parent, "kind", default="Gateway"), given) else given or '""'


def destinations(rule: Fields) -> list[Fields]:
    """Return the destinations of a VirtualService's rule, mirrors last."""
    found = [fields(route, "destination") for route in [*items(rule, "route"), *items(rule, "mirrors")]]
    return [*found, *([fields(rule, "mirror")] if fields(rule, "mirror") else [])]
