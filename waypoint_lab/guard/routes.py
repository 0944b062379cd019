"""Routes in the configuration of a waypoint's Envoy: the backends that they choose between, and those without any."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from waypoint_lab.guard.observation import BrokenRoute
from waypoint_lab.kubectl import Object
from waypoint_lab.measure.endpoint_counters import Destination, destination

ERROR = 500  # statuses from here on are errors of the server


class Route(NamedTuple):
    """A route of one port of a Service.

    Attributes:
        service: The Service's port.
        clusters: Names of Envoy's clusters with their shares of the requests, 0 to 1.
        status: Status of an answer that Envoy gives itself; 0 where it asks a backend.
    """

    service: Destination
    clusters: dict[str, float]
    status: int = 0


def routes(dump: Object) -> Iterator[Route]:
    """Yield the HTTP routes of a config dump."""
    for section in dump.get("configs", []):
        for listener in section.get("dynamic_listeners", []):
            for chain in listener.get("active_state", {}).get("listener", {}).get("filter_chains", []):
                for item in chain.get("filters", []):
                    yield from _of_config(item.get("typed_config", {}).get("route_config", {}))


def _of_config(config: Object) -> Iterator[Route]:
    service = destination(config.get("name", ""))
    for host in config.get("virtual_hosts", []) if service else []:
        for route in host.get("routes", []):
            action = route.get("route", {})
            weighted = action.get("weighted_clusters", {}).get("clusters") or []
            if "cluster" in action:
                weighted = [{"name": action["cluster"], "weight": 1}]
            total = sum(item.get("weight", 0) for item in weighted)
            shares: dict[str, float] = {}
            for item in weighted:
                if item.get("weight", 0):
                    shares[item["name"]] = shares.get(item["name"], 0.0) + item["weight"] / total
            assert service
            yield Route(service, shares, route.get("direct_response", {}).get("status", 0))


def ready(clusters: Object) -> dict[str, int]:
    """Return the number of healthy endpoints of each cluster of `/clusters?format=json`."""
    return {
        item["name"]: sum(
            host.get("health_status", {}).get("eds_health_status", "HEALTHY") == "HEALTHY"
            for host in item.get("host_statuses", [])
        )
        for item in clusters.get("cluster_statuses", [])
    }


def groups(found: list[Route]) -> list[frozenset[Destination]]:
    """Return the destinations of each Service's routes, with the Service itself."""
    members: dict[Destination, set[Destination]] = {}
    for route in found:
        named = filter(None, map(destination, route.clusters))
        members.setdefault(route.service, {route.service}).update(named)
    return [frozenset(group) for group in members.values()]


def connected(given: Sequence[frozenset[Destination]]) -> list[frozenset[Destination]]:
    """Return groups of destinations, merged where they have a member in common."""
    found: list[frozenset[Destination]] = []
    for group in given:
        touched = [other for other in found if other & group]
        found = [other for other in found if other not in touched] + [group.union(*touched)]
    return found


def broken(found: list[Route], endpoints: dict[str, int]) -> Iterator[BrokenRoute]:
    """Yield the routes to a backend that Envoy does not know, or that has no healthy endpoint.

    Args:
        found: The routes.
        endpoints: Number of healthy endpoints of each cluster that Envoy knows.
    """
    for route in found:
        if route.status >= ERROR:
            why = f"a route has no valid backend: the waypoint answers {route.status}"
            yield BrokenRoute(route.service, "", why)
        for name, share in route.clusters.items():
            if not endpoints.get(name):
                backend = destination(name)
                title = f"{backend.host}:{backend.port}" if backend else name
                lacks = "has no healthy endpoint" if name in endpoints else "does not exist in the waypoint"
                why = f"a route sends {100 * share:.3g} % of its requests to {title}, which {lacks}"
                yield BrokenRoute(route.service, backend.host if backend else "", why, name, share)
