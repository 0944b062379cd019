"""The buttons of the dashboard, with a command that answers as `lab canary` does."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from waypoint_lab.dashboard import actions as module
from waypoint_lab.dashboard.actions import ActionError, PageActions
from waypoint_lab.errors import ConfigError
from waypoint_lab.rollout.journal import Journal

# Writes its arguments, then waits for answers as `lab canary promote --approve-file FILE` does.
COMMAND = """
import json, pathlib, signal, sys, time
log = pathlib.Path("log")
def note(word):
    with log.open("a") as file:
        file.write(json.dumps(word) + "\\n")
note(sys.argv[1:])
def stop(*_):
    note("SIGINT")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
if "promote" in sys.argv:
    file = pathlib.Path(sys.argv[sys.argv.index("--approve-file") + 1])
    while True:
        print("promote: waiting up to 3600 s for the answer", file=sys.stderr, flush=True)
        while not file.exists():
            time.sleep(0.02)
        answer = file.read_text()
        print("promote: measuring", file=sys.stderr, flush=True)
        print("promote: waiting up to 600 s for the API server: refused", file=sys.stderr, flush=True)
        file.unlink()
        note(answer)
        if answer != "promote":
            while pathlib.Path("end").exists():
                time.sleep(0.02)
            break
        while pathlib.Path("measure").exists():
            time.sleep(0.02)
"""


class Board:
    """The buttons of a stack in a folder, and what its commands noted."""

    def __init__(self, folder: Path, stack: str = "dev") -> None:
        """Start with a canary of 0 % and steps up to 100 %."""
        self.folder, self.weights, self.busy = folder, (0.0, 100.0), False
        command = [sys.executable, "-c", COMMAND]
        self.actions = PageActions(command, folder, stack, lambda: self.weights, lambda: self.busy)

    def press(self, name: str) -> str:
        """Press a button and confirm it; return the command that it shows."""
        asked = self.actions.ask(name)
        self.actions.run(name, asked["confirm"])
        return asked["command"]

    def noted(self) -> list[object]:
        """Return the notes of the commands."""
        file = self.folder / "log"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, at most five seconds."""
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end, (self.noted(), self.actions.document())
            time.sleep(0.02)

    def why(self, name: str) -> str:
        """Return the reason why a button cannot be used."""
        found: str = self.actions.document()["buttons"][name]["why"]
        return found

    def waiting(self) -> bool:
        """Return True while the command waits for an answer."""
        return bool(self.actions.document()["waiting"])


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """Return the buttons; their command ends with the test."""
    made = Board(tmp_path)
    yield made
    made.actions.close(lambda _line: None)


def test_promote_starts_the_command_and_answers_one_step_at_a_time(board: Board) -> None:
    assert board.press("promote") == "lab canary promote --approve-file FILE --stack dev"
    board.until(lambda: board.noted()[1:] == ["promote"] and board.waiting())
    arguments = board.noted()[0]
    assert isinstance(arguments, list)
    assert (arguments[:3], arguments[4:]) == (["canary", "promote", "--approve-file"], ["--stack", "dev"])
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote", "promote"] and board.waiting())
    board.press("pause")
    board.until(lambda: board.noted()[1:] == ["promote", "promote", "pause"])
    board.until(lambda: not board.actions.document()["running"])
    assert board.why("pause") == "no promotion runs"


def test_promote_while_a_step_is_measured_is_refused_and_pause_is_kept(board: Board) -> None:
    (board.folder / "measure").touch()
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote"])
    board.until(lambda: "API server" in "".join(board.actions.document()["lines"][-1:]))
    assert not board.waiting()
    assert board.why("promote") == "the step is measured first"
    board.press("pause")
    assert board.why("pause") == "the answer is given"
    (board.folder / "measure").unlink()
    board.until(lambda: board.noted()[1:] == ["promote", "pause"])


def test_rollback_while_a_step_is_measured_interrupts_the_command(board: Board) -> None:
    (board.folder / "measure").touch()
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote"] and board.actions.document()["lines"] and not board.waiting())
    assert board.press("rollback").endswith(", and Ctrl-C")
    board.until(lambda: board.noted()[1:] == ["promote", "SIGINT"])


def test_buttons_are_off_while_a_command_ends(board: Board) -> None:
    (board.folder / "end").touch()
    board.press("promote")
    board.until(board.waiting)
    board.press("pause")
    board.until(lambda: board.noted()[1:] == ["promote", "pause"])
    assert {board.why(name) for name in ("promote", "pause", "rollback")} == {"the command ends"}
    (board.folder / "end").unlink()
    board.until(lambda: not board.actions.document()["running"])
    (board.folder / "end").touch()
    board.press("promote")
    board.until(board.waiting)
    board.press("rollback")
    assert {board.why(name) for name in ("promote", "pause", "rollback")} == {"the rollback runs"}
    (board.folder / "end").unlink()


def test_run_refuses_what_another_command_would_do_by_now(board: Board) -> None:
    (board.folder / "measure").touch()
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote"] and board.actions.document()["lines"] and not board.waiting())
    asked = board.actions.ask("rollback")
    assert asked["command"].endswith(", and Ctrl-C")
    (board.folder / "measure").unlink()
    board.until(board.waiting)
    with pytest.raises(ActionError, match="another command"):
        board.actions.run("rollback", asked["confirm"])


