"""A command runs with this process's streams, gets its signals, and ends within its limit."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

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


def is_ready(file: Path) -> bool:
    return file.exists() and "ready" in file.read_text()


def after(file: Path, number: int) -> threading.Thread:
    """Send a signal to this process once the command is ready."""

    def send() -> None:
        while not is_ready(file):
            time.sleep(0.01)
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


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which a command says that it is ready; its limit of 20 s is over then."""
    file = tmp_path / "trace"
    clock = SimpleNamespace(sleep=time.sleep, monotonic=lambda: time.monotonic() + 20 * is_ready(file))
    monkeypatch.setattr(command, "time", clock)
    return file


def test_command_that_does_not_end_is_killed(late: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "STOP_SECONDS", 0.3)
    script = f"trap '' TERM; echo ready >{late}; while :; do sleep 0.1; done"
    assert command.run(["sh", "-c", script], 20, LINES.append).exit_code == 137


# A shell that dies at once, while what it runs takes a while to end.
PULUMI = "trap 'sleep 0.3; echo done >>{file}; exit' TERM; echo ready >>{file}; sleep 60 & wait"
SLOW = f'bash -c "{PULUMI}"; echo deployed'


def test_command_that_was_asked_to_end_has_ended_with_all_of_its_group(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    thread = after(file, signal.SIGTERM)
    result = command.run(["sh", "-c", SLOW.format(file=file)], 20, LINES.append)
    thread.join()
    assert (result.exit_code, file.read_text()) == (143, "ready\ndone\n")


def test_command_beyond_its_limit_has_ended_with_all_of_its_group(late: Path) -> None:
    result = command.run(["sh", "-c", SLOW.format(file=late)], 20, LINES.append)
    assert (result.exit_code, late.read_text()) == (143, "ready\ndone\n")


def test_rest_of_a_group_that_does_not_end_is_killed(late: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "STOP_SECONDS", 0.3)
    script = f"sh -c 'trap \"\" TERM; echo ready $$ >{late}; while :; do sleep 0.1; done'; echo deployed"
    assert command.run(["sh", "-c", script], 20, LINES.append).exit_code == 143
    state = Path(f"/proc/{late.read_text().split()[1]}/stat")
    until = time.monotonic() + 5
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.05)


def test_progress_is_reported_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    command.run(["sleep", "0.3"], 10, lines.append)
    assert lines == []
    monkeypatch.setattr(command, "REPORT_SECONDS", 0.0)
    command.run(["sleep", "0.3"], 10, lines.append)
    assert lines[0] == "the command runs for 0 of 10 s"


def test_process_that_a_finished_command_leaves_is_not_waited_for() -> None:
    result = command.run(["sh", "-c", "sleep 4 & exit 0"], 10, LINES.append)
    assert (result.exit_code, result.seconds < 3) == (0, True)
