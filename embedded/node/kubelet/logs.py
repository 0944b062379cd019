"""A container's output on disk: one line per line of output, `TIME STREAM F TEXT`, as container runtimes write it."""

import bisect
import contextlib
import datetime
import errno
import os
from collections.abc import Iterator
from pathlib import Path

ROTATE_BYTES = 16 << 20  # the file before is kept, so a container has at most twice that


def stamp() -> str:
    """Return the present time in RFC 3339 with microseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class LogWriter:
    """Writer of both output streams of one run of a container, line by line."""

    def __init__(self, path: Path) -> None:
        """Append to the file `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._size = self._file.tell()
        self._rest = {"stdout": b"", "stderr": b""}

    def take(self, stream: str, data: bytes) -> None:
        """Write the complete lines of `data`; keep the rest for the next call.

        Raises:
            OSError: The lines cannot be written and are lost.
        """
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        if len(rest) > 1 << 16:
            lines, rest = [*lines, rest], b""
        self._rest[stream] = rest
        self._write(stream, lines)

    def _write(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        head = f"{stamp()} {stream} F ".encode()
        block = b"".join(head + line + b"\n" for line in lines)
        if self._size + len(block) > ROTATE_BYTES:
            self._rotate()
        try:
            if self._file.write(block) != len(block):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(self._size)  # half a line would make the next one unreadable
            raise
        self._size += len(block)

    def _rotate(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # moved by an attempt that could not open the new file
            os.replace(self.path, older(self.path))
        fresh = self.path.open("ab", buffering=0)
        self._file.close()
        self._file, self._size = fresh, 0

    def close(self) -> None:
        """Write the last line, even without a line end, and close the file; a full disk loses the line."""
        for stream, rest in self._rest.items():
            if rest:
                with contextlib.suppress(OSError):
                    self._write(stream, [rest])
        self._file.close()


def older(path: Path) -> Path:
    """Return the path of the part before the last rotation."""
    return path.with_name(path.name + ".1")


def split_lines(data: bytes) -> list[bytes]:
    """Return the lines of `data` with their line ends; a carriage return, as of a progress bar, ends none."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])


def parse(line: bytes) -> tuple[str, str, bytes]:
    """Split one line of the file into time, stream, and text with its line end."""
    when, stream, _, text = line.split(b" ", 3)
    return when.decode(), stream.decode(), text


def read(path: Path, *, tail: int | None = None, since: str = "", end: int | None = None) -> Iterator[bytes]:
    """Return lines of the file and of its rotated part.

    Args:
        path: The log file.
        tail: The number of last lines; all without it.
        since: Only lines from this RFC 3339 time on.
        end: Stop at this byte of the file.
    """
    lines: list[bytes] = []
    for part, stop in ((older(path), None), (path, end)):
        if part.exists():
            lines += split_lines(part.read_bytes()[:stop])
    if since:
        del lines[: bisect.bisect_left(lines, since, key=lambda line: parse(line)[0])]
    yield from lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]


def remove(path: Path) -> None:
    """Delete the log of a run, if there is one."""
    for part in (path, older(path)):
        part.unlink(missing_ok=True)
