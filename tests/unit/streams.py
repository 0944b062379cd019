"""Streams that nobody reads any more: a closed pipe, and a terminal that is gone."""

import errno
import io
import os

import pytest

GONE = (errno.EPIPE, errno.EIO)


class Unread(io.StringIO):
    """A stream whose writes fail, once `left` of them have not."""

    def __init__(self, number: int = errno.EPIPE, left: int = 0) -> None:
        super().__init__()
        self.number, self.left = number, left

    def write(self, text: str) -> int:
        """Fail."""
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))  # a BrokenPipeError for EPIPE
        return len(text)


def without_stderr(monkeypatch: pytest.MonkeyPatch, number: int = errno.EPIPE) -> None:
    """Let nobody read the standard error of this process."""
    monkeypatch.setattr("sys.stderr", Unread(number))
