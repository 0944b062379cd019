"""The time of a change of waypoint: clients change once istiod has configured the new waypoint for the Service."""

from dataclasses import dataclass

from embedded.node.proxy.snapshot import Object, Snapshot, WaypointWeights, waypoint_weights

BOUND = "istio.io/WaypointBound"
# istiod writes the condition at once, and debounces changes for 0.1 s before it pushes them to the waypoint.
SETTLE_SECONDS = 0.2
# Without the condition (istiod is down, or writes no status) the label alone counts after this time.
UNBOUND_SECONDS = 3.0


@dataclass
class _PendingChange:
    weights: WaypointWeights
    seen: float
    bound: float | None = None


class WaypointTracker:
    """The waypoints of each Service as its clients use them at present.

    The label of a Service is older than the configuration of its waypoint; a client that changed at once would be
    refused. A new Service uses its label from the start: it has no connections to lose, and none may bypass it.
    """

    def __init__(self) -> None:
        """Track no Service yet."""
        self._now: dict[str, WaypointWeights] = {}
        self._pending: dict[str, _PendingChange] = {}

    def update(self, snapshot: Snapshot, now: float) -> float | None:
        """Apply the snapshot at `now` (seconds); return the seconds until the next call, or None."""
        for key in self._now.keys() - snapshot.services.keys():
            del self._now[key]
            self._pending.pop(key, None)
        waits = [
            self._update_service(key, waypoint_weights(snapshot, item), item, now)
            for key, item in snapshot.services.items()
        ]
        return min((wait for wait in waits if wait is not None), default=None)

    def weights(self, key: str) -> WaypointWeights:
        """Return the waypoints above 0 % for new connections to the Service `namespace/name`."""
        return tuple((waypoint, weight) for waypoint, weight in self._now.get(key, ()) if weight)

    def waypoint(self, key: str) -> str | None:
        """Return the waypoint of the Service `namespace/name`; of two, the baseline."""
        return next((waypoint for waypoint, _ in self._now.get(key, ())), None)

    def _update_service(self, key: str, wanted: WaypointWeights, service: Object, now: float) -> float | None:
        pending = self._pending.get(key)
        known = {waypoint for waypoint, _ in self._now.get(key, ())}
        # A canary at 0 % is configured for the Service long before it receives connections.
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
    """Return True if istiod reports the baseline as bound; it reports a canary only on errors."""
    conditions = (service.get("status") or {}).get("conditions") or []
    return any(
        item.get("type") == BOUND and item.get("status") == "True" and f" {waypoint}." in item.get("message", "") + "."
        for item in conditions
    )
