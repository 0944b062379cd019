"""Requests to several arms side by side, sent from the client's own Pod and read as they are answered."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.probe import COMMAND, SCRIPT, ProbeError, kubectl

# The guard at the end of `probe_script` must not hold here, where only its functions are wanted.
TEXT = f"__name__ = 'probe'\n{SCRIPT}\n{Path(__file__).with_name('pairs_script.py').read_text()}"
WORKERS = 4
REQUEST_SECONDS = 5.0
SILENT_SECONDS = 15.0  # the Pod says something every second, so this much silence means that it is lost
MOST_ROUNDS = 10_000_000
END_SECONDS = 10.0


@dataclass(frozen=True)
class Arm:
    """Where to send requests: a Service's host name, and headers."""

    name: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """One answer: `status` is HTTP's, 0 where there was none (`colour` then says why); `seconds` it took."""

    status: int
    colour: str
    seconds: float


@dataclass(frozen=True)
class Round:
    """One request to each arm, sent together; `at` is when, in seconds since 1970 by the Pod's clock."""

    at: float
    answers: tuple[Answer, ...]


class Stream:
    """A running stream of rounds; a context that ends it."""

    def __init__(
        self,
        config: LabConfig,
        arms: list[Arm],
        seconds: float,
        *,
        workers: int = WORKERS,
        pause_seconds: float = 0.0,
        rounds: int = MOST_ROUNDS,
    ) -> None:
        """Starts at once; ends by itself after `seconds` or `rounds`. Raises ProbeError where kubectl is missing."""
        spec = {
            "arms": [
                {
                    "host": arm.host,
                    "port": config.app.port,
                    "method": "GET",
                    "path": "/reviews/0",
                    "headers": dict(arm.headers),
                }
                for arm in arms
            ],
            "workers": workers,
            "seconds": seconds,
            "request_seconds": REQUEST_SECONDS,
            "pause_seconds": pause_seconds,
            "rounds": rounds,
        }
        where = ("exec", "-i", "-n", config.app.client.namespace, config.app.client.workload, "--", *COMMAND)
        try:
            # In a session of its own: Ctrl-C is for whoever reads this stream to hear, and to end it.
            self._process = subprocess.Popen(
                kubectl(config, *where),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise ProbeError("kubectl is not on PATH") from None
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(repr(f"SPEC = {json.dumps(spec)!r}\n{TEXT}") + "\n")
            self._process.stdin.flush()
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._heard = time.monotonic()

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def read(self, wait_seconds: float) -> list[Round] | None:
        """The next rounds, empty where none came within `wait_seconds`; None at the end.

        Raises ProbeError where the Pod cannot be reached, or falls silent.
        """
        try:
            line = self._lines.get(timeout=wait_seconds)
        except queue.Empty:
            if time.monotonic() - self._heard > SILENT_SECONDS:
                raise ProbeError(f"the measuring Pod has said nothing for {SILENT_SECONDS:.0f} s") from None
            return []
        if line is None:
            if code := self._process.wait(END_SECONDS):
                assert self._process.stderr
                last = (self._process.stderr.read().strip().splitlines() or [f"kubectl ended with {code}"])[-1]
                raise ProbeError(f"the measuring requests broke off: {last}")
            return None
        self._heard = time.monotonic()
        rows = json.loads(line)
        return [Round(float(at), tuple(Answer(int(s), str(c), ms / 1000) for s, c, ms in row)) for at, row in rows]

    def _close(self) -> None:
        assert self._process.stdin
        with suppress(OSError, ValueError):
            # kubectl sets the time limit of its writes with each write, but not with the last one that says "no more":
            # without a write just before it, that one fails where the stream is older than a minute.
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        with suppress(OSError):
            self._process.stdin.close()

    def rest(self) -> list[Round]:
        """Ends the stream and returns what was not read yet. Raises ProbeError as `read` does."""
        self._close()
        found: list[Round] = []
        while (more := self.read(1.0)) is not None:
            found += more
        return found

    def __enter__(self) -> "Stream":
        """The stream itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the requests at once, as a way back may wait for this; the Pod's side ends with the connection."""
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._process.stdin.close()
        self._reader.join()
        self._process.stdout.close()
        self._process.stderr.close()
