"""Processes in Pods as the node agent sees them: the command, the end, the output."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

READ_BYTES = 1 << 16
DRAIN_BYTES = 1 << 20  # after the end: as much as a pipe can hold; a process that lives on could write forever


class LaunchError(Exception):
    """A process could not be started."""


class LauncherGone(Exception):
    """The launcher ended, and all Pods with it; the agent must start again."""


@dataclass
class Process:
    """A started process.

    Attributes:
        pid: Its id in the launcher's PID namespace.
        code: Its exit code once `ended` is set; 128 + n after signal n.
        ended: Set when the process has ended.
    """

    pid: int
    code: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> int:
        """Wait for the end; return the exit code."""
        await self.ended.wait()
        return self.code if self.code is not None else 137

    def end(self, code: int) -> None:
        """Record the end."""
        self.code = code
        self.ended.set()


@dataclass(frozen=True)
class Command:
    """A command to execute in a container: `capabilities` is a bit mask; `user`, `group` and `groups` are ids."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = "/"
    capabilities: int = 0
    no_new_privileges: bool = False
    user: int = 0
    group: int = 0
    groups: tuple[int, ...] = ()


async def read_pipe(reader: int, take: Callable[[bytes], object], process: Process, seconds: float) -> None:
    """Pass the data of the pipe `reader` to `take` until `process` ends or `seconds` pass; then close the pipe.

    Data that `take` refuses with OSError (a full disk) is lost, and reading goes on.
    """
    loop = asyncio.get_running_loop()
    os.set_blocking(reader, False)

    def read_some() -> int:
        """Read once, so that a process that writes without a pause does not stop the event loop."""
        try:
            data = os.read(reader, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # a terminal whose other end is closed
            data = b""
        if not data:
            loop.remove_reader(reader)
            return 0
        with contextlib.suppress(OSError):
            take(data)
        return len(data)

    loop.add_reader(reader, read_some)
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        left = DRAIN_BYTES
        while left > 0 and (length := read_some()):
            left -= length
        loop.remove_reader(reader)
        os.close(reader)
