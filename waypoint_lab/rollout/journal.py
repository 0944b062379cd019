"""The journal of a stack's promotions and migrations, and the lock of the stack.

The files are in `.lab-history/` of the project, which git ignores: `STACK.jsonl` is the journal, one JSON record a
line, and `STACK.lock` the lock. A record is on disk before its action starts, so that a killed command can be resumed.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waypoint_lab import masking
from waypoint_lab.errors import LockedError

FOLDER = ".lab-history"
Record = dict[str, Any]


class Journal:
    """Journal and lock of one stack."""

    def __init__(self, folder: Path, stack: str) -> None:
        """Name the stack and the project's folder; nothing is written before the first `append`."""
        self.folder = folder / FOLDER
        self.file = self.folder / f"{stack}.jsonl"
        self.observers: list[Callable[[Record], None]] = []  # called after each write; they neither raise nor block
        self._lock = self.folder / f"{stack}.lock"
        self._stack = stack

    def records(self) -> list[Record]:
        """Return all records, oldest first. A record that a kill cut off is skipped."""
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_bytes().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and "kind" in record and "promotion" in record:
                found.append(record)
        return found

    def append(self, kind: str, promotion: str, **more: Any) -> Record:
        """Write one record, and return it once it is on disk."""
        self.folder.mkdir(exist_ok=True)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        shown = {name: masking.hidden(value) if name in ("why", "evidence") else value for name, value in more.items()}
        record = {"at": at, "kind": kind, "promotion": promotion, **shown}
        with self.file.open("a+b") as file:
            torn = file.tell() and self.file.read_bytes()[-1:] != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        for observe in self.observers:
            observe(record)
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the stack's lock; the kernel releases it when the process ends.

        Raises:
            LockedError: Another command holds it.
        """
        self.folder.mkdir(exist_ok=True)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise LockedError(
                    f"stack {self._stack}: process {holder} changes it; wait for it, or end it with Ctrl-C"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
