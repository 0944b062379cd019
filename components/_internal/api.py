"""Reads of the API server through one `kubectl proxy`, which knows every kind of kubeconfig.

A kubectl of its own for each read takes a tenth of a second of CPU, a read through the proxy a hundredth of that.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

START_SECONDS = 20.0
READ_SECONDS = 10.0
POLL_SECONDS = 0.01
# The pipe to the shell is closed when this process ends, however it ends; the proxy and its folder go with it.
_SCRIPT = """
folder=$1
shift
exec 3<&0 > /dev/null 2> "$folder/errors"
"$@" 3<&- < /dev/null &
proxy=$!
{ read -r _ <&3; kill "$proxy"; } 2> /dev/null &
reader=$!
wait "$proxy"
[ $? -le 128 ] || rm -rf "$folder"
kill "$reader"
"""
# Errors of kubectl for what the user may not read, or what there is not.
_ABSENT = re.compile(r"\((Forbidden|NotFound)\)|the server doesn't have a resource type")
_proxies: dict[tuple[str, ...], "_Proxy"] = {}
_lock = threading.Lock()


class ApiReadError(RuntimeError):
    """An error of the API server or of kubectl, in one line.

    Attributes:
        status: HTTP status; 0 where no answer came.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep the status."""
        super().__init__(message)
        self.status = status


def absent(error: RuntimeError) -> bool:
    """Return True for an error of kubectl that repeats: the user may not read an object, or there is none."""
    return bool(_ABSENT.search(str(error)))


def socket_of(folder: Path) -> Path:
    """Return the path of the socket of a proxy."""
    return folder / "api"


def listens(path: Path) -> bool:
    """Return True if a process listens on a socket, which is in its folder a moment before."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        return attempt.connect_ex(str(path)) == 0


def proxy(command: Sequence[str], folder: Path) -> list[str]:
    """Return the command of a `kubectl proxy` that only reads; it ends with its standard input.

    Args:
        command: kubectl with the options that name the cluster.
        folder: A folder that only this user can open; it is removed with the end of standard input.
    """
    reads = ("proxy", f"--unix-socket={socket_of(folder)}", "--reject-methods=^(POST|PUT|PATCH|DELETE)$")
    return ["sh", "-c", _SCRIPT, "sh", str(folder), *command, *reads]


def problem(folder: Path) -> str:
    """Return the last line that a proxy wrote which ended by itself, and remove its folder."""
    errors = folder / "errors"
    said = errors.read_text(errors="replace").strip().splitlines() if errors.exists() else []
    shutil.rmtree(folder, ignore_errors=True)
    return (said or ["kubectl proxy ended without a message"])[-1]


class _Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        """Name the socket."""
        super().__init__("localhost", timeout=READ_SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Proxy:
    """A `kubectl proxy` that only reads, on a socket that only this user can open."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the proxy and wait until it listens. Raise ApiReadError where it does not."""
        folder = Path(tempfile.mkdtemp(prefix="waypoint-lab-"))
        self._socket = socket_of(folder)
        self._process = subprocess.Popen(
            proxy(command, folder),
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C ends the update in order, and the update still reads
        )
        end = time.monotonic() + START_SECONDS
        while not listens(self._socket):
            if self._process.poll() is not None:
                self.end()
                raise ApiReadError(problem(folder))
            if time.monotonic() > end:
                self.end()
                raise ApiReadError(f"kubectl proxy did not listen within {START_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of a GET request. Raises OSError, HTTPException."""
        with closing(_Connection(self._socket)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def end(self) -> None:
        """End the proxy."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(READ_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def end() -> None:
    """End all proxies of this process; they end by themselves when the process does."""
    with _lock:
        while _proxies:
            _proxies.popitem()[1].end()


def read(command: Sequence[str], path: str) -> bytes:
    """Return the API server's answer to a GET request.

    Args:
        command: kubectl with the options that name the cluster.
        path: Path and query of the request.

    Raises:
        ApiReadError: The API server refused, or could not be asked.
        FileNotFoundError: There is no kubectl.
    """
    key = (*command, os.environ.get("KUBECONFIG", ""))
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(command[0])
    with _lock:
        asked = _proxies[key] = _proxies.get(key) or _Proxy(command)
    try:
        status, body = asked.get(path)
    except (OSError, http.client.HTTPException) as error:
        with _lock:
            if _proxies.get(key) is asked:  # another thread may have replaced it
                del _proxies[key]
        asked.end()
        raise ApiReadError(f"kubectl proxy gave no answer: {error}") from None
    if status != http.client.OK:
        raise ApiReadError(_message(body) or f"the API server answered {status}", status)
    return body


def _message(body: bytes) -> str:
    """Return the message of a refusal: that of a Status, or a text."""
    try:
        return str(json.loads(body).get("message") or "")
    except (ValueError, AttributeError):
        return " ".join(body.decode(errors="replace").split())
