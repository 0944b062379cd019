"""A command runs with this process's streams, gets its signals, and ends within its limit."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from waypoint_lab.errors import GuardError
from waypoint_lab.guard import command

LINES: list[str] = []
TRAP = "trap 'echo trapped >>{file}; exit 7' INT TERM; echo ready >>{file}; while :; do sleep 0.05; done"


def test_exit_status_is_kept() -> None:
    result = command.run(["sh", "-c", "exit 9"], 10, LINES.append)
    assert (result.exit_code, result.problem) == (9, "the command ended with exit status 9")


def test_success_has_no_problem() -> None:
    assert command.run(["true"], 10, LINES.append).problem == ""


def test_output_passes_through(capfd: pytest.CaptureFixture[str]) -> None:
    command.run(["sh", "-c", "echo out; echo err >&2"], 10, LINES.append)
    command.run(["echo", "moved"], 10, LINES.append, stdout=sys.stderr.fileno())
    assert capfd.readouterr() == ("out\n", "err\nmoved\n")


def test_command_whose_output_nobody_reads_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(command, "STDERR", writer)
    result = command.run(["sh", "-c", "echo out; echo err >&2"], 10, LINES.append, stdout=writer)
    os.close(writer)
    assert (result.exit_code, result.problem) == (0, "")


def test_unknown_command_is_one_line() -> None:
    with pytest.raises(GuardError, match=r"no-such: it cannot be started \(No such file or directory\)"):
        command.run(["no-such"], 10, LINES.append)


def after(file: Path, number: int) -> threading.Thread:
    """Send a signal to this process once the command is ready."""

    def send() -> None:
        while not file.exists() or "ready" not in file.read_text():
            pass
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_is_passed_on_once(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "trace"
    thread = after(file, number)
    result = command.run(["sh", "-c", TRAP.format(file=file)], 20, LINES.append)
    thread.join()
    assert (7, number.name, "ready\ntrapped\n") == (result.exit_code, result.stopped, file.read_text())
    assert f"the command was stopped: {number.name}" == result.problem


def test_signal_with_forwarding_off_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    thread = after(file, signal.SIGINT)
    result = command.run(["sh", "-c", f"echo ready >{file}; sleep 0.3"], 20, LINES.append, forward=False)
    thread.join()
    assert (result.exit_code, result.stopped) == (0, "")


def test_command_beyond_its_limit_is_asked_to_end() -> None:
    result = command.run(["sleep", "60"], 0.2, LINES.append)
    assert (result.exit_code, result.stopped) == (143, "it did not end within 0.2 s")


def test_command_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "STOP_SECONDS", 0.3)
    result = command.run(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], 2.0, LINES.append)
    assert result.exit_code == 137


# A shell that dies at once, while what it runs takes a while to end.
PULUMI = "trap 'sleep 0.5; echo done >>{file}; exit' TERM; echo ready >>{file}; sleep 60 & wait"
SLOW = f'bash -c "{PULUMI}"; echo deployed'


@pytest.mark.parametrize("limit", [2.0, 20.0])
def test_command_that_was_asked_to_end_has_ended_with_all_of_its_group(tmp_path: Path, limit: float) -> None:
    file = tmp_path / "trace"
    thread = after(file, signal.SIGTERM) if limit > 2 else None
    result = command.run(["sh", "-c", SLOW.format(file=file)], limit, LINES.append)
    if thread:
        thread.join()
    assert (result.exit_code, file.read_text()) == (143, "ready\ndone\n")


def test_rest_of_a_group_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "STOP_SECONDS", 0.3)
    file = tmp_path / "pid"
    script = f"sh -c 'trap \"\" TERM; echo $$ >{file}; while :; do sleep 0.1; done'; echo deployed"
    assert command.run(["sh", "-c", script], 2.0, LINES.append).exit_code == 143
    state = Path(f"/proc/{file.read_text().strip()}/stat")
    until = time.monotonic() + 5
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.05)


def test_process_that_a_finished_command_leaves_is_not_waited_for() -> None:
    result = command.run(["sh", "-c", "sleep 4 & exit 0"], 10, LINES.append)
    assert (result.exit_code, result.seconds < 3) == (0, True)
