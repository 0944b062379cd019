"""The time series of the page, from the snapshots of the sampler."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from waypoint_lab.live.services import ACCESS_LOG

JsonSnapshot = Mapping[str, Any]  # as `live.model.to_json` writes it
Point = dict[str, Any]

KEPT_POINTS = 1500  # ten minutes at the sampler's pace
KEPT_CHANGES = 100
SPAN_SECONDS = 1.0  # of one point: counters of two snapshots at least so far apart


class PageHistory:
    """Points and changes since the dashboard started, at most ten minutes of them."""

    def __init__(self) -> None:
        """Start empty."""
        self.points: deque[Point] = deque(maxlen=KEPT_POINTS)
        self.changes: deque[dict[str, Any]] = deque(maxlen=KEPT_CHANGES)
        self._last: deque[JsonSnapshot] = deque()

    def add(self, snapshot: JsonSnapshot) -> Point:
        """Add a snapshot, and return its point.

        A point has for each backend its share and rate in the last second, its success and latencies in the window of
        the sampler, and its weight in Envoy. Where the access log is the source, share and rate are of the window, too.
        The keys are SERVICE/BACKEND, each as NAMESPACE/NAME:PORT. None means that nothing was measured.
        """
        if self._last and snapshot["time"] < self._last[-1]["time"]:  # the clock was set back
            self._last.clear()
        while len(self._last) > 1 and snapshot["time"] - self._last[1]["time"] >= SPAN_SECONDS:
            self._last.popleft()
        before = self._last[0] if self._last else None
        self._last.append(snapshot)
        point: Point = {"time": snapshot["time"], "backends": {}}
        for service in snapshot["services"]:
            point["backends"].update(_backends(service, before, snapshot["time"]))
        self.points.append(point)
        for change in snapshot["changes"]:
            if change not in self.changes:
                self.changes.append(dict(change))
        return point


def _place(one: Mapping[str, Any]) -> str:
    """Return NAMESPACE/NAME:PORT, as `place` of format.js does."""
    return f"{one['namespace']}/{one['name']}:{one['port']}"


def _share(backend: Mapping[str, Any]) -> float | None:
    return backend["share"]["value"] if backend["share"] else None


def _backends(service: Mapping[str, Any], before: JsonSnapshot | None, time: float) -> Point:
    """Return the values of each backend of a Service."""
    backends: Sequence[Mapping[str, Any]] = service["backends"]
    earlier = {
        f"{_place(one)}/{_place(two)}": two["total"]["requests"]
        for one in (before or {"services": []})["services"]
        for two in one["backends"]
    }
    new: dict[str, int] = {}
    keys = [f"{_place(service)}/{_place(one)}" for one in backends]
    for key, one in zip(keys, backends, strict=True):
        if (then := earlier.get(key)) is not None:
            new[key] = max(0, one["total"]["requests"] - then)
    total = sum(new.values())
    seconds = time - before["time"] if before else 0.0
    by_log = service["source"] == ACCESS_LOG  # counters have other requests as well
    return {
        key: {
            "share": _share(one) if by_log else new[key] / total if total and key in new else None,
            "rate": one["rate"] if by_log else new[key] / seconds if seconds and key in new else None,
            "success": one["success"]["value"] if one["success"] else None,
            "p50": one["p50_seconds"],
            "p99": one["p99_seconds"],
            "weight": one["live_weight"],
        }
        for key, one in zip(keys, backends, strict=True)
    }
