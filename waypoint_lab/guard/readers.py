"""Readers of the waypoints of a namespace, for observations."""

from collections.abc import Mapping

from waypoint_lab.guard import access_logs
from waypoint_lab.guard.sampling import Source
from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import Counts, Destination, EndpointCounters


class CounterReader:
    """Reader of the requests since its last call."""

    def __init__(self, waypoints: Waypoints) -> None:
        """Read nothing yet."""
        self._waypoints = waypoints
        self._last = EndpointCounters({})

    def __call__(self) -> Mapping[Destination, Counts]:
        """Return the requests to each destination since the last call. Raises KubectlError."""
        waypoints = self._waypoints
        now = endpoint_counters.read(waypoints.target, waypoints.namespace, waypoints.names)
        changes = now.since(self._last)
        self._last = now
        return changes


def source(waypoints: Waypoints) -> Source:
    """Return the readers of the waypoints of a namespace."""
    reader = CounterReader(waypoints)
    return Source(reader, waypoints.updates, waypoints.state, lambda seconds: access_logs.read(waypoints, seconds))
