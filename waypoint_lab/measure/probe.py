"""Sends measured requests from the client's own Pod, on any cluster that `kubectl exec` reaches."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.stages.table import Expect

PROJECT_FOLDER = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("probe_script.py").read_text()
# The program comes in the first line of standard input, so that the rest of it can tell when to stop.
COMMAND = ("python3", "-u", "-c", "import sys; exec(eval(sys.stdin.readline()))")
AGENT = "waypoint-lab"  # the user agent by which an access log tells the lab's requests from others'
CONCURRENCY = 8
REQUEST_SECONDS = 15.0
PROBE_SECONDS = 120.0
LOAD_REQUESTS = 50_000
KUBECTL_GRACE_SECONDS = 30.0


class ProbeError(Exception):
    """The requests could not be sent; one line."""


@dataclass(frozen=True)
class Row:
    """One request: `status` is HTTP's, 0 where there was no answer (`colour` then says why); `seconds` it took."""

    status: int
    colour: str
    proxied: str
    seconds: float
    reconnected: bool


def kubectl(config: LabConfig, *arguments: str) -> list[str]:
    """A kubectl command for the cluster of `config`."""
    # Relative paths are relative to the project, wherever the command line is.
    chosen = (
        [f"--kubeconfig={PROJECT_FOLDER / Path(config.target.kubeconfig).expanduser()}"]
        if config.target.kubeconfig
        else []
    )
    chosen += [f"--context={config.target.context}"] if config.target.context else []
    return ["kubectl", *chosen, *arguments]


def _spec(config: LabConfig, groups: list[dict[str, Any]], **more: Any) -> str:
    spec = {
        "host": f"{config.app.service}.{config.app.namespace}",
        "port": config.app.port,
        "groups": [{**group, "headers": {"user-agent": AGENT, **group["headers"]}} for group in groups],
        "concurrency": CONCURRENCY,
        "seconds": PROBE_SECONDS,
        "request_seconds": REQUEST_SECONDS,
        "pause_seconds": 0,
        "until_stdin_ends": False,
        **more,
    }
    return repr(f"SPEC = {json.dumps(spec)!r}\n{SCRIPT}") + "\n"


def group(expect: Expect) -> dict[str, Any]:
    """The requests that decide one expectation."""
    headers = dict([expect.header]) if expect.header else {}
    return {"method": expect.method, "path": "/reviews/0", "headers": headers, "requests": expect.requests}


def _exec(config: LabConfig) -> list[str]:
    return kubectl(config, "exec", "-i", "-n", config.app.client.namespace, config.app.client.workload, "--", *COMMAND)


def _rows(line: str) -> list[Row]:
    return [Row(int(r[0]), str(r[1]), str(r[2]), float(r[3]) / 1000, len(r) > 4) for r in json.loads(line)]


def send(
    config: LabConfig,
    groups: Sequence[dict[str, Any]],
    concurrency: int = CONCURRENCY,
    seconds: float = PROBE_SECONDS,
) -> list[list[Row]]:
    """Sends each group's requests in turn, and stops after `seconds` with those that it has.

    Raises ProbeError where the Pod cannot be reached or says nothing.
    """
    limit = seconds + KUBECTL_GRACE_SECONDS
    try:
        done = subprocess.run(
            _exec(config),
            input=_spec(config, list(groups), concurrency=concurrency, seconds=seconds),
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except FileNotFoundError:
        raise ProbeError("kubectl is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise ProbeError(f"the probe did not end within {limit:.0f} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != len(groups):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProbeError(f"{config.app.client.workload} in {config.app.client.namespace} cannot send requests: {last}")
    return [_rows(line) for line in lines]


class Load:
    """Requests in the background while something changes; bounded by `seconds`, ended by `stop`."""

    def __init__(self, config: LabConfig, seconds: float = 90.0, concurrency: int = 4, fresh_workers: int = 0) -> None:
        """Starts at once. `fresh_workers` of the `concurrency` open a new connection for each request."""
        group = {"method": "GET", "path": "/reviews/0", "headers": {}, "requests": LOAD_REQUESTS}
        groups = [{**group, "fresh_workers": fresh_workers}]
        self._process = subprocess.Popen(
            _exec(config), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdin
        text = _spec(
            config, groups, seconds=seconds, concurrency=concurrency, pause_seconds=0.02, until_stdin_ends=True
        )
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def stop(self) -> list[Row]:
        """Ends the load and returns what it saw; raises ProbeError where nothing came back."""
        try:
            # kubectl renews the time limit of its writes with each write, but not when it closes: without this line,
            # closing fails where the load is older than a minute.
            out, errors = self._process.communicate("\n", timeout=REQUEST_SECONDS + KUBECTL_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise ProbeError("the background requests did not end") from None
        if self._process.returncode or not out.strip():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            raise ProbeError(f"the background requests failed: {last}")
        return _rows(out.splitlines()[0])
