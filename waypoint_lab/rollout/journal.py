"""What promotions have done and why: one JSON line per decision, beside the stack's config; and their lock.

The files are in `.lab-history/` of the project, which git ignores: `STACK.jsonl` is the journal, `STACK.lock` the lock.
A line is on disk before what it announces is done, so a promotion that was killed is known by its last line.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = ".lab-history"
Record = dict[str, Any]


class Locked(Exception):
    """Another promotion of the same stack runs; one line."""


class Journal:
    """The journal of one stack."""

    def __init__(self, folder: Path, stack: str) -> None:
        """Of the project in `folder`; nothing is written before the first `append`."""
        self.folder = folder / FOLDER
        self.file = self.folder / f"{stack}.jsonl"
        self._lock = self.folder / f"{stack}.lock"
        self._stack = stack

    def records(self) -> list[Record]:
        """All lines, the oldest first. A line that was cut off by a kill is passed over."""
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
        """Writes one line, and returns once it is on disk."""
        self.folder.mkdir(exist_ok=True)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"at": at, "kind": kind, "promotion": promotion, **more}
        with self.file.open("a+b") as file:
            torn = file.tell() and self.file.read_bytes()[-1:] != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps(record).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return record

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the stack's lock; the kernel takes it away from a process that is killed. Raises Locked."""
        self.folder.mkdir(exist_ok=True)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                who = lock.read().strip() or "unknown"
                raise Locked(
                    f"another promotion of stack {self._stack} runs (process {who}): wait for it, or end it with Ctrl-C"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
