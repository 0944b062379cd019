"""The newest state of the page, for any number of browsers."""

import json
import threading
from collections.abc import Callable
from typing import Any

from waypoint_lab.dashboard.history import JsonSnapshot, PageHistory

WAIT_SECONDS = 1.0
# Waits so many seconds for a snapshot that was not returned yet; None where none came in time.
SnapshotSource = Callable[[float], JsonSnapshot | None]


class PageFeed:
    """Collects snapshots in a thread, and hands each browser what it does not have yet."""

    def __init__(self, source: SnapshotSource) -> None:
        """Keep the source."""
        self._source, self._history = source, PageHistory()
        self._condition, self._number = threading.Condition(), 0
        self._snapshot: JsonSnapshot | None = None
        self._point: dict[str, Any] | None = None
        self._ended = False
        self.actions: Callable[[], dict[str, Any]] = dict  # the state of the buttons
        self._thread = threading.Thread(target=self._collect, name="feed", daemon=True)

    def __enter__(self) -> "PageFeed":
        """Start to collect."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and end the wait of every browser."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()
        self._thread.join()

    @property
    def busy(self) -> bool:
        """True while a command works on a promotion, by the newest snapshot."""
        snapshot = self._snapshot
        return bool(snapshot and snapshot["promotion"] and snapshot["promotion"]["running"])

    @property
    def ended(self) -> bool:
        """True once the dashboard ends."""
        return self._ended

    def _collect(self) -> None:
        while not self._ended:
            snapshot = self._source(WAIT_SECONDS)
            if snapshot is None:
                continue
            with self._condition:
                self._snapshot = snapshot
                self._point = self._history.add(snapshot)
                self._number += 1
                self._condition.notify_all()

    def first(self) -> tuple[int, str]:
        """Return the number of the newest state, and all that a new browser needs as JSON."""
        with self._condition:
            whole = {"points": list(self._history.points), "changes": list(self._history.changes)}
            return self._number, json.dumps({**self._state(), **whole})

    def next(self, number: int, limit_seconds: float) -> tuple[int, str]:
        """Return the number and the JSON of a state after `number`, or of the same one after `limit_seconds`."""
        with self._condition:
            self._condition.wait_for(lambda: self._ended or self._number > number, limit_seconds)
            newer = [self._point] if self._number > number else []
            return self._number, json.dumps({**self._state(), "points": newer})

    def _state(self) -> dict[str, Any]:
        return {"snapshot": self._snapshot, "actions": self.actions()}
