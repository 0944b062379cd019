"""Snapshots for tests of the dashboard, and a source of them."""

import time
from typing import Any

from waypoint_lab.dashboard.history import JsonSnapshot


def backend(name: str, role: str, weight: float | None, requests: int, **more: Any) -> dict[str, Any]:
    """Return a backend with so many of 1000 requests, all of them successes."""
    share = requests / 1000
    return {
        "name": name,
        "namespace": "bookinfo-backends",
        "port": 9080,
        "role": role,
        "weight": weight,
        "live_weight": weight,
        "requests": requests,
        "active": 0,
        "share": {"value": share, "low": max(0.0, share - 0.03), "high": min(1.0, share + 0.03)},
        "rate": requests / 10,
        "success": {"value": 1.0, "low": 0.99, "high": 1.0},
        "p50_seconds": 0.004,
        "p99_seconds": 0.021,
        "total": {"requests": requests, "successes": requests, "errors": 0},
        **more,
    }


def snapshot(moment: float, weight: float = 20.0, **more: Any) -> dict[str, Any]:
    """Return a snapshot of the Service reviews whose canary has a weight."""
    canary = round(10 * weight)
    service = {
        "name": "reviews",
        "namespace": "bookinfo-backends",
        "port": 9080,
        "source": "counters",
        "requests": 1000,
        "rate": 100.0,
        "own_answers": {},
        "backends": [
            backend("reviews-baseline", "baseline", 100 - weight, 1000 - canary),
            backend("reviews-stable", "canary", weight, canary),
        ],
    }
    return {
        "time": moment,
        "stack": "dev",
        "namespace": "bookinfo-backends",
        "window_seconds": 10.0,
        "services": [service],
        "faults": [],
        "policies": [],
        "changes": [],
        "promotion": None,
        "problem": "",
        **more,
    }


class States:
    """A source of one snapshot, which a test may replace."""

    def __init__(self) -> None:
        """Start with a weight of 20 %."""
        self.newest: JsonSnapshot = snapshot(time.time())
        self._given: JsonSnapshot | None = None

    def __call__(self, limit_seconds: float) -> JsonSnapshot | None:
        """Return the snapshot if it is new."""
        until = time.monotonic() + limit_seconds
        while self.newest is self._given:
            if time.monotonic() > until:
                return None
            time.sleep(0.02)
        self._given = self.newest
        return self._given
