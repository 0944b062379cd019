"""Routes in an Envoy's configuration, and what changed between two of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from waypoint_lab.guard import routes
from waypoint_lab.kubectl import Object
from waypoint_lab.live.objects import RouteTarget, Weights, described
from waypoint_lab.measure.endpoint_counters import Destination, destination


@dataclass(frozen=True)
class ServiceRoutes:
    """Routes of one port of a Service.

    Attributes:
        weights: Percent of the requests that no other rule takes, by backend.
        backends: All backends, in the order of the routes.
        mark: Identifies the routes with their faults and policies.
    """

    weights: Weights = field(default_factory=dict)
    backends: tuple[RouteTarget, ...] = ()
    mark: str = ""


Routes = Mapping[RouteTarget, ServiceRoutes]


def place(where: Destination) -> RouteTarget:
    """Return the Service of a destination."""
    name, _, rest = where.host.partition(".")
    return RouteTarget(name, rest.partition(".")[0], where.port, where.subset)


def read(dump: Object) -> dict[RouteTarget, ServiceRoutes]:
    """Return the routes in a dump of the dynamic listeners."""
    # A dump of one type lists its items bare.
    sections = [one if "dynamic_listeners" in one else {"dynamic_listeners": [one]} for one in dump.get("configs", [])]
    found: dict[RouteTarget, ServiceRoutes] = {}
    marks = _marks(sections)
    backends: dict[RouteTarget, dict[RouteTarget, None]] = {}
    for route in routes.routes({"configs": sections}):
        service = place(route.service)._replace(subset="")
        weights: dict[RouteTarget, float] = {}
        for cluster, share in route.clusters.items():
            if to := destination(cluster):
                weights[place(to)] = weights.get(place(to), 0.0) + 100 * share
        backends.setdefault(service, {}).update(dict.fromkeys(weights))
        found[service] = ServiceRoutes(weights, tuple(backends[service]), marks.get(service, ""))
    return found


def _marks(sections: list[Object]) -> dict[RouteTarget, str]:
    found: dict[RouteTarget, str] = {}
    for section in sections:
        for listener in section.get("dynamic_listeners", []):
            for chain in listener.get("active_state", {}).get("listener", {}).get("filter_chains", []):
                filters = chain.get("filters", [])
                for item in filters:
                    name = item.get("typed_config", {}).get("route_config", {}).get("name", "")
                    if where := destination(name):
                        text = json.dumps(filters, sort_keys=True)
                        service = place(where)._replace(subset="")
                        found[service] = hashlib.sha256((found.get(service, "") + text).encode()).hexdigest()
    return found


def changes(before: Routes, now: Routes) -> list[str]:
    """Return one line for each Service whose routes, faults or policies differ."""
    found = []
    for service, routes_now in now.items():
        known = before.get(service)
        if known is None or known.weights != routes_now.weights:
            found.append(f"{service.name}: {described(routes_now.weights) or 'no backend'}")
        elif known.mark != routes_now.mark:
            found.append(f"{service.name}: new rules, faults or policies")
    return found + [f"{service.name}: no route" for service in before if service not in now]
