"""The streams of `kubectl exec`: Kubernetes' WebSocket channels on one side, pipes or a terminal on the other."""

import asyncio
import contextlib
import fcntl
import json
import os
import struct
import termios

from aiohttp import WSMsgType, web

from embedded.node.launcher.process import Process

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
CHUNK = 32768
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441


def open_terminal(root: str) -> tuple[int, int]:
    """Return a terminal pair (master, slave) of the container whose file system is at `root`."""
    try:
        master = os.open(f"{root}/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # the container has no devpts, or has just ended
        return os.openpty()
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


class ExecSession:
    """The streams of one `kubectl exec`."""

    def __init__(self, socket: web.WebSocketResponse, root: str, *, tty: bool, wants_input: bool) -> None:
        """Open pipes, or a terminal below the container's `root`; `handles` are the command's standard streams."""
        self._socket, self._tty = socket, tty
        self.outputs: dict[int, int]
        self.input: int | None = None
        if tty:
            master, slave = open_terminal(root)
            self.handles = [slave, slave, slave]
            self.outputs, self.input = {STDOUT: master}, os.dup(master)
        else:
            out, err = os.pipe(), os.pipe()
            if wants_input:
                source, self.input = os.pipe()
            else:
                source = os.open("/dev/null", os.O_RDONLY)
            self.handles = [source, out[1], err[1]]
            self.outputs = {STDOUT: out[0], STDERR: err[0]}

    def _release(self) -> None:
        for handle in set(self.handles):
            os.close(handle)
        self.handles = []

    def close(self) -> None:
        """Close all descriptors."""
        self._release()
        for handle in self.outputs.values():
            os.close(handle)
        self.outputs = {}
        self._close_input()

    def _close_input(self) -> None:
        if self.input is not None:
            os.close(self.input)
            self.input = None

    async def relay(self, process: Process) -> int | None:
        """Copy both directions until the command ends.

        Returns:
            The exit code, or None if the client disconnected before.
        """
        self._release()
        copies = [asyncio.create_task(self._copy_out(*pair, process)) for pair in self.outputs.items()]
        incoming = asyncio.create_task(self._copy_in())
        ended = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ended, incoming}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                return None
            await asyncio.gather(*copies)
            return ended.result()
        except ConnectionError:
            return None
        finally:
            for task in (*copies, incoming, ended):
                task.cancel()
            await asyncio.gather(*copies, incoming, ended, return_exceptions=True)
            self.close()

    async def _copy_out(self, channel: int, handle: int, process: Process) -> None:
        os.set_blocking(handle, False)
        while True:
            ended = process.ended.is_set()
            try:
                data = os.read(handle, CHUNK)
                if not data:
                    return
                await self._socket.send_bytes(bytes([channel]) + data)
            except BlockingIOError:
                if ended:
                    return  # a child that outlives the command may hold the pipe open
                await _readable(handle, process)
            except OSError as error:
                if isinstance(error, ConnectionError):
                    raise
                return  # a terminal whose last process has ended

    async def _copy_in(self) -> None:
        """Copy input until the client disconnects."""
        async for message in self._socket:
            if message.type != WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel == STDIN and self.input is not None:
                await self._write(data)
            elif channel == CLOSE and data[:1] == bytes([STDIN]):
                self._close_input()
            elif channel == RESIZE and self._tty and self.input is not None:
                size = json.loads(data)
                packed = struct.pack("HHHH", size.get("Height", 24), size.get("Width", 80), 0, 0)
                fcntl.ioctl(self.input, termios.TIOCSWINSZ, packed)

    async def _write(self, data: bytes) -> None:
        assert self.input is not None
        os.set_blocking(self.input, False)
        view = memoryview(data)
        while view and self.input is not None:
            try:
                view = view[os.write(self.input, view) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)
            except OSError:
                self._close_input()  # the command reads no more


async def _readable(handle: int, process: Process) -> None:
    """Wait until the descriptor has data or the process has ended."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(handle, ready.set)
    waits = [asyncio.create_task(ready.wait()), asyncio.create_task(process.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(handle)
        for task in waits:
            task.cancel()


def success() -> dict[str, object]:
    """Return the Status of a command with exit code 0."""
    return {"metadata": {}, "status": "Success"}


def failure(message: str, code: int | None = None) -> dict[str, object]:
    """Return the Status of a command that ended with `code`, or without a code could not be started."""
    if code is None:
        return {"metadata": {}, "status": "Failure", "reason": "InternalError", "message": message, "code": 500}
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": message or f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


async def finish(socket: web.WebSocketResponse, status: dict[str, object]) -> None:
    """Send the Status on its channel and close the WebSocket."""
    with contextlib.suppress(ConnectionError):
        await socket.send_bytes(bytes([ERROR]) + json.dumps(status).encode())
        await socket.close()
