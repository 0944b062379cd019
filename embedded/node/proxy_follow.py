"""When a Service's clients go over to a new waypoint: only once istiod has told that waypoint of the Service."""

from dataclasses import dataclass

from embedded.node.proxy_world import Object, World, waypoint_of

BOUND = "istio.io/WaypointBound"
# istiod writes the condition as it decides, and gathers changes for 0.1 s before it sends them to the waypoint.
SETTLE_SECONDS = 0.2
# Where no condition comes (istiod is away, or writes no status), the label alone has to do.
PATIENCE_SECONDS = 3.0


@dataclass
class _Pending:
    waypoint: str
    seen: float
    bound: float | None = None


class Followed:
    """The waypoint of each Service as its clients use it now.

    A label is older than the waypoint's knowledge of the Service: who goes there at once is turned away. A Service that
    is new follows its label from the start: its clients have nothing to lose, and nobody gets past the waypoint.
    """

    def __init__(self) -> None:
        """Knows no Service yet."""
        self._now: dict[str, str | None] = {}
        self._pending: dict[str, _Pending] = {}

    def update(self, world: World, now: float) -> float | None:
        """Takes in the world as it is at `now` (seconds); returns in how many seconds to be asked again, if at all."""
        for key in self._now.keys() - world.services.keys():
            del self._now[key]
            self._pending.pop(key, None)
        waits = [self._one(key, waypoint_of(world, item), item, now) for key, item in world.services.items()]
        return min((wait for wait in waits if wait is not None), default=None)

    def waypoint(self, key: str) -> str | None:
        """The waypoint that the clients of the Service `namespace/name` use."""
        return self._now.get(key)

    def _one(self, key: str, wanted: str | None, service: Object, now: float) -> float | None:
        pending = self._pending.get(key)
        if wanted is None or key not in self._now or wanted == self._now[key]:
            self._now[key] = wanted
            self._pending.pop(key, None)
            return None
        if pending is None or pending.waypoint != wanted:
            pending = self._pending[key] = _Pending(wanted, now)
        if pending.bound is None and _bound(service, wanted):
            pending.bound = now
        due = pending.seen + PATIENCE_SECONDS
        if pending.bound is not None:
            due = min(due, pending.bound + SETTLE_SECONDS)
        if now < due:
            return due - now
        self._now[key] = wanted
        del self._pending[key]
        return None


def _bound(service: Object, waypoint: str) -> bool:
    conditions = service.get("status", {}).get("conditions") or []
    return any(
        item["type"] == BOUND and item["status"] == "True" and f" {waypoint}." in item.get("message", "") + "."
        for item in conditions
    )
