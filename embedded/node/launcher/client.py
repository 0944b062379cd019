"""The node agent's side of the launcher: starts processes in Pods, ends them, and tells how they ended."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("__main__.py")
ANSWER_SECONDS = 30


class LaunchError(Exception):
    """A process could not be started; the message says what and why. `missing`: the command does not exist."""

    def __init__(self, message: str, number: int | None = None) -> None:
        """Keeps the errno."""
        super().__init__(message)
        self.missing = number in (2, 13)


class LauncherGone(Exception):
    """The launcher ended, and all Pods with it; the agent must start afresh."""


@dataclass
class Process:
    """A started process; `code` is its exit code once `ended` is set (128 + n where signal n ended it)."""

    pid: int
    code: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> int:
        """The exit code, once there is one."""
        await self.ended.wait()
        return self.code if self.code is not None else 137


@dataclass(frozen=True)
class Command:
    """What to execute: arguments, environment, working directory."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = "/"


class LauncherClient:
    """Starts the launcher process and speaks to it; `gone` is set when it has ended."""

    def __init__(self) -> None:
        """Not started yet."""
        self.gone = asyncio.Event()
        self._children: dict[int, Process] = {}
        self._early: dict[int, int] = {}  # ends that were told before the answer with the pid was taken
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0
        self._socket: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts the launcher process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(SCRIPT),
            str(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
        )
        theirs.close()
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    async def close(self) -> None:
        """Ends the launcher, and so every Pod."""
        if self._socket is not None:
            self._lost()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _lost(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LauncherGone("the launcher ended"))
        for child in self._children.values():
            child.code = 137
            child.ended.set()
        self._children.clear()
        self.gone.set()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            message = self._socket.recv(1 << 20)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            self._lost()
            return
        told = json.loads(message)
        if "exit" in told:
            child = self._children.pop(told["exit"], None)
            if child is None:
                self._early[told["exit"]] = told["code"]
            else:
                child.code = told["code"]
                child.ended.set()
        elif (future := self._waiting.pop(told["id"], None)) and not future.done():
            if "pid" in told:
                told["process"] = self._adopt(told["pid"])
            future.set_result(told)

    def _adopt(self, pid: int) -> Process:
        child = Process(pid)
        if pid in self._early:
            child.code = self._early.pop(pid)
            child.ended.set()
        else:
            self._children[pid] = child
        return child

    async def _ask(self, order: dict[str, Any], handles: Sequence[int] = ()) -> dict[str, Any]:
        if self._socket is None:
            raise LauncherGone("the launcher ended")
        self._next += 1
        order["id"] = self._next
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        data = json.dumps(order).encode()
        for attempt in range(200):
            try:
                socket.send_fds(self._socket, [data], list(handles))
                break
            except BlockingIOError:
                if attempt == 199:
                    raise LaunchError("the launcher does not read its socket") from None
                await asyncio.sleep(0.01)
            except OSError as error:
                self._lost()
                raise LauncherGone(str(error)) from None
        async with asyncio.timeout(ANSWER_SECONDS):
            told = await future
        if "error" in told:
            raise LaunchError(told["error"], told.get("errno"))
        return told

    async def _start(self, order: dict[str, Any], handles: Sequence[int]) -> Process:
        process: Process = (await self._ask(order, handles))["process"]
        return process

    async def pause(self, hostname: str) -> Process:
        """Starts a Pod's first process, in new network, PID, mount, UTS and IPC namespaces."""
        return await self._start({"op": "pause", "hostname": hostname}, ())

    async def run(
        self, pause: Process, command: Command, root: str, plan: list[list[str]], handles: Sequence[int]
    ) -> Process:
        """Starts a container's process in the Pod of `pause`; `handles` become its standard streams."""
        order = {"op": "run", "pause": pause.pid, "root": root, "plan": plan, **vars(command)}
        return await self._start(order, handles)

    async def execute(
        self, pause: Process, inside: Process, command: Command, handles: Sequence[int], *, tty: bool = False
    ) -> Process:
        """Starts a further command inside a running container."""
        order = {"op": "exec", "pause": pause.pid, "inside": inside.pid, "tty": tty, **vars(command)}
        return await self._start(order, handles)

    async def kill(self, process: Process, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        """Signals a process (or with `group` its whole process group) unless it has ended."""
        if process.ended.is_set():
            return
        # It may end in between; the launcher checks again, since it is who reaps.
        with contextlib.suppress(LaunchError, LauncherGone):
            await self._ask({"op": "kill", "pid": process.pid, "signal": int(number), "group": group})

    async def capture(
        self, pause: Process, inside: Process, command: Command, seconds: float, limit: int = 10_000
    ) -> tuple[int | None, str]:
        """Runs a command in a container and returns (exit code, output); the code is None where time ran out."""
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            process = await self.execute(pause, inside, command, [null, writer, writer])
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(null)
        output = bytearray()
        await read_pipe(reader, lambda data: output.extend(data[: max(0, limit - len(output))]), process, seconds)
        if not process.ended.is_set():
            await self.kill(process, group=True)
            return None, output.decode(errors="replace")
        return process.code, output.decode(errors="replace")


async def read_pipe(reader: int, take: Callable[[bytes], object], process: Process, seconds: float) -> None:
    """Hands what comes from the descriptor to `take` until `process` ended, or `seconds` are over; closes it."""
    loop = asyncio.get_running_loop()
    os.set_blocking(reader, False)

    def drain() -> None:
        try:
            while data := os.read(reader, 65536):
                take(data)
        except BlockingIOError:
            return
        except OSError:
            pass
        loop.remove_reader(reader)

    loop.add_reader(reader, drain)
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        drain()
        loop.remove_reader(reader)
        os.close(reader)
