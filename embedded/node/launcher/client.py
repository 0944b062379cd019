"""The node agent's side of the launcher: start, signal and await processes in Pods."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from embedded.node.launcher.process import Command, LauncherGone, LaunchError, Process, read_pipe

REPOSITORY = Path(__file__).resolve().parents[3]
ANSWER_SECONDS = 30
SEND_SECONDS = 2.0
MESSAGE_BYTES = 1 << 16  # answers are short; orders travel in memory files


class LauncherClient:
    """Client of the launcher process, which it starts; `gone` is set when the launcher has ended."""

    def __init__(self) -> None:
        """Prepare the client; `start` starts the launcher."""
        self.gone = asyncio.Event()
        self._children: dict[int, Process] = {}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._discarding: set[asyncio.Task[None]] = set()
        self._next = 0
        self._socket: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the launcher process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        # Without site packages it starts faster and takes less memory.
        argv = [sys.executable, "-E", "-s", "-S", "-m", "embedded.node.launcher", str(theirs.fileno())]
        self._process = await asyncio.create_subprocess_exec(
            *argv, cwd=REPOSITORY, pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL
        )
        theirs.close()
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    async def close(self) -> None:
        """End the launcher, and so every Pod."""
        self._lose()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _lose(self) -> None:
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(LauncherGone("the launcher ended"))
        for child in self._children.values():
            child.end(137)
        self._children.clear()
        self.gone.set()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            message = self._socket.recv(MESSAGE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            self._lose()
            return
        answer = json.loads(message)
        if "exit" in answer:
            if child := self._children.pop(answer["exit"], None):
                child.end(answer["code"])
            return
        future = self._waiting.pop(answer["id"], None)
        if "pid" in answer:  # the launcher reports the end of a process after this answer
            answer["process"] = self._children[answer["pid"]] = Process(answer["pid"])
        if future is not None and not future.done():
            future.set_result(answer)
        else:
            self._discard(answer)

    def _discard(self, answer: dict[str, Any]) -> None:
        """Kill the process of an answer that came after its request was cancelled."""
        if process := answer.get("process"):
            task = asyncio.create_task(self._kill_all(process))
            self._discarding.add(task)
            task.add_done_callback(self._discarding.discard)

    async def _kill_all(self, process: Process) -> None:
        await self.kill(process, group=True)
        await self.kill(process)  # the first process of a Pod leads no group

    async def _send(self, order: dict[str, Any], handles: Sequence[int]) -> None:
        file = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            with open(file, "wb", closefd=False) as writer:
                writer.write(json.dumps(order).encode())
            os.lseek(file, 0, os.SEEK_SET)
            async with asyncio.timeout(SEND_SECONDS):
                while True:
                    if self._socket is None:
                        raise LauncherGone("the launcher ended")
                    try:
                        socket.send_fds(self._socket, [b"order"], [file, *handles])
                        return
                    except BlockingIOError:
                        await asyncio.sleep(0.01)
        except (BrokenPipeError, ConnectionError) as error:
            self._lose()
            raise LauncherGone(str(error)) from None
        except TimeoutError:
            raise LaunchError("the launcher does not read its socket") from None
        except OSError as error:
            raise LaunchError(f"cannot reach the launcher: {error}") from None
        finally:
            os.close(file)

    async def _request(self, order: dict[str, Any], handles: Sequence[int] = ()) -> dict[str, Any]:
        self._next += 1
        number = self._next
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            await self._send({**order, "id": number}, handles)
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await future
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._discard(future.result())  # cancelled between the answer and its use
            if isinstance(error, TimeoutError):
                raise LaunchError(f"no answer from the launcher within {ANSWER_SECONDS} s") from None
            raise
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise LaunchError(answer["error"])
        return answer

    async def _start(self, order: dict[str, Any], handles: Sequence[int]) -> Process:
        process: Process = (await self._request(order, handles))["process"]
        return process

    async def pause(self, hostname: str, sysctls: dict[str, str] | None = None) -> Process:
        """Start the first process of a Pod, in new network, PID, mount, UTS and IPC namespaces."""
        return await self._start({"op": "pause", "hostname": hostname, "sysctls": sysctls or {}}, ())

    async def run(
        self,
        pause: Process,
        command: Command,
        root: str,
        plan: list[list[str]],
        handles: Sequence[int],
        *,
        tty: bool = False,
    ) -> Process:
        """Start the main process of a container.

        Args:
            pause: The first process of the Pod.
            command: The command.
            root: An empty folder under which the container's file system is built.
            plan: The mounts, as `kubelet.mounts.plan` returns them.
            handles: Descriptors that become the standard streams.
            tty: The standard input becomes the controlling terminal.

        Raises:
            LaunchError: The command cannot be executed.
            LauncherGone: The launcher ended.
        """
        order = {"op": "run", "pause": pause.pid, "root": root, "plan": plan, "tty": tty, **vars(command)}
        return await self._start(order, handles)

    async def execute(
        self, pause: Process, inside: Process, command: Command, handles: Sequence[int], *, tty: bool = False
    ) -> Process:
        """Start a further command in the container whose main process is `inside`; errors as for `run`."""
        order = {"op": "exec", "pause": pause.pid, "inside": inside.pid, "tty": tty, **vars(command)}
        return await self._start(order, handles)

    async def kill(self, process: Process, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        """Send signal `number` to a process (with `group` to its process group), unless it has ended."""
        if process.ended.is_set():
            return
        # It may end in between; the launcher, which reaps, checks again.
        with contextlib.suppress(LaunchError, LauncherGone):
            await self._request({"op": "kill", "pid": process.pid, "signal": int(number), "group": group})

    async def capture(
        self, pause: Process, inside: Process, command: Command, seconds: float, limit: int = 10_000
    ) -> tuple[int | None, str]:
        """Run a command in a container.

        Args:
            pause: The first process of the Pod.
            inside: The main process of the container.
            command: The command.
            seconds: Limit of the run, after which the command is killed, as it is when this call is cancelled.
            limit: Largest output in bytes.

        Returns:
            The exit code (None after `seconds`) and the first `limit` bytes of the output.
        """
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
        output, ended = bytearray(), False
        try:
            await read_pipe(reader, lambda data: output.extend(data[: max(0, limit - len(output))]), process, seconds)
            ended = process.ended.is_set()
        finally:
            if not ended:
                await asyncio.shield(self.kill(process, group=True))
        return process.code if ended else None, output.decode(errors="replace")
