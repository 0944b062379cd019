"""Send measured requests from the client's own Pod, by `kubectl exec`, and read the answers."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from waypoint_lab import kubectl
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ProbeError
from waypoint_lab.measure import probe_pod
from waypoint_lab.measure.answer import Answer as Answer
from waypoint_lab.measure.request import WORKERS as WORKERS
from waypoint_lab.measure.request import Endpoint as Endpoint
from waypoint_lab.measure.request import Group as Group
from waypoint_lab.measure.request import limit_seconds, task

SCRIPT = Path(__file__).with_name("client_script.py").read_text()
# The program is the first line of standard input, so that the end of the input can stop it.
COMMAND = ("python3", "-u", "-c", "import sys; exec(eval(sys.stdin.readline()))")
_NO_PYTHON = re.compile(r"python3.*(not found|no such file)", re.IGNORECASE)  # as container runtimes say it
PROBE_SECONDS = 120.0
SILENT_SECONDS = 15.0  # the Pod prints a line every second
END_SECONDS = 30.0
LOAD_MARGIN_SECONDS = 120.0  # for the waits after an update


class Client:
    """A running client script. As a context manager it ends the requests at once on exit."""

    def __init__(
        self, config: LabConfig, groups: Sequence[Group], seconds: float, request_seconds: float | None = None
    ) -> None:
        """Start sending.

        Args:
            config: The application and the client's workload.
            groups: The requests, one group after the other.
            seconds: Limit of all groups together.
            request_seconds: Limit of one request; None means one that leaves a declared delay its time.

        Raises:
            KubectlError: kubectl is missing.
        """
        request_seconds = request_seconds or limit_seconds(config)
        spec = {"groups": [task(config, one) for one in groups], "seconds": seconds}
        spec |= {"request_seconds": request_seconds}
        self._success = config.app.request.success_ranges
        self._where = str(config.client)
        self._limit = time.monotonic() + seconds + request_seconds + END_SECONDS
        if isinstance(config.client, PodClient):
            workload = probe_pod.name(config, config.client, seconds + request_seconds + END_SECONDS)
        else:
            workload = config.client.workload
        where = ("-n", config.client.namespace, workload)
        self._process = kubectl.start(config.target, "exec", "-i", *where, "--", *COMMAND)
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.write(ascii(f"SPEC = {spec!r}\n{SCRIPT}") + "\n")
            self._process.stdin.flush()
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        self._heard = time.monotonic()
        self._ended = False

    @property
    def exited(self) -> bool:
        """True once the script has ended by itself."""
        return self._process.poll() is not None

    def _read_lines(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def read(self, wait_seconds: float) -> list[tuple[Answer, ...]] | None:
        """Return the next rounds: none if none came within `wait_seconds`, None at the end.

        Raises:
            ProbeError: The Pod cannot be reached, is silent, or the script ended too early.
        """
        if self._ended:
            return None
        try:
            line = self._lines.get(timeout=wait_seconds)
        except queue.Empty:
            silent = time.monotonic() - self._heard
            if silent > SILENT_SECONDS:
                raise ProbeError(f"{self._where}: no line from the client script for {silent:.0f} s") from None
            if time.monotonic() > self._limit:
                raise ProbeError(
                    f"{self._where}: the client script did not end in time; run the command again"
                ) from None
            return []
        self._heard = time.monotonic()
        try:
            found = json.loads(line)
            if found == "end":
                self._ended = True
                return None
            return [tuple(Answer._make([*one, self._success]) for one in answers) for answers in found]
        except (ValueError, TypeError):  # the end of the stream, which may cut its last line
            raise self._failure() from None

    def _failure(self) -> ProbeError:
        """Return the error of a script that ended too early, with kubectl's message."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._kill()
        assert self._process.stderr
        said = self._process.stderr.read().strip()
        last = (said.splitlines() or ["the client script ended too early"])[-1]
        text = f"{self._where}: cannot send requests: {last}"
        if _NO_PYTHON.search(said):
            text = (
                f"{self._where}: it has no python3; set app.client to a workload that has, "
                "or remove app.client for a probe Pod"
            )
        return ProbeError(text)

    def _kill(self) -> None:
        """Kill kubectl and all that it has started: where it is a wrapper, its children keep the streams open."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its session is its own
        self._process.wait()

    def rest(self) -> list[tuple[Answer, ...]]:
        """Return all remaining rounds. Raises ProbeError as `read` does."""
        found: list[tuple[Answer, ...]] = []
        while (more := self.read(1.0)) is not None:
            found += more
        return found

    def stop(self) -> list[tuple[Answer, ...]]:
        """End the requests in order, and return the rounds that were not read. Raises ProbeError as `read` does."""
        assert self._process.stdin
        with suppress(OSError, ValueError):
            # kubectl renews the time limit of its writes with each write, but not when it closes: without this line,
            # closing fails where the stream is older than a minute.
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        with suppress(OSError):
            self._process.stdin.close()
        return self.rest()

    def __enter__(self) -> "Client":
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the requests at once: a rollback may wait for this. The Pod's side ends with the connection."""
        self._kill()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                if stream:
                    stream.close()


def send(config: LabConfig, groups: Sequence[Group], seconds: float = PROBE_SECONDS) -> list[list[Answer]]:
    """Send each group's requests in turn.

    Args:
        config: The application and the client's workload.
        groups: The requests.
        seconds: Limit of all of them together; the answers that came until then are returned.

    Returns:
        The answers of each group.

    Raises:
        KubectlError: kubectl is missing.
        ProbeError: The Pod cannot send requests.
    """
    found: list[list[Answer]] = [[] for _ in groups]
    with Client(config, groups, seconds) as client:
        for answers in client.rest():
            found[answers[0].group] += answers
    return found


class Load:
    """Requests in the background while something changes, until `stop`."""

    def __init__(
        self,
        config: LabConfig,
        limit_seconds: float,
        workers: int = 4,
        fresh_workers: int = 0,
        endpoints: Sequence[Endpoint] = (Endpoint(),),
    ) -> None:
        """Start the requests.

        Args:
            config: The application and the client's workload.
            limit_seconds: Limit of the change; the load lasts longer than that.
            workers: Number of requests at the same time.
            fresh_workers: Number of workers that open a new connection for each request.
            endpoints: The requests of each round; the answers come in this order.

        Raises:
            KubectlError: kubectl is missing.
        """
        group = Group(tuple(endpoints), workers=workers, fresh_workers=fresh_workers, pause_seconds=0.02)
        self._client = Client(config, [group], limit_seconds + LOAD_MARGIN_SECONDS)
        self._found: list[tuple[Answer, ...]] = []

    def wait_for_answers(self, limit_seconds: float = SILENT_SECONDS) -> None:
        """Wait until the first round has been answered, at most `limit_seconds`. Raises ProbeError as `stop` does."""
        until = time.monotonic() + limit_seconds
        while not self._found and time.monotonic() < until:
            if (more := self._client.read(0.2)) is None:
                return
            self._found += more

    def stop(self) -> list[Answer]:
        """End the load and return its answers. Raises ProbeError if it ended before the change did."""
        with self._client as client:
            early = client.exited
            found = [*self._found, *client.stop()]
        if early:
            raise ProbeError("background requests: they ended before the change; run the command again")
        return [answer for answers in found for answer in answers]
