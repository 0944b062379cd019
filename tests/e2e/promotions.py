"""Commands of `lab canary` in tests, and what they leave."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded import processes
from tests.conftest import Kubectl
from tests.e2e.scene import Scene

Start = Callable[..., "subprocess.Popen[str]"]
ANSWERS_BYTES = 100_000  # kubectl reads less until it is connected


def end(process: "subprocess.Popen[str]", code: int, seconds: float = 200) -> str:
    """Wait for a command and check its exit status; return its standard error."""
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == code, out + errors
    return errors


def live_weight(kubectl: Kubectl) -> float:
    """Return the weight of the canary in percent, as the cluster has it."""
    found = kubectl("get", "httproute", "reviews", "-n", "bookinfo-backends", "-o", "json")
    refs = {ref["name"]: ref["weight"] for ref in json.loads(found.stdout)["spec"]["rules"][-1]["backendRefs"]}
    return float(100 * refs.get("reviews-stable", 0) / sum(refs.values()))


def records(scene: Scene, kind: str) -> list[dict[str, Any]]:
    """Return the records of one kind in the stack's journal."""
    return [record for record in scene.journal.records() if record["kind"] == kind]


def answers_arrive(pid: int) -> bool:
    """Return True once a `kubectl exec` below a process has read the answers to some hundred requests."""
    for child in processes.descendants(pid):
        with suppress(OSError):
            if {b"exec", b"python3"} <= {*Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")}:
                read = int(Path(f"/proc/{child}/io").read_text().split()[1])
                if read > ANSWERS_BYTES:
                    return True
    return False


def kill(process: "subprocess.Popen[str]", *, descendants: bool) -> None:
    """Kill a command, alone or with all that it started."""
    for pid in [process.pid, *(processes.descendants(process.pid) if descendants else [])]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()
