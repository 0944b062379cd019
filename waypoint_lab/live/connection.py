"""Connections to a cluster for a live view: its API through one `kubectl proxy`, and the Envoys of waypoints.

Each process ends with its standard input, so that a killed command leaves none behind.
"""

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp

from components._internal import api
from waypoint_lab import kubectl
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ClusterAccess, Object
from waypoint_lab.measure.endpoint_counters import CONTAINER

START_SECONDS = 15.0
ANSWER_SECONDS = 10.0
END_SECONDS = 5.0
WATCH_SECONDS = 240  # length of one watch, after which the API server ends it
POLL_SECONDS = 0.05
MOST_CHARACTERS = 300  # of a refusal that is a text
CHUNK_BYTES = 1 << 22  # of the longest answer between two lines
# Answers the paths of its standard input, each with a line after it. curl, which the default image of Istio has, needs
# a fraction of the time of pilot-agent. Both ask the admin interface at port 15000.
_ADMIN = """
if command -v curl >/dev/null; then ask() { curl -gsf --noproxy '*' "http://127.0.0.1:15000/$1"; }
else ask() { pilot-agent request GET "$1" 2>/dev/null; }; fi
while read -r path; do ask "$path" </dev/null; printf "\\n%s\\n" "$0"; done
"""


async def start(*command: str, folder: Path | None = None) -> asyncio.subprocess.Process:
    """Start a process with pipes, in a session of its own that Ctrl-C does not reach. Raises KubectlError."""
    pipe = asyncio.subprocess.PIPE
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, limit=CHUNK_BYTES, cwd=folder
        )
    except FileNotFoundError:
        raise KubectlError(f'{command[0]} is not on PATH; in this clone: eval "$(.venv/bin/lab env)"') from None


async def end(process: asyncio.subprocess.Process, *, kill: bool) -> str:
    """End a process; return its standard error."""
    assert process.stdin
    with suppress(OSError):
        process.stdin.close()
    if kill:
        with suppress(ProcessLookupError):
            process.kill()
    try:
        _, said = await asyncio.wait_for(process.communicate(), END_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        return ""
    return said.decode(errors="replace")


def _refusal(status: int, body: bytes) -> KubectlError:
    """Return the error of a refusal: the API server's Status, or a text, such as kubectl's without a connection."""
    try:
        text = str(json.loads(body).get("message") or "")
    except (ValueError, AttributeError):
        text = " ".join(body.decode(errors="replace").split())[:MOST_CHARACTERS]
    return KubectlError(f"API server: {text or f'it answered {status}'}")


def _broken(error: Exception) -> KubectlError:
    """Return the error of a request without a whole answer."""
    late = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, TimeoutError) else ""
    return KubectlError(f"API server: {late or str(error) or type(error).__name__}")


