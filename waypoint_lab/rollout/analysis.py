"""What one step of a promotion has measured, and what that decides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from waypoint_lab.measure.pairs import Answer, Round
from waypoint_lab.measure.sequential import Comparison, Decision

CANARY, BASELINE, USERS = range(3)  # the places of the arms in a round
ARMS = ("canary", "baseline", "users")


class Verdict(StrEnum):
    """What comes after a step."""

    GO = "go on"
    HOLD = "hold"
    BACK = "roll back"


@dataclass(frozen=True)
class Rules:
    """What decides. Shares are 0 to 1, times seconds.

    `margin`: a canary whose failures exceed the baseline's by this must not get through. `bad_through`: how often one
    does at most. `healthy_back`: how often a healthy one is rolled back at most, at this one step. `floor`: the share
    of the canary's requests that must succeed, whatever the baseline does. `slow_seconds`: an answer that takes longer
    counts as failed; 0 means none does. `least_seconds` and `least_rounds` are measured in any case, `most_seconds`
    is when an open question becomes a hold.
    """

    margin: float
    bad_through: float
    healthy_back: float
    floor: float = 0.9
    slow_seconds: float = 0.0
    least_seconds: float = 0.0
    least_rounds: int = 0
    most_seconds: float = 120.0


@dataclass
class Evidence:
    """Two comparisons run at once, and share what a healthy canary may be rolled back by.

    One is of the canary's own Service with the baseline's: whose answer it is needs no guess, even where none came, and
    a weight of 0.1 % is decided as fast as one of 50 %. The other is of what users get on the route with the baseline:
    it sees what only goes wrong on the route.
    """

    rules: Rules
    requests: int = 0
    failed: list[int] = field(default_factory=lambda: [0, 0, 0])
    first_failure: float | None = None
    last: float = 0.0

    def __post_init__(self) -> None:
        """Starts both comparisons."""
        half = self.rules.healthy_back / 2
        self.canary = Comparison(self.rules.margin, half, self.rules.bad_through)
        self.users = Comparison(self.rules.margin, half, self.rules.bad_through)

    def failure(self, answer: Answer) -> bool:
        """Whether this is not what its sender wanted: no answer, an error or a refusal, or too late."""
        slow = self.rules.slow_seconds
        return not 200 <= answer.status < 400 or (slow > 0 and answer.seconds > slow)

    def add(self, one: Round) -> None:
        """Takes one round in."""
        failed = [self.failure(answer) for answer in one.answers]
        self.requests += 1
        self.last = one.at
        for arm, bad in enumerate(failed):
            self.failed[arm] += bad
        if failed[CANARY] and self.first_failure is None:
            self.first_failure = one.at
        self.canary.add(canary_failed=failed[CANARY], baseline_failed=failed[BASELINE])
        self.users.add(canary_failed=failed[USERS], baseline_failed=failed[BASELINE])

    def verdict(self, passed_seconds: float) -> tuple[Verdict, str] | None:
        """What is decided after `passed_seconds`, and why in one line; None while more is to be measured."""
        rules = self.rules
        for comparison, arm in ((self.canary, CANARY), (self.users, USERS)):
            if comparison.decision is Decision.BAD:
                return (
                    Verdict.BACK,
                    f"{self._failing(arm)}: evidence {_odds(comparison.against_healthy)} that more fail",
                )
        if passed_seconds < rules.least_seconds or self.requests < rules.least_rounds:
            if passed_seconds >= rules.most_seconds:
                return Verdict.HOLD, f"only {self.requests} of {rules.least_rounds} requests in {passed_seconds:.0f} s"
            return None
        if self.canary.decision is Decision.HEALTHY:
            good = 1 - self.failed[CANARY] / self.requests
            if good < rules.floor:
                why = f"{self._failing(CANARY)}: {good:.1%} succeed, and less than {rules.floor:.1%} is never a pass"
                return Verdict.HOLD, why
            return (
                Verdict.GO,
                f"{self._failing(CANARY)}: evidence {_odds(self.canary.against_bad)} against {rules.margin:.1%} more",
            )
        if passed_seconds >= rules.most_seconds:
            return Verdict.HOLD, f"{self._failing(CANARY)}: undecided after {passed_seconds:.0f} s, which is not a pass"
        return None

    def _failing(self, arm: int) -> str:
        number, base = self.failed[arm], self.failed[BASELINE]
        who = "of the canary" if arm == CANARY else "through the route"
        return f"{number} of {self.requests} requests {who} failed, {base} of as many of the baseline"

    def document(self) -> dict[str, Any]:
        """For the journal."""
        named: Callable[[list[int]], dict[str, int]] = lambda counts: dict(zip(ARMS, counts, strict=True))  # noqa: E731
        return {
            "rounds": self.requests,
            "failed": named(self.failed),
            "margin": self.rules.margin,
            "healthy_back": self.rules.healthy_back,
            "bad_through": self.rules.bad_through,
            "canary": _document(self.canary),
            "users": _document(self.users),
            "first_failure": self.first_failure,
            "last": self.last,
        }


def _odds(evidence: float) -> str:
    return f"{evidence:.0f} to 1" if evidence < 1e6 else "of more than a million to 1"


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "decision": str(comparison.decision),
        "worse": comparison.worse,
        "better": comparison.better,
        "against_healthy": round(comparison.against_healthy, 3),
        "against_bad": round(comparison.against_bad, 3),
    }
