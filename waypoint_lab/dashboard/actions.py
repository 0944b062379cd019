"""The buttons of the page. Each does what a command of `lab canary` does, after a second request that confirms it."""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from waypoint_lab.errors import LabError
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.state import PromotionState, current_state

PROMOTE, PAUSE, ROLL_BACK = "promote", "pause", "rollback"
NAMES = (PROMOTE, PAUSE, ROLL_BACK)
ANSWERS = {PROMOTE: "promote", PAUSE: "pause", ROLL_BACK: "roll back"}  # in the file of --approve-file
WAITS = re.compile(r"waiting up to .* for the answer")  # line of a command that waits for it
CONFIRM_SECONDS = 60.0
KEPT_LINES = 40


class ActionError(LabError):
    """Report an action that is not possible now."""


class PageActions:
    """The commands of one stack that the page may run; one at a time."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        stack: str,
        weights: Callable[[], Sequence[float]],
        busy: Callable[[], bool],
    ) -> None:
        """Start nothing.

        Args:
            command: The command `lab` and its global options.
            folder: The project.
            stack: Name of the stack.
            weights: Returns the canary's declared weight and its last step; empty without a canary. May raise LabError.
            busy: Returns True while a command of any terminal works on a promotion.
        """
        self._command, self._folder, self._stack = tuple(command), folder, stack
        self._weights, self._busy = weights, busy
        self._journal = Journal(folder, stack)
        self._lock = threading.RLock()
        self._asked: tuple[str, str, str, float] | None = None  # button, word, command line, end by the monotonic clock
        self._process: subprocess.Popen[str] | None = None
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)  # `canary promote` handles signals before its first line
        self._name, self._shown, self._given = "", "", ""  # the command that runs, its line, and the last answer to it
        self._waits, self._answers = 0, 0  # of that command: its questions, and our answers, which may be given before
        self._temporary = tempfile.TemporaryDirectory(prefix="waypoint-lab-dashboard-")
        self._file = Path(self._temporary.name) / "answer"

    def close(self, report: Callable[[str], None]) -> None:
        """Pause a promotion that a button started, and remove all files. A second interrupt rolls it back.

        Both wait for the end of the command, which limits its steps itself. A third interrupt leaves it to run on; a
        second one does so where it rolls back already, because a signal would end `lab canary rollback`.
        """
        try:
            process = self._process
            if process and self._running and self._rolls_back:
                report("waiting for the rollback that a button started; Ctrl-C again leaves it to run on")
                with suppress(KeyboardInterrupt):
                    process.wait()
            elif process and self._running:
                report("pausing the promotion that a button started; Ctrl-C again rolls it back")
                try:
                    self._answer(PAUSE)
                    process.wait()  # a step is measured to its end before it pauses
                except KeyboardInterrupt:
                    report("rolling back; see `lab canary history` if you press Ctrl-C once more")
                    with suppress(KeyboardInterrupt):  # the signal then ends the command before it has begun
                        while not self._lines:
                            time.sleep(0.05)
                    process.send_signal(signal.SIGTERM)
                    process.wait()
        finally:
            self._temporary.cleanup()

    def document(self) -> dict[str, Any]:
        """Return the state of the buttons: why each cannot be used, or the command that it stands for."""
        with self._lock:
            found, state = {name: self._possible(name) for name in NAMES}, ""
            with suppress(ActionError):  # which each button tells
                state = str(self._state() or "")
            return {
                "buttons": {name: {"command": line, "why": why} for name, (line, why) in found.items()},
                "running": self._running,
                "waiting": self._waiting,
                "state": state,
                "command": self._shown,
                "lines": list(self._lines),
            }

    def ask(self, name: str) -> dict[str, str]:
        """Return the command line of a button, and the word that confirms it once within CONFIRM_SECONDS.

        Raises:
            ActionError: It is not possible now.
        """
        with self._lock:
            line, why = self._possible(name)
            if why:
                raise ActionError(f"{name}: {why}")
            word = secrets.token_urlsafe(16)
            self._asked = (name, word, line, time.monotonic() + CONFIRM_SECONDS)
            return {"confirm": word, "command": line}

    def run(self, name: str, word: str) -> None:
        """Do what a button stands for.

        Raises:
            ActionError: It was not asked for before with this word, or it is not possible any more.
        """
        with self._lock:
            asked, self._asked = self._asked, None
            if asked is None or asked[:2] != (name, word) or time.monotonic() > asked[3]:
                raise ActionError(f"{name}: it was not confirmed in time; press the button again")
            line, why = self._possible(name)
            if why or line != asked[2]:
                raise ActionError(f"{name}: {why or 'it would run another command now; press the button again'}")
            if self._running:
                if name == ROLL_BACK and not self._waiting:
                    assert self._process
                    self._given = ROLL_BACK
                    self._process.send_signal(signal.SIGINT)  # as Ctrl-C does
                else:
                    self._answer(name)
                return
            self._given, self._waits, self._answers = "", 0, 0
            self._file.unlink(missing_ok=True)  # an answer that the last command did not read
            if name == PROMOTE:
                state = self._state()
                # Such a step goes on without an answer. After one that was taken back by hand, the button asks again.
                if not (state and not state.ended and state.applying):
                    self._answer(PROMOTE)
                self._start(PROMOTE, "--approve-file", str(self._file))
            else:
                self._start(ROLL_BACK)

    @property
    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _rolls_back(self) -> bool:
        """True where the command is a rollback, or was told to roll back."""
        return ROLL_BACK in (self._name, self._given)

    @property
    def _waiting(self) -> bool:
        """True while the command waits for an answer that nobody has given yet."""
        return self._running and self._waits > self._answers

    def _state(self) -> PromotionState | None:
        """Return the state of the last promotion. Raises ActionError where the journal cannot be read."""
        try:
            return current_state(self._journal.records())
        except OSError as error:
            raise ActionError(f"{self._journal.file}: it cannot be read ({error.strerror}); make it readable") from None

    def _line(self, *words: str) -> str:
        return " ".join(("lab", *words, "--stack", self._stack))

    def _possible(self, name: str) -> tuple[str, str]:
        """Return the command line that a button stands for, and the reason why it cannot be used; empty if it can."""
        if self._running:
            return self._possible_while_running(name)
        if self._busy():
            return "", "a command in a terminal runs; answer there, or end it there with Ctrl-C"
        try:
            state, weights = self._state(), self._weights() if name == PROMOTE else ()
        except LabError as error:
            return "", str(error)
        if name == PAUSE:
            return "", "no promotion runs"
        if name == ROLL_BACK:
            return self._line("canary", "rollback"), "" if state else "the stack was never promoted"
        if not weights:
            return "", "stage canary is off"
        if (state is None or state.ended) and weights[0] >= weights[1]:
            return "", f"the canary has {weights[0]:g} % and no step is above"
        return self._line("canary", "promote", "--approve-file", "FILE"), ""

    def _possible_while_running(self, name: str) -> tuple[str, str]:
        if self._rolls_back:
            return "", "the rollback runs"
        if name == ROLL_BACK and not self._lines:
            return "", "the command starts"
        if self._given == PAUSE and not self._file.exists():  # the command has read it
            return "", "the command ends"
        answer = f"{self._shown}, and the answer `{ANSWERS[name]}`"
        if self._waiting:
            return answer, ""
        if name == PROMOTE:
            return "", "the step is measured first"
        if name == PAUSE:
            return answer, "the answer is given" if self._file.exists() else ""
        return f"{self._shown}, and Ctrl-C", ""

    def _answer(self, name: str) -> None:
        """Write the answer whole, because the command may read the file at any moment."""
        self._given = name
        self._answers += 1
        draft = self._file.with_suffix(".draft")
        draft.write_text(ANSWERS[name])
        draft.replace(self._file)

    def _start(self, name: str, *words: str) -> None:
        self._name = name
        self._shown = self._line("canary", name, *(("FILE" if word == str(self._file) else word) for word in words))
        self._lines = deque(maxlen=KEPT_LINES)  # the reader of the last command may still add to its own
        self._process = subprocess.Popen(
            [*self._command, "canary", name, *words, "--stack", self._stack],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # so that Ctrl-C at the dashboard does not roll back at once
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        threading.Thread(target=self._read, args=(self._process, self._lines), name="command", daemon=True).start()

    def _read(self, process: "subprocess.Popen[str]", lines: deque[str]) -> None:
        assert process.stderr
        with process.stderr as stream:
            for line in stream:
                lines.append(line.rstrip())
                self._waits += WAITS.search(line) is not None
        lines.append(f"ended with status {process.wait()}")


def lab_command(state: Path) -> tuple[str, ...]:
    """Return the command `lab` of this interpreter, with the state folder of the embedded cluster."""
    return (sys.executable, "-P", "-m", "waypoint_lab.cli", "--state", str(state))
