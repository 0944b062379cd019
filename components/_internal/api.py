"""Reads of the API server through one `kubectl proxy`, which knows every kind of kubeconfig.

A kubectl of its own for each read takes a tenth of a second of CPU, a read through the proxy a hundredth of that.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

START_SECONDS = 20.0
READ_SECONDS = 10.0
POLL_SECONDS = 0.01
# The pipe to the shell is closed when this process ends, however it ends; the proxy ends with it.
_SCRIPT = """
exec 3<&0
"$@" 3<&- &
proxy=$!
{ cat <&3 > /dev/null; kill "$proxy"; } 2> /dev/null &
wait "$proxy"
[ $? -le 128 ] || rm -rf "$FOLDER"
"""
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
        self._socket, errors = folder / "api", folder / "errors"
        reads = ("proxy", f"--unix-socket={self._socket}", "--reject-methods=^(POST|PUT|PATCH|DELETE)$")
        with errors.open("wb") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", _SCRIPT, "sh", *command, *reads],
                env={**os.environ, "FOLDER": str(folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=output,
                start_new_session=True,  # Ctrl-C ends the update in order, and the update still reads
            )
        end = time.monotonic() + START_SECONDS
        while not self._socket.exists():
            said = errors.read_text() if errors.exists() else ""
            if self._process.poll() is not None:
                self.end()
                shutil.rmtree(folder)
                raise ApiReadError((said.strip().splitlines() or ["kubectl proxy ended without a message"])[-1])
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
        self._process.wait(READ_SECONDS)


def end() -> None:
    """End all proxies of this process; they end by themselves when the process does."""
    with _lock:
        while _proxies:
            _proxies.popitem()[1].end()


def read(command: Sequence[str], path: str) -> dict[str, Any]:
    """Return an object, or a list of them, from the API server.

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
    try:
        with _lock:
            proxy = _proxies[key] = _proxies.get(key) or _Proxy(command)
        status, body = proxy.get(path)
    except (OSError, http.client.HTTPException) as error:
        with _lock:
            broken = _proxies.pop(key, None)
        if broken:
            broken.end()
        raise ApiReadError(f"kubectl proxy gave no answer: {error}") from None
    try:
        found: dict[str, Any] = json.loads(body)
    except ValueError:
        found = {"message": " ".join(body.decode(errors="replace").split())}
    if status != http.client.OK:
        raise ApiReadError(str(found.get("message") or f"the API server answered {status}"), status)
    return found
