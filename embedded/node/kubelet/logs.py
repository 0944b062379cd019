"""A container's output on disk: one line per line of output, `TIME STREAM F TEXT`, as container runtimes write it.

A long line is written in pieces, `TIME STREAM P TEXT`, of which the last has `F`.
"""

import bisect
import contextlib
import datetime
import errno
import os
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 16
ROTATE_BYTES = 16 << 20  # the file before is kept, so a container has at most twice that


def stamp(moment: datetime.datetime | None = None) -> str:
    """Return `moment`, or the present time, in RFC 3339 as UTC with microseconds; such texts compare as times."""
    moment = (moment or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


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
        """Write the complete lines of `data`, and the rest as a piece if it is long; else keep it for the next call.

        Raises:
            OSError: The lines cannot be written and are lost.
        """
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        piece, rest = (rest, b"") if len(rest) > PIECE_BYTES else (b"", rest)
        self._rest[stream] = rest
        self._write(stream, lines, piece)

    def _write(self, stream: str, lines: list[bytes], piece: bytes = b"") -> None:
        head = f"{stamp()} {stream} ".encode()
        block = b"".join(head + b"F " + line + b"\n" for line in lines)
        if piece:
            block += head + b"P " + piece + b"\n"
        if not block:
            return
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
    """Split one line of the file into time, stream, and text with its line end; a piece of a longer line has none."""
    when, stream, tag, text = line.split(b" ", 3)
    return when.decode(), stream.decode(), text.removesuffix(b"\n") if tag == b"P" else text


def _last(lines: list[bytes], count: int) -> list[bytes]:
    """Return the last `count` lines of output, each with all of its pieces."""
    for start in range(len(lines), 0, -1):
        if start == len(lines) or parse(lines[start - 1])[2].endswith(b"\n"):
            if count == 0:
                return lines[start:]
            count -= 1
    return lines


def read(path: Path, *, tail: int | None = None, since: str = "", end: int | None = None) -> Iterator[bytes]:
    """Return lines of the file and of its rotated part.

    Args:
        path: The log file.
        tail: The number of last lines; all without it.
        since: Only lines from this time on, a text of `stamp`.
        end: Stop at this byte of the file.
    """
    lines: list[bytes] = []
    for part, stop in ((older(path), None), (path, end)):
        if part.exists():
            lines += split_lines(part.read_bytes()[:stop])
    if since:
        del lines[: bisect.bisect_left(lines, since, key=lambda line: parse(line)[0])]
    yield from lines if tail is None else _last(lines, tail)


def remove(path: Path) -> None:
    """Delete the log of a run, if there is one."""
    for part in (path, older(path)):
        part.unlink(missing_ok=True)
