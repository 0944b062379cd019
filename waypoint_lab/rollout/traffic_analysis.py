"""The analysis of one canary step by the requests of users."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypoint_lab.measure.statistics import Interval, binomial_interval, quantile, quantiles
from waypoint_lab.measure.traffic import ROLES, LoggedRequest, TrafficBlock
from waypoint_lab.measure.unpaired import MOST_REQUESTS, NO_REQUESTS, Outcomes, UnpairedComparison
from waypoint_lab.rollout.analysis import Compared, StepDecision, Thresholds, decide
from waypoint_lab.rollout.latency import LEAST_BASELINE, P99, P99Ratio, answered, finite, slower

TEXTS = {"tries": "failed", "answers": "were answered with a failure", "p99": "were too slow", "p99 ratio": "were slow"}


@dataclass(frozen=True)
class BaselineBefore:
    """The baseline's requests at an earlier step, for a step that sends it none.

    Attributes:
        tries: Tries and failed ones.
        answers: Answers and failed ones, by access logs.
        p99_seconds: The 99th percentile of the answers; None where it is not known.
        slower: Requests, and those that took longer than `p99_seconds`, or got no answer.
    """

    tries: Outcomes
    answers: Outcomes = NO_REQUESTS
    p99_seconds: float | None = None
    slower: Outcomes = NO_REQUESTS

    @classmethod
    def read(cls, evidence: Mapping[str, Any]) -> "BaselineBefore":
        """Return the baseline of the evidence of a step, as `TrafficEvidence.document` has it."""
        answers, latency = evidence.get("answers"), evidence.get("latency", {}).get("baseline", {})
        known = "slower" in latency
        return cls(
            Outcomes(evidence["requests"]["baseline"], evidence["failed"]["baseline"]),
            Outcomes(*answers["baseline"]) if answers else NO_REQUESTS,
            float(latency["p99"]) if known else None,
            Outcomes(*latency["slower"]) if known else NO_REQUESTS,
        )


class TrafficEvidence:
    """Evidence of one step: sequential comparisons of canary and baseline, all of which must be healthy.

    Tries are compared always. Where access logs are on, answers are compared as well, and latencies where a limit is
    set: the share of the canary's answers beyond the limit with one percent, and the share beyond `p99_ratio` times the
    baseline's p99 with the share of the baseline's answers beyond its own p99. The comparisons share the probability
    that a healthy canary is rolled back.
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
        self.latencies: dict[str, Counter[float]] = {role: Counter() for role in ROLES}
        p99 = self.before.p99_seconds if self.before else None
        self._p99_ratio = (
            P99Ratio(self.comparisons["p99 ratio"], thresholds.p99_ratio, None if p99 is None else 1000 * p99)
            if "p99 ratio" in names
            else None
        )

    def _comparison(self, name: str, among: int) -> UnpairedComparison:
        limits = self.thresholds
        healthy, bad = limits.healthy_rolled_back / among, limits.bad_promoted
        margin = limits.latency_margin if name in ("p99", "p99 ratio") else limits.margin
        if name == "p99":
            return UnpairedComparison(margin, healthy, bad, Interval(1 - P99, 1 - P99))
        if self.weight < 100:
            return UnpairedComparison(margin, healthy, bad)
        known = NO_REQUESTS
        if self.before:
            known = {"tries": self.before.tries, "answers": self.before.answers, "p99 ratio": self.before.slower}[name]
        if not known.requests:
            # Nothing is known of the baseline, except that it may fail as often as the minimum allows.
            return UnpairedComparison(margin, healthy, bad, Interval(0.0, 1 - limits.min_success))
        reference = binomial_interval(known.failed, known.requests, 1 - min(healthy, bad))
        return UnpairedComparison(margin, healthy / 2, bad / 2, reference)

    def add(self, block: TrafficBlock) -> None:
        """Add the requests of one interval."""
        self.comparisons["tries"].add(*(block.tries[role] for role in ROLES))
        if block.logged is None:
            return
        canary, baseline = (block.logged[role] for role in ROLES)
        for role in ROLES:
            self.statuses[role].update(f"{one.status // 100}xx" for one in block.logged[role])
            self.latencies[role].update(answered(block.logged[role]))
        if answers := self.comparisons.get("answers"):
            answers.add(_failed(canary), _failed(baseline))
        if p99 := self.comparisons.get("p99"):
            p99.add(slower(answered(canary), 1000 * self.thresholds.latency_limit_seconds), NO_REQUESTS)
        if self._p99_ratio:
            self._p99_ratio.add(answered(canary), answered(baseline))

    def decide(self, elapsed_seconds: float) -> tuple[StepDecision, str] | None:
        """Decide the step.

        Args:
            elapsed_seconds: Seconds since the measurement began.

        Returns:
            The decision and its reason in one line; None while more has to be measured.
        """
        compared = [
            Compared(one, self._line(name), self._missing(name, elapsed_seconds))
            for name, one in self.comparisons.items()
        ]
        canary = self.comparisons["tries"].canary
        noun = "requests to the canary"
        return decide(self.thresholds, compared, elapsed_seconds, canary.requests, canary.failed, noun)

    def _line(self, name: str) -> str:
        one = self.comparisons[name]
        line = f"{one.canary.failed} of {one.canary.requests} requests of users to the canary {TEXTS[name]}"
        if one.reference:
            return f"{line}, where the baseline is taken to have {one.reference.low:.2%} to {one.reference.high:.2%}"
        return f"{line}, {one.baseline.failed} of {one.baseline.requests} to the baseline"

    def _missing(self, name: str, elapsed_seconds: float) -> str:
        one = self.comparisons[name]
        if name == "p99 ratio" and self.weight == 100 and (self.before is None or self.before.p99_seconds is None):
            return "the baseline's p99 is not known, as it gets no requests; add a step below 100 %"
        few = f"too few in {elapsed_seconds:.0f} s, which is not a pass"
        if name == "p99 ratio" and self._p99_ratio and self._p99_ratio.p99 is None:
            return f"{few}; {LEAST_BASELINE} answers of the baseline are needed first"
        tries = self.comparisons["tries"]
        seen = tries.baseline.requests / (tries.canary.requests or 1)
        needed = one.needed((100 - self.weight) / self.weight if self.weight else seen)
        if needed >= MOST_REQUESTS:
            return f"{few}; requests to the baseline are needed, too, or a larger margin"
        return f"{few}; about {needed} to the canary are needed if it is healthy"

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
                    "margin": one.margin,
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
                role: {
                    **{name: round(milliseconds / 1000, 6) for name, milliseconds in quantiles(known).items()},
                    "slower": list(slower(self.latencies[role], quantile(known, P99))),
                }
                for role in ROLES
                if (known := finite(self.latencies[role]))
            }
        return found


def _failed(requests: list[LoggedRequest]) -> Outcomes:
    return Outcomes(len(requests), sum(one.failed for one in requests))
