"""One run of a container: the process, its streams and the log of its output."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from embedded.kube import Object
from embedded.node.kubelet.logs import LogWriter
from embedded.node.kubelet.sandbox import Sandbox
from embedded.node.kubelet.streams import Attachment
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import Command, Process, read_pipe

FOREVER = 1e9
EARLY_BYTES = 1 << 16


@dataclass(frozen=True)
class Streams:
    """The fields `stdin`, `stdinOnce` and `tty` of a container."""

    stdin: bool = False
    once: bool = False
    tty: bool = False

    @classmethod
    def of(cls, spec: Object) -> "Streams":
        """Read the fields from a container's spec."""
        return cls(*(bool(spec.get(name)) for name in ("stdin", "stdinOnce", "tty")))

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the container's outputs; a terminal has one."""
        return ("stdout",) if self.tty else ("stdout", "stderr")


class ContainerProcess:
    """A started process. `open` is True until all of its output is in the log."""

    def __init__(
        self, process: Process, log: LogWriter, streams: Streams, readers: dict[str, int], stdin: int | None
    ) -> None:
        """Do not call; use `start`."""
        self.process, self.streams = process, streams
        self._log, self._readers, self._stdin = log, readers, stdin
        self._attached: list[Attachment] = []
        # A client that is to attach once attaches a moment after the start; it gets the output from before.
        self._early: list[tuple[str, bytes]] | None = [] if streams.once else None
        self.open = True

    @classmethod
    async def start(
        cls,
        launcher: LauncherClient,
        sandbox: Sandbox,
        command: Command,
        root: Path,
        plan: list[list[str]],
        log: Path,
        streams: Streams,
    ) -> "ContainerProcess":
        """Start `command` in the Pod, in a root that `plan` builds at the empty folder `root`.

        Raises:
            LaunchError: The command cannot be executed; nothing is left open.
        """
        root.mkdir(parents=True, exist_ok=True)
        writer = LogWriter(log)
        ours: list[int] = []
        handles: list[int] = []
        try:
            if streams.tty:
                master, slave = os.openpty()
                ours, handles = [master], [slave] * 3
                readers, stdin = {"stdout": master}, os.dup(master) if streams.stdin else None
            else:
                source, stdin = os.pipe() if streams.stdin else (os.open("/dev/null", os.O_RDONLY), None)
                pipes = [os.pipe() for _ in streams.outputs]
                ours, handles = [read for read, _ in pipes], [source, *(write for _, write in pipes)]
                readers = dict(zip(streams.outputs, ours, strict=True))
            if stdin is not None:
                ours.append(stdin)
            process = await launcher.run(sandbox.pause, command, str(root), plan, handles, tty=streams.tty)
        except BaseException:
            for handle in ours:
                os.close(handle)
            writer.close()
            raise
        finally:
            for handle in set(handles):
                os.close(handle)
        return cls(process, writer, streams, readers, stdin)

    async def finish(self) -> int:
        """Write the output to the log until the process ends; return the exit code."""
        copies = [
            asyncio.create_task(read_pipe(reader, self._taker(stream), self.process, FOREVER))
            for stream, reader in self._readers.items()
        ]
        try:
            await asyncio.gather(*copies)
        finally:
            for task in copies:
                task.cancel()
            try:
                await asyncio.gather(*copies, return_exceptions=True)
            finally:  # a second cancellation
                self._log.close()
                self.open = False
                self._close_stdin()
                for each in self._attached:
                    each.finish()
        return await self.process.wait()

    def attach(self, *, stdin: bool) -> Attachment:
        """Return streams for one more client, with the container's own input if the client has some."""
        made = Attachment(self.streams.outputs)
        if self._early is not None:
            for name, data in self._early:
                made.write(name, data)
            self._early = None
        if stdin and self._stdin is not None:
            made.streams["stdin"] = os.dup(self._stdin)
            if self.streams.once and not self.streams.tty:
                self._close_stdin()  # the client has the only other end
        if self.streams.tty and self.open:
            made.streams["terminal"] = os.dup(self._readers["stdout"])
        self._attached.append(made)
        if not self.open:
            made.finish()
        return made

    def detach(self, attachment: Attachment) -> None:
        """Write no more output to a client."""
        self._attached.remove(attachment)
        attachment.close()

    def _close_stdin(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def _taker(self, stream: str) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            self._log.take(stream, data)
            if self._early is not None and sum(len(each) for _, each in self._early) < EARLY_BYTES:
                self._early.append((stream, data))
            for attachment in self._attached:
                attachment.write(stream, data)

        return take
