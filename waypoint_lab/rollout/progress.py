"""Progress of a running promotion, in a file beside the journal, so that a live view can show it.

The file is `.lab-history/STACK.progress.json`. It is replaced at each change and removed at the end. The file of a
killed command names a process that does not run.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from embedded import processes
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.rollout.analysis import Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.state import CanaryStep

INTERVAL_SECONDS = 0.4  # between two writes of the same action
Around = Callable[[CanaryStep, LabConfig], AbstractContextManager[Callable[[], None]]]


@contextmanager
def unrecorded(_step: CanaryStep, _config: LabConfig) -> Iterator[Callable[[], None]]:
    """Record nothing around the update of a step."""
    yield lambda: None


@dataclass(frozen=True)
class Progress:
    """The action of a promotion now.

    Attributes:
        waits_for: The action, or what it waits for, in a few words.
        step: The step; None before the first.
        thresholds: Limits of the step's analysis; None where it does not run.
        evidence: Returns the evidence of the step so far, by source, as the journal keeps it.
    """

    waits_for: str
    step: CanaryStep | None = None
    thresholds: Thresholds | None = None
    evidence: Callable[[], Mapping[str, Any]] = dict


Observer = Callable[[Progress], None]


def ignore(_progress: Progress) -> None:
    """Observe nothing."""


class ProgressFile:
    """Writer of the file; as a context manager it removes the file in the end."""

    def __init__(self, journal: Journal) -> None:
        """Name the stack's file; nothing is written yet."""
        self.file = path(journal)
        self._what, self._since, self._written = "", 0.0, 0.0

    def __call__(self, progress: Progress) -> None:
        """Write the progress; at most every INTERVAL_SECONDS while the action is the same. A failure is ignored."""
        now = time.time()
        what = f"{progress.waits_for} {progress.step}"
        if what == self._what and 0 <= now - self._written < INTERVAL_SECONDS:
            return
        if what != self._what:
            self._what, self._since = what, now
        document = {
            "pid": os.getpid(),
            "started": processes.start_time(os.getpid()),
            "at": now,
            "since": self._since,
            "waits_for": progress.waits_for,
            "step": progress.step.document() if progress.step else None,
            "thresholds": msgspec.to_builtins(progress.thresholds) if progress.thresholds else {},
            "evidence": dict(progress.evidence()),
        }
        fresh = self.file.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self.file.parent.mkdir(exist_ok=True)
            fresh.write_text(json.dumps(document))
            fresh.replace(self.file)
        self._written = time.time()  # an evidence that takes long to write is not written without a pause

    def __enter__(self) -> "ProgressFile":
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)


def path(journal: Journal) -> Path:
    """Return the path of the file."""
    return journal.file.with_name(f"{journal.file.stem}.progress.json")


def read(journal: Journal) -> dict[str, Any]:
    """Return the progress of the command that runs now; empty without one."""
    try:
        found: dict[str, Any] = dict(json.loads(path(journal).read_text()))
        pid, started = int(found["pid"]), int(found["started"])
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if started and processes.start_time(pid) == started else {}
