"""One run of a container: its process and the log that its output goes to."""

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
    """A started process whose output is being kept; `open` until the last of it is in the log."""

    def __init__(self, process: Process, log: LogWriter, readers: list[int]) -> None:
        """Use `start`."""
        self.process = process
        self._log, self._readers = log, readers
        self.open = True

    @classmethod
    async def start(
        cls, launcher: LauncherClient, sandbox: Sandbox, command: Command, root: Path, plan: list[list[str]], log: Path
    ) -> "ContainerProcess":
        """Starts `command` in the Pod, in a root that `plan` builds at the empty folder `root`.

        Raises LaunchError where it cannot be executed; nothing is left open then.
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
        """Keeps the output until the process has ended; its exit code."""
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
