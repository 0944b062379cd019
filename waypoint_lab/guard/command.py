"""Run the command that changes something."""

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from waypoint_lab.errors import GuardError
from waypoint_lab.guard.sampling import Report
from waypoint_lab.signals import handled

STDOUT, STDERR = 1, 2  # file descriptors
REPORT_SECONDS = 30.0
POLL_SECONDS = 0.1
STOP_SECONDS = 120.0  # Pulumi and helm finish what they have begun


@dataclass(frozen=True)
class CommandResult:
    """A command that has ended.

    Attributes:
        command: The command and its arguments.
        exit_code: Its exit status; 128 and the number of the signal that ended it.
        seconds: Time that it took.
        stopped: Reason for which it was asked to end: a signal, or the limit; empty if it ended by itself.
    """

    command: Sequence[str]
    exit_code: int
    seconds: float
    stopped: str = ""

    @property
    def problem(self) -> str:
        """Reason why the command counts as failed; empty if it does not."""
        if self.stopped:
            return f"the command was stopped: {self.stopped}"
        return f"the command ended with exit status {self.exit_code}" if self.exit_code else ""

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def run(
    command: Sequence[str], limit_seconds: float, report: Report, *, stdout: int | None = None, forward: bool = True
) -> CommandResult:
    """Run a command with the streams of this process.

    It has a session of its own, so that it gets each signal once, whether a terminal or another process sent it. Where
    it is asked to end, all processes of its group have ended when this returns, because a rollback may come next.

    Args:
        command: The command and its arguments.
        limit_seconds: Time after which it is asked to end.
        report: Prints a line of progress.
        stdout: File descriptor for its standard output; None means that of this process.
        forward: Pass signals on to it; else they are dropped.

    Raises:
        GuardError: There is no such command.
    """
    received: list[str] = []
    process: subprocess.Popen[bytes] | None = None
    began = reported = time.monotonic()
    ended = math.inf  # of the command itself; a shell ends before the commands that it runs

    def receive(number: int, _frame: object) -> None:
        if forward:
            received.append(signal.Signals(number).name)
            if process:
                _send(process, number)

    with handled(receive):
        try:
            out, err = _stream(STDOUT if stdout is None else stdout), _stream(STDERR)
            process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        except OSError as error:
            raise GuardError(f"{command[0]}: it cannot be started ({error.strerror}); correct the command") from None
        if received:  # between the two lines above
            _send(process, signal.SIGTERM)
        while _lives(process, group=bool(received)):
            time.sleep(POLL_SECONDS)
            passed = time.monotonic() - began
            if passed > limit_seconds and "limit" not in received:
                received.append("limit")
                _send(process, signal.SIGTERM)
            if process.returncode is not None:
                ended = min(ended, passed)
            if passed > min(limit_seconds, ended) + STOP_SECONDS:
                _send(process, signal.SIGKILL)
                if ended < math.inf:  # what remains of the group has ended, or is of another user
                    break
            if time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                report(f"the command runs for {passed:.0f} of {limit_seconds:g} s")
    code = process.returncode
    stopped = f"it did not end within {limit_seconds:g} s" if "limit" in received else " ".join(received[:1])
    return CommandResult(list(command), code if code >= 0 else 128 - code, time.monotonic() - began, stopped)


def _stream(descriptor: int) -> int:
    """Return a stream for the command; /dev/null where nobody reads it any more, because SIGPIPE ends a rollback."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return subprocess.DEVNULL if any(events != select.POLLOUT for _, events in poll.poll(0)) else descriptor


def _lives(process: "subprocess.Popen[bytes]", *, group: bool) -> bool:
    """Return True while the command runs, or with `group`, anything that it has started in its group."""
    if process.poll() is None or not group:
        return process.returncode is None
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True


def _send(process: "subprocess.Popen[bytes]", number: int) -> None:
    """Send a signal to the command and what it has started, as a terminal does."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        process.send_signal(number)
