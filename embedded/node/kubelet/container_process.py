"""One run of a container: the process and the log of its output."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from embedded.node.kubelet.logs import LogWriter
from embedded.node.kubelet.sandbox import Sandbox
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import Command, Process, read_pipe

FOREVER = 1e9
STREAMS = ("stdout", "stderr")


class ContainerProcess:
    """A started process. `open` is True until all of its output is in the log."""

    def __init__(self, process: Process, log: LogWriter, readers: list[int]) -> None:
        """Do not call; use `start`."""
        self.process = process
        self._log, self._readers = log, readers
        self.open = True

    @classmethod
    async def start(
        cls, launcher: LauncherClient, sandbox: Sandbox, command: Command, root: Path, plan: list[list[str]], log: Path
    ) -> "ContainerProcess":
        """Start `command` in the Pod, in a root that `plan` builds at the empty folder `root`.

        Raises:
            LaunchError: The command cannot be executed; nothing is left open.
        """
        root.mkdir(parents=True, exist_ok=True)
        writer = LogWriter(log)
        pipes = [os.pipe() for _ in STREAMS]
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            handles = [null, *(write for _, write in pipes)]
            process = await launcher.run(sandbox.pause, command, str(root), plan, handles)
        except BaseException:
            for read, _ in pipes:
                os.close(read)
            writer.close()
            raise
        finally:
            os.close(null)
            for _, write in pipes:
                os.close(write)
        return cls(process, writer, [read for read, _ in pipes])

    async def finish(self) -> int:
        """Write the output to the log until the process ends; return the exit code."""
        copies = [
            asyncio.create_task(read_pipe(reader, self._taker(stream), self.process, FOREVER))
            for reader, stream in zip(self._readers, STREAMS, strict=True)
        ]
        try:
            await asyncio.gather(*copies)
        finally:
            for task in copies:
                task.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            self._log.close()
            self.open = False
        return await self.process.wait()

    def _taker(self, stream: str) -> Callable[[bytes], None]:
        return lambda data: self._log.take(stream, data)