def test_rollback_without_a_command_runs_lab_canary_rollback(board: Board) -> None:
    assert board.why("rollback") == "the stack was never promoted"
    step = {"weight": 1.0, "cohort": ""}
    Journal(board.folder, "dev").append("start", "p", **{"from": {**step, "weight": 0.0}}, steps=[step])
    assert board.press("rollback") == "lab canary rollback --stack dev"
    board.until(lambda: board.noted() == [["canary", "rollback", "--stack", "dev"]])


def test_run_needs_the_word_of_the_same_button_once(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, word in (("promote", "guess"), ("promote", ""), ("pause", board.actions.ask("promote")["confirm"])):
        with pytest.raises(ActionError, match="not confirmed"):
            board.actions.run(name, word)
    word = board.actions.ask("promote")["confirm"]
    later = time.monotonic() + module.CONFIRM_SECONDS + 1
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    with pytest.raises(ActionError, match="not confirmed"):
        board.actions.run("promote", word)
    assert not board.actions.document()["running"]
    monkeypatch.undo()
    board.weights = (0.0, 100.0)
    word = board.actions.ask("promote")["confirm"]
    board.actions.run("promote", word)
    board.until(lambda: board.noted()[1:] == ["promote"] and board.waiting())
    with pytest.raises(ActionError, match="not confirmed"):
        board.actions.run("promote", word)


def test_buttons_are_off_where_nothing_can_be_done(board: Board) -> None:
    board.weights = (100.0, 100.0)
    assert board.why("promote") == "the canary has 100 % and no step is above"
    board.weights = ()  # type: ignore[assignment]
    assert board.why("promote") == "stage canary is off"
    board.busy = True
    assert {board.why(name) for name in ("promote", "pause", "rollback")} == {
        "a command in a terminal runs; answer there, or end it there with Ctrl-C"
    }
    with pytest.raises(ActionError, match="a command in a terminal runs"):
        board.actions.ask("promote")


def test_close_pauses_a_promotion_and_removes_the_files(tmp_path: Path) -> None:
    board, said = Board(tmp_path), []
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote"] and board.waiting())
    board.actions.close(said.append)
    assert board.noted()[1:] == ["promote", "pause"]
    assert said == ["pausing the promotion that a button started; Ctrl-C again rolls it back"]
    arguments = board.noted()[0]
    assert isinstance(arguments, list)
    assert not Path(arguments[3]).parent.exists()


def test_buttons_say_that_the_journal_cannot_be_read(board: Board) -> None:
    file = board.folder / ".lab-history" / "dev.jsonl"
    file.mkdir(parents=True)  # unreadable even for root
    why = f"{file}: it cannot be read (Is a directory); make it readable"
    assert [board.why(name) for name in ("promote", "rollback")] == [why, why]
    with pytest.raises(ActionError, match="make it readable"):
        board.actions.ask("rollback")


class Command:
    """A command that runs until it is asked to end, and then takes its time."""

    def __init__(self) -> None:
        self.signals: list[int] = []
        self.limits: list[float | None] = []

    def poll(self) -> None:
        pass

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def wait(self, limit: float | None = None) -> None:
        self.limits.append(limit)
        if not self.signals:
            raise KeyboardInterrupt


def test_close_rolls_back_by_a_second_interrupt_alone_and_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, command, said, early = Board(tmp_path), Command(), list[str](), list[list[int]]()
    board.actions._process = command  # type: ignore[assignment]

    def sleep(_seconds: float) -> None:  # before its first line, a signal would end the command without a rollback
        early.append([*command.signals])
        board.actions._lines.append("promote: measuring")

    monkeypatch.setattr(module.time, "sleep", sleep)
    board.actions.close(said.append)
    assert (early, command.signals, command.limits) == ([[]], [signal.SIGTERM], [None, None])
    assert said[1] == "rolling back; see `lab canary history` if you press Ctrl-C once more"


@pytest.mark.parametrize(("name", "given"), [("rollback", ""), ("promote", "rollback")])
def test_close_sends_no_signal_to_a_rollback(tmp_path: Path, name: str, given: str) -> None:
    board, command, said = Board(tmp_path), Command(), list[str]()
    board.actions._process = command  # type: ignore[assignment]
    board.actions._name, board.actions._given = name, given
    board.actions.close(said.append)
    assert (command.signals, command.limits) == ([], [None])
    assert said == ["waiting for the rollback that a button started; Ctrl-C again leaves it to run on"]


def test_rollback_waits_for_the_first_line_of_the_command(board: Board) -> None:
    board.actions._process = Command()  # type: ignore[assignment]
    board.actions._name = "promote"
    assert board.why("rollback") == "the command starts"
    board.actions._lines.append("promote: 20 %")
    assert board.why("rollback") == ""


def test_buttons_do_not_depend_on_the_name_of_the_stack(tmp_path: Path) -> None:
    board = Board(tmp_path, "test-rollback")
    board.press("promote")
    board.until(lambda: board.noted()[1:] == ["promote"] and board.waiting())
    assert {board.why(name) for name in ("promote", "pause", "rollback")} == {""}
    board.actions.close(lambda _line: None)


def test_promote_says_why_the_config_cannot_be_read(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConfigError("waypoint-lab:canary.weight: 200 is not a weight")

    monkeypatch.setattr(board.actions, "_weights", fail)
    assert board.why("promote") == "waypoint-lab:canary.weight: 200 is not a weight"
    assert board.why("rollback") == "the stack was never promoted"