class Api:
    """The API server, through a socket that only this user can open. An asynchronous context manager."""

    def __init__(self, target: ClusterAccess) -> None:
        """Keep the cluster; nothing is started yet."""
        self._target = target

    async def __aenter__(self) -> "Api":
        """Start `kubectl proxy`. Raises KubectlError."""
        kubectl.require()
        folder = Path(tempfile.mkdtemp(prefix="waypoint-lab-"))
        socket = api.socket_of(folder)
        self._process = await start(*api.proxy(kubectl.command(self._target), folder))
        began = time.monotonic()
        while not api.listens(socket):
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() - began > START_SECONDS or self._process.returncode is not None:
                ended = self._process.returncode is not None
                await end(self._process, kill=False)
                raise kubectl.failure(("proxy",), api.problem(folder) if ended else "it does not listen")
        connector = aiohttp.UnixConnector(str(socket), limit=0)
        self._session = aiohttp.ClientSession("http://localhost", connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all requests and the process."""
        await self._session.close()
        await end(self._process, kill=False)

    async def get(self, path: str) -> Object:
        """Return an answer of the API server.

        Raises:
            KubectlError: It refuses, or does not answer.
        """
        try:
            async with self._session.get(path, timeout=aiohttp.ClientTimeout(ANSWER_SECONDS)) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise _refusal(answer.status, body)
                found: Object = json.loads(body)
                return found
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _broken(error) from None

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """Yield the lines of an answer as they come, until it ends.

        Raises:
            KubectlError: It refuses, or the connection breaks.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS)
        try:
            async with self._session.get(path, timeout=timeout) as answer:
                if answer.status != 200:
                    raise _refusal(answer.status, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(error) from None

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Object]]:
        """Yield the objects of a collection, and each change until the watch has to start again.

        Args:
            path: Path of the collection.
            selector: Selector of labels.

        Yields:
            `LIST` with the whole list first, then the type of an event with its object.

        Raises:
            KubectlError: As in `get`, or the watch has expired.
        """
        query = f"?labelSelector={quote(selector)}" if selector else "?"
        found = await self.get(path + query)
        yield "LIST", found
        version = found["metadata"]["resourceVersion"]
        while True:
            more = f"&watch=1&timeoutSeconds={WATCH_SECONDS}&allowWatchBookmarks=true&resourceVersion={version}"
            async for line in self.lines(path + query + more):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise KubectlError(f"API server: {event['object'].get('message', 'the watch ended')}")
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
            await asyncio.sleep(POLL_SECONDS)

    def log(self, namespace: str, pod: str) -> AsyncIterator[bytes]:
        """Yield the lines of a waypoint Pod's log from now on. Raises KubectlError as `lines` does."""
        query = f"container={CONTAINER}&follow=true&sinceSeconds=1"
        return self.lines(f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}")


class Admin:
    """The admin interface of one waypoint Pod's Envoy, by one `kubectl exec`."""

    def __init__(self, target: ClusterAccess, namespace: str, pod: str) -> None:
        """Name the Pod; nothing is started yet."""
        self._exec = kubectl.command(target, "exec", "-i", "-n", namespace, pod, f"--container={CONTAINER}", "--")
        self._process: asyncio.subprocess.Process | None = None
        self._mark = secrets.token_hex(16)
        self._has_shell = True

    async def ask(self, path: str) -> str:
        """Return the answer to a path. Raises KubectlError."""
        if not self._has_shell:
            return await self._ask_alone(path)
        if self._process is None or self._process.returncode is not None:
            self._process = await start(*self._exec, "sh", "-c", _ADMIN, self._mark)
        process = self._process
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(f"{path}\n".encode())
            await process.stdin.drain()
            found = await asyncio.wait_for(process.stdout.readuntil(f"\n{self._mark}\n".encode()), ANSWER_SECONDS)
            if text := found.decode(errors="replace").rpartition(f"\n{self._mark}")[0]:
                return text
            reason = "the admin interface of Envoy does not answer"
        except asyncio.LimitOverrunError:
            reason = f"the answer to {path.partition('?')[0]} has more than {CHUNK_BYTES} bytes"
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            reason = f"no answer within {ANSWER_SECONDS:g} s" if isinstance(error, TimeoutError) else ""
        said = await self.close()
        if "executable file not found" in said or "no such file" in said:
            self._has_shell = False  # an image without a shell
            return await self._ask_alone(path)
        raise KubectlError(f"kubectl exec: {reason}") if reason else kubectl.failure(("exec",), said)

    async def _ask_alone(self, path: str) -> str:
        process = await start(*self._exec, "pilot-agent", "request", "GET", path)
        try:
            found, said = await asyncio.wait_for(process.communicate(), ANSWER_SECONDS)
        except TimeoutError:
            await end(process, kill=True)
            raise KubectlError(f"kubectl exec: no answer within {ANSWER_SECONDS:g} s") from None
        if process.returncode:
            raise kubectl.failure(("exec",), said.decode(errors="replace"))
        return found.decode(errors="replace")

    async def close(self) -> str:
        """End the process; return its standard error."""
        process, self._process = self._process, None
        return await end(process, kill=True) if process else ""
