"""The analysis of one canary step by the requests of users."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from waypoint_lab.measure.sequential import Decision
from waypoint_lab.measure.statistics import Interval, binomial_interval
from waypoint_lab.measure.traffic import ROLES, LoggedRequest, TrafficBlock
from waypoint_lab.measure.unpaired import NO_REQUESTS, Outcomes, UnpairedComparison
from waypoint_lab.rollout.analysis import StepDecision, Thresholds, odds

P99 = 0.99
KEPT = 20_000  # latencies of each backend
LEAST_BASELINE = 200  # latencies before the ratio of two p99 is judged
TEXTS = {"tries": "failed", "answers": "were answered with a failure", "p99": "were too slow", "p99 ratio": "were slow"}


@dataclass(frozen=True)
class BaselineBefore:
    """The baseline's requests at an earlier step, for a step that sends it none.

    Attributes:
        tries: Tries and failed ones.
        answers: Answers and failed ones, by access logs.
        p99_seconds: The 99th percentile; 0 where it is not known.
    """

    tries: Outcomes
    answers: Outcomes = NO_REQUESTS
    p99_seconds: float = 0.0

    @classmethod
    def read(cls, evidence: Mapping[str, Any]) -> "BaselineBefore":
        """Return the baseline of the evidence of a step, as `TrafficEvidence.document` has it."""
        answers, latency = evidence.get("answers"), evidence.get("latency")
        return cls(
            Outcomes(evidence["requests"]["baseline"], evidence["failed"]["baseline"]),
            Outcomes(*answers["baseline"]) if answers else NO_REQUESTS,
            float(latency["baseline"]["p99"]) if latency and "baseline" in latency else 0.0,
        )


class TrafficEvidence:
    """Evidence of one step: sequential comparisons of canary and baseline, all of which must be healthy.

    Tries are compared always. Where access logs are on, answers are compared as well, and latencies where a limit is
    set: the share of the canary's answers beyond the limit with one percent, and the share beyond `p99_ratio` times the
    baseline's p99 with the share of the baseline's answers beyond its own p99, which is taken from earlier blocks. The
    comparisons share the probability that a healthy canary is rolled back.
    """

    def __init__(self, thresholds: Thresholds, weight: float, before: BaselineBefore | None, *, logs: bool) -> None:
        """Start the comparisons.

        Args:
            thresholds: Limits of the analysis.
            weight: Percent of the requests that go to the canary, 0 to 100.
            before: The baseline's requests before, used at a weight of 100 %.
            logs: True where the access logs are on.
        """
        self.thresholds, self.weight, self.before = thresholds, weight, before if weight == 100 else None
        names = ["tries", *(["answers"] if logs else [])]
        names += ["p99"] if logs and thresholds.latency_limit_seconds else []
        names += ["p99 ratio"] if logs and thresholds.p99_ratio else []
        self.comparisons = {name: self._comparison(name, len(names)) for name in names}
        self.statuses: dict[str, Counter[str]] = {role: Counter() for role in ROLES}
        self.latencies: dict[str, deque[int]] = {role: deque(maxlen=KEPT) for role in ROLES}

    def _comparison(self, name: str, among: int) -> UnpairedComparison:
        limits = self.thresholds
        healthy, bad = limits.healthy_rolled_back / among, limits.bad_promoted
        if name == "p99" or (name == "p99 ratio" and self.weight == 100):
            return UnpairedComparison(limits.margin, healthy, bad, Interval(1 - P99, 1 - P99))
        if self.weight < 100:
            return UnpairedComparison(limits.margin, healthy, bad)
        known = (self.before.tries if name == "tries" else self.before.answers) if self.before else NO_REQUESTS
        if not known.requests:
            # Nothing is known of the baseline, except that it may fail as often as the minimum allows.
            return UnpairedComparison(limits.margin, healthy, bad, Interval(0.0, 1 - limits.min_success))
        reference = binomial_interval(known.failed, known.requests, 1 - min(healthy, bad))
        return UnpairedComparison(limits.margin, healthy / 2, bad / 2, reference)

    @property
    def requests(self) -> int:
        """Requests to the canary that have ended."""
        return self.comparisons["tries"].canary.requests

    def add(self, block: TrafficBlock) -> None:
        """Add the requests of one interval."""
        self.comparisons["tries"].add(*(block.tries[role] for role in ROLES))
        if block.logged is None:
            return
        canary, baseline = (block.logged[role] for role in ROLES)
        for role in ROLES:
            self.statuses[role].update(f"{one.status // 100}xx" for one in block.logged[role])
        for name, comparison in self.comparisons.items():
            if name == "answers":
                comparison.add(_failed(canary), _failed(baseline))
            elif name == "p99":
                comparison.add(_slower(canary, 1000 * self.thresholds.latency_limit_seconds), NO_REQUESTS)
            elif name == "p99 ratio" and (limits := self._ratio_limits()):
                comparison.add(_slower(canary, limits[0]), _slower(baseline, limits[1]))
        for role in ROLES:
            self.latencies[role].extend(one.milliseconds for one in block.logged[role])

    def _ratio_limits(self) -> tuple[float, float] | None:
        """Return the milliseconds beyond which answers of canary and baseline are slow; None while too few are known.

        Logs round down, so a canary's answer is slow only if it is slow for every latency that the baseline may have.
        """
        ratio, known = self.thresholds.p99_ratio, self.latencies["baseline"]
        if self.weight == 100:
            p99 = 1000 * self.before.p99_seconds if self.before else 0.0
            return (ratio * (p99 + 1), p99) if p99 else None
        if len(known) < LEAST_BASELINE:
            return None
        p99 = _quantile(known, P99)
        return ratio * (p99 + 1), p99

    def decide(self, elapsed_seconds: float) -> tuple[StepDecision, str] | None:
        """Decide the step.

        Args:
            elapsed_seconds: Seconds since the measurement began.

        Returns:
            The decision and its reason in one line; None while more has to be measured.
        """
        limits = self.thresholds
        for name, comparison in self.comparisons.items():
            if comparison.decision is Decision.BAD:
                why = f"{self._line(name)}: evidence {odds(comparison.against_healthy)} that more do"
                return StepDecision.ROLL_BACK, why
        expired = elapsed_seconds >= limits.limit_seconds
        if elapsed_seconds < limits.min_seconds or self.requests < limits.min_rounds:
            why = f"only {self.requests} of {limits.min_rounds} requests to the canary in {elapsed_seconds:.0f} s"
            return (StepDecision.PAUSE, why) if expired else None
        for name, comparison in self.comparisons.items():
            if comparison.decision is not Decision.HEALTHY:
                return (StepDecision.PAUSE, self._missing(name, elapsed_seconds)) if expired else None
        tries = self.comparisons["tries"].canary
        success = 1 - tries.failed / tries.requests
        if success < limits.min_success:
            why = f"{self._line('tries')}: {success:.1%} succeed, below the minimum of {limits.min_success:.1%}"
            return StepDecision.PAUSE, why
        least = min(comparison.against_bad for comparison in self.comparisons.values())
        return StepDecision.PROMOTE, f"{self._line('tries')}: evidence {odds(least)} against {limits.margin:.1%} more"

    def _line(self, name: str) -> str:
        one = self.comparisons[name]
        line = f"{one.canary.failed} of {one.canary.requests} requests of users to the canary {TEXTS[name]}"
        if one.reference:
            return f"{line}, where the baseline is taken to have {one.reference.low:.2%} to {one.reference.high:.2%}"
        return f"{line}, {one.baseline.failed} of {one.baseline.requests} to the baseline"

    def _missing(self, name: str, elapsed_seconds: float) -> str:
        one = self.comparisons[name]
        ratio = (100 - self.weight) / self.weight if self.weight else one.baseline.requests / (one.canary.requests or 1)
        return (
            f"{self._line(name)}: too few in {elapsed_seconds:.0f} s, which is not a pass; "
            f"about {one.needed(ratio)} to the canary are needed if it is healthy"
        )

    def document(self) -> dict[str, Any]:
        """Return the evidence as the journal keeps it."""
        tries = self.comparisons["tries"]
        found: dict[str, Any] = {
            "requests": {role: getattr(tries, role).requests for role in ROLES},
            "failed": {role: getattr(tries, role).failed for role in ROLES},
            "margin": self.thresholds.margin,
            "healthy_rolled_back": self.thresholds.healthy_rolled_back,
            "bad_promoted": self.thresholds.bad_promoted,
            "comparisons": {
                name: {
                    "decision": str(one.decision),
                    "against_healthy": round(one.against_healthy, 3),
                    "against_bad": round(one.against_bad, 3),
                }
                for name, one in self.comparisons.items()
            },
        }
        if answers := self.comparisons.get("answers"):
            found["answers"] = {role: list(getattr(answers, role)) for role in ROLES}
            found["statuses"] = {role: dict(sorted(self.statuses[role].items())) for role in ROLES}
            found["latency"] = {
                role: {"p50": _quantile(known, 0.5) / 1000, "p99": _quantile(known, P99) / 1000}
                for role, known in self.latencies.items()
                if known
            }
        return found


def _quantile(milliseconds: Iterable[int], share: float) -> int:
    ordered = sorted(milliseconds)
    return ordered[math.ceil(len(ordered) * share) - 1]


def _failed(requests: list[LoggedRequest]) -> Outcomes:
    return Outcomes(len(requests), sum(one.failed for one in requests))


def _slower(requests: list[LoggedRequest], milliseconds: float) -> Outcomes:
    """Return the requests, and those that took longer; one without an answer counts as slower."""
    return Outcomes(len(requests), sum(one.milliseconds > milliseconds or not one.status for one in requests))
