"""Readers of the waypoints of a namespace, for observations."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from components._internal import envoy
from waypoint_lab import kubectl
from waypoint_lab.guard.observation import Destination
from waypoint_lab.guard.routes import destination
from waypoint_lab.guard.sampling import Source
from waypoint_lab.guard.waypoints import Waypoints

Key = tuple[str, Destination, str]  # Pod, destination and address of an endpoint


class Counters(NamedTuple):
    """Requests to one endpoint, or to one destination."""

    requests: int = 0
    successes: int = 0
    errors: int = 0

    def since(self, earlier: "Counters") -> "Counters":
        """Return the requests since `earlier`; all of them where a counter fell, because the endpoint is a new one."""
        if self.requests < earlier.requests:
            return self
        return Counters(*(max(0, now - then) for now, then in zip(self, earlier, strict=True)))

    def plus(self, other: "Counters") -> "Counters":
        """Return the sum."""
        return Counters(*(one + more for one, more in zip(self, other, strict=True)))


class CounterReader:
    """Reader of the requests since its last call."""

    def __init__(self, waypoints: Waypoints) -> None:
        """Read nothing yet."""
        self._waypoints = waypoints
        self._known: dict[Key, Counters] = {}

    def __call__(self) -> Mapping[Destination, Counters]:
        """Return the requests to each destination since the last call. Raises KubectlError."""
        found: dict[Key, Counters] = {}
        for pod, text in self._waypoints.ask(envoy.REQUESTS).items():
            with kubectl.readable(f"counters of {pod}"):
                found |= {(pod, *key): counters for key, counters in endpoints(json.loads(text)).items()}
        changes: dict[Destination, Counters] = defaultdict(Counters)
        for key, counters in found.items():
            changes[key[1]] = changes[key[1]].plus(counters.since(self._known.get(key, Counters())))
        self._known |= found  # an endpoint that is away for a moment keeps its counters
        return changes


def endpoints(clusters: kubectl.Object) -> dict[tuple[Destination, str], Counters]:
    """Return the counters of each endpoint of Envoy's `/clusters?format=json`."""
    found: dict[tuple[Destination, str], Counters] = {}
    for item in clusters.get("cluster_statuses", []):
        if (where := destination(item["name"])) is None:
            continue
        for host in item.get("host_statuses", []):
            stats = {stat["name"]: int(stat.get("value", 0)) for stat in host.get("stats", [])}
            address = json.dumps(host.get("address"), sort_keys=True)
            found[where, address] = Counters(*(stats.get(f"rq_{name}", 0) for name in ("total", "success", "error")))
    return found


def source(waypoints: Waypoints) -> Source:
    """Return the readers of the waypoints of a namespace."""
    return Source(CounterReader(waypoints), waypoints.updates, waypoints.state)
