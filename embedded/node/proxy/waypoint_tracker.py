"""When a Service's clients go over to a new waypoint: only once istiod has told that waypoint of the Service."""

from dataclasses import dataclass

from embedded.node.proxy.snapshot import Object, Snapshot, WaypointWeights, waypoint_weights

BOUND = "istio.io/WaypointBound"
# istiod writes the condition as it decides, and gathers changes for 0.1 s before it sends them to the waypoint.
SETTLE_SECONDS = 0.2
# Where no condition comes (istiod is away, or writes no status), the label alone has to do.
UNBOUND_SECONDS = 3.0


@dataclass
class _PendingChange:
    weights: WaypointWeights
    seen: float
    bound: float | None = None


class WaypointTracker:
    """The waypoints of each Service as its clients use them now.

    A label is older than the waypoint's knowledge of the Service: who goes there at once is turned away. A Service that
    is new follows its label from the start: its clients have nothing to lose, and nobody gets past the waypoint.
    """

    def __init__(self) -> None:
        """Knows no Service yet."""
        self._now: dict[str, WaypointWeights] = {}
        self._pending: dict[str, _PendingChange] = {}

    def update(self, snapshot: Snapshot, now: float) -> float | None:
        """Apply the snapshot at `now` (seconds); return the seconds until the next call, or None."""
        for key in self._now.keys() - snapshot.services.keys():
            del self._now[key]
            self._pending.pop(key, None)
        waits = [self._one(key, waypoint_weights(snapshot, item), item, now) for key, item in snapshot.services.items()]
        return min((wait for wait in waits if wait is not None), default=None)

    def weights(self, key: str) -> WaypointWeights:
        """The waypoints that new connections of the clients of the Service `namespace/name` use, those above 0 %."""
        return tuple((waypoint, weight) for waypoint, weight in self._now.get(key, ()) if weight)

    def waypoint(self, key: str) -> str | None:
        """The waypoint of the Service `namespace/name`; of two, the primary."""
        return next((waypoint for waypoint, _ in self._now.get(key, ())), None)

    def _one(self, key: str, wanted: WaypointWeights, service: Object, now: float) -> float | None:
        pending = self._pending.get(key)
        known = {waypoint for waypoint, _ in self._now.get(key, ())}
        # A canary at 0 % is told of the Service long before it gets any of it.
        if key not in self._now or all(waypoint in known or not weight for waypoint, weight in wanted):
            self._now[key] = wanted
            self._pending.pop(key, None)
            return None
        if pending is None or pending.weights != wanted:
            pending = self._pending[key] = _PendingChange(wanted, now)
        if pending.bound is None and _bound(service, wanted[0][0]):
            pending.bound = now
        due = pending.seen + UNBOUND_SECONDS
        if pending.bound is not None:
            due = min(due, pending.bound + SETTLE_SECONDS)
        if now < due:
            return due - now
        self._now[key] = wanted
        del self._pending[key]
        return None


def _bound(service: Object, waypoint: str) -> bool:
    """Whether istiod says so of the primary: of a canary it speaks only where something is wrong with it."""
    conditions = service.get("status", {}).get("conditions") or []
    return any(
        item["type"] == BOUND and item["status"] == "True" and f" {waypoint}." in item.get("message", "") + "."
        for item in conditions
    )
