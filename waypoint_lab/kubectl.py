"""Run kubectl against the cluster of a stack."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from embedded.project import PROJECT_FOLDER
from waypoint_lab.errors import KubectlError

Object = dict[str, Any]

LIMIT_SECONDS = 30.0
ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, re.error)  # of answers of unknown shape
GRACE_SECONDS = 1.0  # beyond the limit of a request, for kubectl's own error message
NOT_ON_PATH = 'kubectl is not on PATH; in this clone: eval "$(.venv/bin/lab env)"'


class ClusterAccess(Protocol):
    """Kubeconfig and context of a cluster; empty means the defaults of kubectl."""

    @property
    def kubeconfig(self) -> str:
        """Path of the kubeconfig, relative to the project."""

    @property
    def context(self) -> str:
        """Name of the context."""


def require() -> None:
    """Check that kubectl is on PATH. Raises KubectlError."""
    if shutil.which("kubectl") is None:
        raise KubectlError(NOT_ON_PATH)


def command(target: ClusterAccess, *arguments: str) -> list[str]:
    """Return the command line of kubectl for the cluster of `target`."""
    chosen = [f"--kubeconfig={PROJECT_FOLDER / Path(target.kubeconfig).expanduser()}"] if target.kubeconfig else []
    chosen += [f"--context={target.context}"] if target.context else []
    return ["kubectl", *chosen, *arguments]


def failure(arguments: tuple[str, ...], stderr: str) -> KubectlError:
    """Return the error of a command that failed, with the last line of its output."""
    last = (stderr.strip().splitlines() or ["failed without a message"])[-1].removeprefix("error: ")
    return KubectlError(f"kubectl {arguments[0]}: {last}")


def run(target: ClusterAccess, *arguments: str, stdin: str | None = None, limit_seconds: float = LIMIT_SECONDS) -> str:
    """Run kubectl and return its output.

    Args:
        target: The cluster to ask.
        arguments: The command and its arguments.
        stdin: Text for its standard input.
        limit_seconds: Limit of the command.

    Raises:
        KubectlError: kubectl is missing, failed, or did not end within the limit; one line.
    """
    full = command(target, f"--request-timeout={limit_seconds:g}s", *arguments)
    try:
        done = subprocess.run(
            full,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",  # an access log has bytes of users' headers
            check=False,
            timeout=limit_seconds + GRACE_SECONDS,
        )
    except FileNotFoundError:
        raise KubectlError(NOT_ON_PATH) from None
    except subprocess.TimeoutExpired:
        raise KubectlError(f"kubectl {' '.join(arguments[:3])}: no answer within {limit_seconds:g} s") from None
    if done.returncode:
        raise failure(arguments, done.stderr)
    return done.stdout


def get(target: ClusterAccess, *what: str, limit_seconds: float = LIMIT_SECONDS) -> Object:
    """Return objects as `kubectl get` has them: one, a list, or an empty dictionary if there is none.

    Raises:
        KubectlError: As in `run`, or the answer is not JSON.
    """
    text = run(target, "get", *what, "--ignore-not-found", "--output=json", limit_seconds=limit_seconds)
    try:
        found: Object = json.loads(text) if text.strip() else {}
    except ValueError:
        raise KubectlError(f"kubectl get {what[0]}: the answer is not JSON") from None
    if not isinstance(found, dict):
        raise KubectlError(f"kubectl get {what[0]}: the answer is not an object")
    return found


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn the error of a reader of an answer of unknown shape into a KubectlError that names `what` was asked."""
    try:
        yield
    except ODD as error:
        text = f"{what}: the answer has an unknown shape ({type(error).__name__}: {error})"
        raise KubectlError(" ".join(text.split())) from None


def items(target: ClusterAccess, *what: str, limit_seconds: float = LIMIT_SECONDS) -> list[Object]:
    """Return objects as `get` does, always as a list.

    Raises:
        KubectlError: As in `get`.
    """
    found = get(target, *what, limit_seconds=limit_seconds)
    listed: list[Object] = found.get("items", [found] if found else [])
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise KubectlError(f"kubectl get {what[0]}: the answer is not a list of objects")
    return listed


def start(target: ClusterAccess, *arguments: str) -> "subprocess.Popen[str]":
    """Start kubectl with pipes for all its streams.

    It has a session of its own, so that Ctrl-C reaches only this process, which then ends it in order.

    Raises:
        KubectlError: kubectl is missing.
    """
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command(target, *arguments),
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        raise KubectlError(NOT_ON_PATH) from None
