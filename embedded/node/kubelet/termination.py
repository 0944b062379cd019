"""The end of a container: its state, and its termination message."""

import contextlib
from pathlib import Path

from embedded.kube import Object, now
from embedded.node.kubelet import logs

DEFAULT_PATH = "/dev/termination-log"
# Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/container/runtime.go
MOST_BYTES, LOG_BYTES, LOG_LINES = 4096, 2048, 80


def message_file(folder: Path, container: Object) -> Path:
    """Return the file of a container's termination message on this machine.

    Args:
        folder: The Pod's folder.
        container: The container of the Pod's spec.
    """
    return folder / "termination" / str(container["name"])


def clear(folder: Path, container: Object) -> None:
    """Create an empty file for the termination message of a new run; every user of the container may write to it.

    Args:
        folder: The Pod's folder.
        container: The container of the Pod's spec.
    """
    file = message_file(folder, container)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    file.chmod(0o666)


def message(folder: Path, container: Object, code: int, log: Path) -> str:
    """Return the termination message of a run: its file, or the end of its log where the policy says so.

    Without a readable file and log there is no message.

    Args:
        folder: The Pod's folder.
        container: The container of the Pod's spec.
        code: The exit code.
        log: The log of the run.
    """
    written = b""
    with contextlib.suppress(OSError), message_file(folder, container).open("rb") as opened:
        written = opened.read(MOST_BYTES)
    if not written and code != 0 and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        with contextlib.suppress(OSError, ValueError):
            written = b"".join(logs.parse(line)[2] for line in logs.read(log, tail=LOG_LINES))[-LOG_BYTES:]
    return written.decode(errors="replace")


def terminated(code: int, reason: str, start: str, identity: str, message: str = "") -> Object:
    """Return the state of a container that ended just now with exit code `code`."""
    found: Object = {
        "exitCode": code,
        "reason": reason,
        "startedAt": start,
        "finishedAt": now(),
        "containerID": identity,
    }
    if message:
        found["message"] = message
    if 128 < code < 255:
        found["signal"] = code - 128
    return {"terminated": found}
