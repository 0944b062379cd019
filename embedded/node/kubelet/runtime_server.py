"""The node agent's side of exec, attach and port-forward: it starts processes and passes their streams on.

The program kubelet-streaming connects once for each request and sends one line of JSON. The answer is JSON, too, with
the descriptors of the streams beside it; after the end of the command comes its exit code. A client that disconnects
ends its command.
"""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

from embedded.node.kubelet.container import Container
from embedded.node.kubelet.kubelet import Kubelet
from embedded.node.kubelet.pod import Pod
from embedded.node.kubelet.streams import open_terminal
from embedded.node.launcher.process import LauncherGone, LaunchError, Process

NOT_FOUND = 127  # exit code of a shell for a command that it does not find
LOOPBACK = "127.0.0.1"
ORDER_BYTES = 4 << 20
log = logging.getLogger(__name__)
Order = dict[str, Any]


class Refused(Exception):
    """A request cannot be served; the message is for the client, `code` the exit code of its command."""

    def __init__(self, message: str, code: int = 0) -> None:
        """Keep the exit code; 0 means an error of the node instead."""
        super().__init__(message)
        self.code = code


class RuntimeServer:
    """Server of streams for the Pods of one kubelet."""

    def __init__(self, kubelet: Kubelet) -> None:
        """Find containers through `kubelet`."""
        self._kubelet = kubelet

    async def run(self, path: Path) -> None:
        """Serve on the Unix socket `path` until cancelled."""
        loop = asyncio.get_running_loop()
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(64)
            listening.setblocking(False)
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await loop.sock_accept(listening)
                    group.create_task(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            try:
                await self._answer(connection, await _read_order(connection))
            except Refused as error:
                _send(connection, {"error": str(error), "code": error.code})
            except (OSError, ValueError, LaunchError, LauncherGone) as error:
                log.info("stream ended: %r", error)
                _send(connection, {"error": str(error), "code": 0})

    async def _answer(self, connection: socket.socket, order: Order) -> None:
        if self._kubelet.node_pods.find(*order["pod"].split("/")):
            if order["op"] != "forward":
                raise Refused(f"Pod {order['pod']} is a process of the node; only logs and port-forward work")
            _send(connection, {"pid": os.getpid(), "address": self._kubelet.config.node_ip})
            return
        pod, container = self._find(order)
        assert pod.sandbox is not None
        if order["op"] == "forward":
            _send(connection, {"pid": pod.sandbox.pause.pid, "address": LOOPBACK})
        elif order["op"] == "exec":
            await self._exec(connection, pod, container, order)
        else:
            await self._attach(connection, container, order)

    def _find(self, order: Order) -> tuple[Pod, Container]:
        (namespace, name), which = order["pod"].split("/"), order.get("container", "")
        found = self._kubelet.find(namespace, name, which)
        if found is None or found[0].sandbox is None:
            raise Refused(f"container {which} of Pod {name} does not run" if which else f"Pod {name} does not run")
        return found

    # Exec.

    async def _exec(self, connection: socket.socket, pod: Pod, container: Container, order: Order) -> None:
        if container.process is None or container.command is None or container.process.ended.is_set():
            raise Refused(f"container {container.name} does not run")
        streams, handles = _exec_streams(container.process.pid, tty=order["tty"], stdin=order["stdin"])
        try:
            process = await self._start(pod, container, order, handles)
            with contextlib.suppress(OSError):
                _send(connection, {}, streams)
        finally:
            for handle in {*handles, *streams.values()}:
                os.close(handle)
        try:
            if await _first(process.wait(), connection):
                _send(connection, {"code": process.code})
        finally:
            await self._kubelet.launcher.kill(process, group=True)

    async def _start(self, pod: Pod, container: Container, order: Order, handles: list[int]) -> Process:
        assert pod.sandbox is not None
        assert container.process is not None
        assert container.command is not None
        terminal = {"TERM": "xterm"} if order["tty"] else {}
        command = dataclasses.replace(
            container.command, argv=order.get("command") or [], env=container.command.env | terminal
        )
        if not command.argv:
            raise Refused("no command is given")
        launcher = self._kubelet.launcher
        try:
            return await launcher.execute(pod.sandbox.pause, container.process, command, handles, tty=order["tty"])
        except LaunchError as error:
            raise Refused(str(error), NOT_FOUND) from None

    # Attach.

    async def _attach(self, connection: socket.socket, container: Container, order: Order) -> None:
        run = container.current
        if run is None or not run.open:
            raise Refused(f"container {container.name} does not run")
        attachment = run.attach(stdin=order["stdin"])
        try:
            try:
                _send(connection, {}, attachment.streams)
            finally:
                for handle in attachment.streams.values():
                    os.close(handle)
            if await _first(attachment.wait(), connection):
                _send(connection, {"code": 0})
        finally:
            run.detach(attachment)


def _exec_streams(pid: int, *, tty: bool, stdin: bool) -> tuple[dict[str, int], list[int]]:
    """Return the client's ends by name, and the standard streams of the command; the container's process is `pid`."""
    if tty:
        master, slave = open_terminal(f"/proc/{pid}/root")
        streams = {"terminal": master, "stdout": master} | ({"stdin": master} if stdin else {})
        return streams, [slave, slave, slave]
    (out, out_end), (error, error_end) = os.pipe(), os.pipe()
    streams = {"stdout": out, "stderr": error}
    if stdin:
        source, streams["stdin"] = os.pipe()
    else:
        source = os.open("/dev/null", os.O_RDONLY)
    return streams, [source, out_end, error_end]


async def _read_order(connection: socket.socket) -> Order:
    loop, data = asyncio.get_running_loop(), bytearray()
    while not data.endswith(b"\n"):
        block = await loop.sock_recv(connection, 1 << 16)
        data += block
        if not block or len(data) > ORDER_BYTES:
            raise Refused("the request is incomplete or too long")
    order: Order = json.loads(data)
    return order


def _send(connection: socket.socket, answer: dict[str, object], streams: dict[str, int] | None = None) -> None:
    """Send an answer; it is shorter than the socket's buffer, so that it never has to wait."""
    streams = streams or {}
    message = json.dumps(answer | {"streams": list(streams)}).encode() + b"\n"
    with contextlib.suppress(ConnectionError):
        socket.send_fds(connection, [message], list(streams.values()))


async def _first(work: Any, connection: socket.socket) -> bool:
    """Wait for `work`; return False if the client disconnects before."""
    gone = asyncio.create_task(asyncio.get_running_loop().sock_recv(connection, 1))
    done = asyncio.create_task(work)
    try:
        await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
        return done.done()
    finally:
        gone.cancel()
        done.cancel()
        await asyncio.gather(gone, done, return_exceptions=True)
