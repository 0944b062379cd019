"""Watch a command that changes something: observe, run, observe again, judge, and roll back on failure."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from waypoint_lab.errors import described
from waypoint_lab.guard.command import CommandResult, run
from waypoint_lab.guard.comparison import Rules, compare, verdict
from waypoint_lab.guard.differences import Difference, Kind
from waypoint_lab.guard.observation import Observation
from waypoint_lab.guard.sampling import Report, Source, observe, settle
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.signals import handled, interrupt


@dataclass(frozen=True)
class GuardedChange:
    """A command, and how it is watched.

    Attributes:
        command: The command and its arguments.
        rollback: Command of the shell that runs on failure; empty means none.
        before_seconds: Length of the observation before.
        seconds: Length of the observation after, and after the rollback.
        limit_seconds: Time after which the command is asked to end.
        rules: Return the accepted changes; called after the command, which may declare some.
        stdout: File descriptor for the standard output of both commands; None means that of this process.
        tolerances: The accepted changes without declared ones, by which the outcome of the rollback is judged.
    """

    command: Sequence[str]
    rollback: str
    before_seconds: float
    seconds: float
    limit_seconds: float
    rules: Callable[[], Rules]
    stdout: int | None = None
    tolerances: Rules = field(default_factory=Rules)


@dataclass(frozen=True)
class GuardResult:
    """The outcome of a change.

    Attributes:
        verdict: The verdict on the change.
        differences: All comparisons, failed ones first.
        command: The command.
        rollback: The rollback command; None where it did not run.
        after_rollback: Comparisons of the time before the change with the time after the rollback.
        interrupted: True if a signal ended the command or the observation after it.
        not_measured: Kinds that could not be compared.
        before: The traffic before the command; None where it was not kept.
        after: The traffic after it; None where it was not observed.
        began: Start of the command, in seconds since 1970.
        settled: Time from which the waypoints had processed their updates; 0 where it did not come to that.
    """

    verdict: Verdict
    differences: Sequence[Difference]
    command: CommandResult
    rollback: CommandResult | None = None
    after_rollback: Sequence[Difference] = field(default_factory=list)
    interrupted: bool = False
    not_measured: Sequence[Kind] = ()
    before: Observation | None = None
    after: Observation | None = None
    began: float = 0.0
    settled: float = 0.0

    @property
    def restored(self) -> bool:
        """True if the rollback command succeeded, and the former outcome is back."""
        done = self.rollback is not None and not self.rollback.problem
        return done and verdict(self.after_rollback) is Verdict.PASSED

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "verdict": self.verdict,
            "passed": self.verdict is Verdict.PASSED,
            "differences": [item.document() for item in self.differences],
            "not_measured": list(self.not_measured),
            "command": self.command.document(),
            "rollback": self.rollback
            and {
                **self.rollback.document(),
                "restored": self.restored,
                "differences": [item.document() for item in self.after_rollback],
            },
        }


def watch(source: Source, change: GuardedChange, report: Report) -> GuardResult:
    """Run the command between two observations, and roll back on failure.

    Args:
        source: The readers of the waypoints.
        change: The command.
        report: Prints a line of progress.

    Returns:
        The outcome.

    Raises:
        GuardError: A command cannot be started.
        KeyboardInterrupt: A signal came before the command ran.
        KubectlError: The waypoints cannot be read before the command ran.
    """
    with handled(interrupt):
        before = observe(source, change.before_seconds, "before", report)
    if before.answers is None:
        report("latency is not measured: no request of an access log was read")
    report(f"run {' '.join(change.command)}")
    began = time.time()
    command = run(change.command, change.limit_seconds, report, stdout=change.stdout)
    result = replace(_judged(source, change, before, command, report), before=before, began=began)
    if any(seen.answers is None for seen in (before, result.after) if seen):
        result = replace(result, not_measured=[Kind.LATENCY])
    if result.verdict is not Verdict.FAILED or not change.rollback:
        return result
    for item in result.differences:
        if item.verdict is Verdict.FAILED:
            report(f"failed: {item.where}: {item.evidence}")
    report(f"roll back: {change.rollback}")
    with handled(lambda *_: None):  # children do not inherit this, as they would inherit that signals are ignored
        shell = ["sh", "-c", change.rollback]
        rollback = run(shell, change.limit_seconds, report, stdout=change.stdout, forward=False)
        found = _observed(source, change, before, lambda: change.tolerances, "after the rollback", report).differences
    return replace(result, rollback=rollback, after_rollback=found)


def _judged(
    source: Source, change: GuardedChange, before: Observation, command: CommandResult, report: Report
) -> GuardResult:
    if command.problem:
        found = [Difference("command", Kind.COMMAND, Verdict.FAILED, command.problem)]
        return GuardResult(Verdict.FAILED, found, command, interrupted=command.stopped.startswith("SIG"))
    try:
        with handled(interrupt):
            outcome = _observed(source, change, before, change.rules, "after", report)
    except KeyboardInterrupt:
        found = [Difference("command", Kind.COMMAND, Verdict.FAILED, "interrupted before the outcome was known")]
        return GuardResult(Verdict.FAILED, found, command, interrupted=True)
    found = outcome.differences
    return GuardResult(verdict(found), found, command, after=outcome.after, settled=outcome.settled)


class _Outcome(NamedTuple):
    differences: list[Difference]
    after: Observation | None = None
    settled: float = 0.0


def _observed(
    source: Source, change: GuardedChange, before: Observation, rules: Callable[[], Rules], what: str, report: Report
) -> _Outcome:
    try:
        accepted = rules()
        settle(source, report)
        settled = time.time()
        after = observe(source, change.seconds, what, report)
        return _Outcome(compare(before, after, accepted), after, settled)
    except Exception as error:  # of any type: the change is made, and may have to be rolled back
        text = f"the outcome cannot be observed: {described(error)}"
        return _Outcome([Difference("waypoints", Kind.CONFIGURATION, Verdict.FAILED, text)])
