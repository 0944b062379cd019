"""When a Service's clients go over to a new waypoint: only once istiod has told that waypoint of the Service."""

from dataclasses import dataclass

from embedded.node.proxy_world import Object, Shares, World, shares_of

BOUND = "istio.io/WaypointBound"
# istiod writes the condition as it decides, and gathers changes for 0.1 s before it sends them to the waypoint.
SETTLE_SECONDS = 0.2
# Where no condition comes (istiod is away, or writes no status), the label alone has to do.
PATIENCE_SECONDS = 3.0


@dataclass
class _Pending:
    shares: Shares
    seen: float
    bound: float | None = None


class Followed:
    """The waypoints of each Service as its clients use them now.

    A label is older than the waypoint's knowledge of the Service: who goes there at once is turned away. A Service that
    is new follows its label from the start: its clients have nothing to lose, and nobody gets past the waypoint.
    """

    def __init__(self) -> None:
        """Knows no Service yet."""
        self._now: dict[str, Shares] = {}
        self._pending: dict[str, _Pending] = {}

    def update(self, world: World, now: float) -> float | None:
        """Takes in the world as it is at `now` (seconds); returns in how many seconds to be asked again, if at all."""
        for key in self._now.keys() - world.services.keys():
            del self._now[key]
            self._pending.pop(key, None)
        waits = [self._one(key, shares_of(world, item), item, now) for key, item in world.services.items()]
        return min((wait for wait in waits if wait is not None), default=None)

    def shares(self, key: str) -> Shares:
        """The waypoints that new connections of the clients of the Service `namespace/name` use, those above 0 %."""
        return tuple((waypoint, weight) for waypoint, weight in self._now.get(key, ()) if weight)

    def waypoint(self, key: str) -> str | None:
        """The waypoint of the Service `namespace/name`; of two, the primary."""
        return next((waypoint for waypoint, _ in self._now.get(key, ())), None)

    def _one(self, key: str, wanted: Shares, service: Object, now: float) -> float | None:
        pending = self._pending.get(key)
        known = {waypoint for waypoint, _ in self._now.get(key, ())}
        # A canary at 0 % is told of the Service long before it gets any of it.
        if key not in self._now or all(waypoint in known or not weight for waypoint, weight in wanted):
            self._now[key] = wanted
            self._pending.pop(key, None)
            return None
        if pending is None or pending.shares != wanted:
            pending = self._pending[key] = _Pending(wanted, now)
        if pending.bound is None and _bound(service, wanted[0][0]):
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
    """Whether istiod says so of the primary: of a canary it speaks only where something is wrong with it."""
    conditions = service.get("status", {}).get("conditions") or []
    return any(
        item["type"] == BOUND and item["status"] == "True" and f" {waypoint}." in item.get("message", "") + "."
        for item in conditions
    )
