"""Approval of a step by a file or by an HTTP check, so that a pipeline can wait for a person."""

import time
from collections.abc import Callable
from pathlib import Path

from waypoint_lab.errors import RolloutError
from waypoint_lab.measure.http_answer import NoAnswerError, place, post
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.state import CanaryStep

POLL_SECONDS = 1.0
ANSWERS = {
    **{word: StepDecision.PROMOTE for word in ("y", "yes", "promote")},
    **{word: StepDecision.PAUSE for word in ("n", "no", "pause")},
    **{word: StepDecision.ROLL_BACK for word in ("b", "roll back", "rollback")},
}
WANTED = "promote, pause or roll back"


class FileApproval:
    """The answer is in a file, which is removed with it: one answer is for one step."""

    def __init__(self, file: Path, report: Callable[[str], None]) -> None:
        """Name the file; `report` shows one line."""
        self.where, self._file, self._report, self._shown = f"in {file}", file, report, ""

    def __call__(self, _step: CanaryStep) -> StepDecision | None:
        """Return the answer; None where there is none yet.

        Raises:
            RolloutError: The file cannot be read or removed.
        """
        try:
            text = self._file.read_text(errors="replace").strip()
            found = ANSWERS.get(text.lower())
            if found:
                self._file.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RolloutError(f"--approve-file {self._file}: {error.strerror}; let it be read and removed") from None
        if not found and text and text != self._shown:
            self._report(f"--approve-file {self._file}: {text[:40]!r} is no answer; write {WANTED}")
            self._shown = text
        return found


class HttpApproval:
    """The answer is that of a server, which gets the step as JSON.

    Status 200 with the word of a decision is that decision, and without text it promotes. Any other status, and no
    answer at all, means that the server is asked again.
    """

    def __init__(self, url: str, stack: str, report: Callable[[str], None]) -> None:
        """Name the address and the stack; `report` shows one line."""
        self.where, self._url, self._stack, self._report, self._shown = f"of {place(url)}", url, stack, report, ""

    def __call__(self, step: CanaryStep) -> StepDecision | None:
        """Return the answer; None where there is none yet."""
        found, why = self._ask(step)
        if why and why != self._shown:
            self._report(f"--approve-url: {why}; asking again")
        self._shown = why
        return found

    def _ask(self, step: CanaryStep) -> tuple[StepDecision | None, str]:
        """Return the answer, or why there is none; both empty while the server only wants to wait."""
        try:
            status, text = post(self._url, {"stack": self._stack, **step.document()})
        except NoAnswerError as error:
            return None, str(error)
        if status != 200:
            waits = 200 < status < 300 or 400 <= status < 500
            return None, "" if waits else f"{place(self._url)} answers {status}"
        word = text.strip().lower()
        found = ANSWERS.get(word or "promote")
        return found, "" if found else f"{word[:40]!r} is no answer; it must be {WANTED}"


class Wait:
    """Asks for an answer until there is one, a signal asks to stop, or a limit is over."""

    def __init__(
        self,
        ask: FileApproval | HttpApproval,
        limit_seconds: float,
        stop_requested: Callable[[], str],
        report: Callable[[str], None],
    ) -> None:
        """Keep the parts.

        Args:
            ask: Returns the answer, or None.
            limit_seconds: Seconds after which a step without an answer pauses the promotion.
            stop_requested: Returns the name of a signal that asks to stop, or an empty text.
            report: Shows one line.
        """
        self._ask, self._limit, self._stop_requested, self._report = ask, limit_seconds, stop_requested, report

    def __call__(self, step: CanaryStep) -> StepDecision:
        """Return the decision about a step."""
        self._report(f"waiting up to {self._limit:g} s for the answer {self._ask.where}: promote to {step}? ({WANTED})")
        end = time.monotonic() + self._limit
        while not self._stop_requested() and time.monotonic() < end:
            found = self._ask(step)
            if found and not self._stop_requested() and time.monotonic() < end:  # the answer may have taken long
                return found
            self._sleep(min(POLL_SECONDS, max(0.0, end - time.monotonic())))
        if self._stop_requested():
            return StepDecision.ROLL_BACK
        self._report(f"no answer {self._ask.where} within {self._limit:g} s")
        return StepDecision.PAUSE

    def _sleep(self, seconds: float) -> None:
        """Sleep in short parts, so that a signal ends the wait."""
        end = time.monotonic() + seconds
        while not self._stop_requested() and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
