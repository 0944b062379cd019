"""Streams between a container's process and the clients of exec and attach."""

import asyncio
import fcntl
import os
import struct

BACKLOG_BYTES = 16 << 20  # of a client that does not read; it is then cut off
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441


def open_terminal(root: str) -> tuple[int, int]:
    """Return a terminal pair (master, slave) of the container whose file system is at `root`."""
    try:
        master = os.open(f"{root}/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # the container has no devpts, or has just ended
        return os.openpty()
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


class Sink:
    """The writing end of a pipe to one client. A slow client delays neither the container nor its log.

    Attributes:
        closed: Set when all data has been written, or the client is gone.
    """

    def __init__(self, handle: int) -> None:
        """Own the descriptor `handle`."""
        os.set_blocking(handle, False)
        self._handle, self._backlog, self._ending = handle, bytearray(), False
        self.closed = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Write `data` now, or when the client has read what is before it."""
        if not self.closed.is_set():
            self._backlog += data
            self._flush()

    def finish(self) -> None:
        """Close the pipe once everything is written."""
        self._ending = True
        if not self.closed.is_set():
            self._flush()

    def close(self) -> None:
        """Close the pipe at once."""
        if not self.closed.is_set():
            asyncio.get_running_loop().remove_writer(self._handle)
            os.close(self._handle)
            self.closed.set()

    def _flush(self) -> None:
        try:
            while self._backlog:
                del self._backlog[: os.write(self._handle, self._backlog)]
        except BlockingIOError:
            if len(self._backlog) > BACKLOG_BYTES:
                self.close()
            else:
                asyncio.get_running_loop().add_writer(self._handle, self._flush)
            return
        except OSError:
            self.close()
            return
        asyncio.get_running_loop().remove_writer(self._handle)
        if self._ending:
            self.close()


class Attachment:
    """One client of a container's own streams.

    Attributes:
        streams: Descriptors for the client by name: stdin, stdout, stderr, and terminal for changes of its size.
    """

    def __init__(self, outputs: tuple[str, ...]) -> None:
        """Open a pipe for each of `outputs`."""
        self.streams: dict[str, int] = {}
        self._sinks: dict[str, Sink] = {}
        for name in outputs:
            self.streams[name], write = os.pipe()
            self._sinks[name] = Sink(write)

    def write(self, name: str, data: bytes) -> None:
        """Write output of the container."""
        self._sinks[name].write(data)

    def finish(self) -> None:
        """Close the outputs once they are written: the container has ended."""
        for sink in self._sinks.values():
            sink.finish()

    def close(self) -> None:
        """Close the outputs at once."""
        for sink in self._sinks.values():
            sink.close()

    async def wait(self) -> None:
        """Wait until all outputs are closed."""
        for sink in self._sinks.values():
            await sink.closed.wait()
