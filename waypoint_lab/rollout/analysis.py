"""The analysis of one canary step: its evidence, and the decision that the evidence allows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from waypoint_lab.config.traffic_models import GateSettings
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.gate import share_of
from waypoint_lab.measure.sequential import Comparison, Decision, SequentialTest
from waypoint_lab.measure.statistics import quantiles

CANARY, BASELINE, ROUTE = range(3)  # positions of the answers in a round
BACKENDS = ("canary", "baseline", "route")
LATENCY_DIGITS = 4  # of the seconds that are kept, so that a long step does not take longer to document


class StepDecision(StrEnum):
    """The action that follows a step."""

    PROMOTE = "promote"
    PAUSE = "pause"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Thresholds:
    """Limits that an analysis compares the evidence with.

    Attributes:
        margin: Difference of failure rates between canary and baseline that must not be promoted, above 0, below 1.
        bad_promoted: Probability, at most, that a canary beyond the margin is promoted, above 0, below 1.
        healthy_rolled_back: Probability, at most, that a healthy canary is rolled back at this step.
        min_success: Share of the canary's requests that must succeed, 0 to 1, whatever the baseline does.
        latency_limit_seconds: An answer that takes longer counts as failed; 0 means no limit.
        p99_ratio: Most times of the baseline's p99 that the canary's p99 may have; 0 means no limit.
        latency_margin: Share of slow requests beyond 1 % that must not be promoted, above 0, below 1.
        min_seconds: Seconds that a step is measured in any case.
        min_rounds: Rounds, or requests to the canary, that a step is measured in any case.
        limit_seconds: Seconds after which an inconclusive analysis pauses the promotion.
    """

    margin: float
    bad_promoted: float
    healthy_rolled_back: float
    min_success: float = 0.9
    latency_limit_seconds: float = 0.0
    p99_ratio: float = 0.0
    latency_margin: float = 0.005
    min_seconds: float = 0.0
    min_rounds: int = 0
    limit_seconds: float = 120.0

    def with_gate(self, gate: GateSettings) -> "Thresholds":
        """Return the limits with those of a gate."""
        return replace(
            self,
            min_success=share_of(gate.success_rate) if gate.success_rate else self.min_success,
            latency_limit_seconds=gate.p99_seconds or self.latency_limit_seconds,
            p99_ratio=gate.p99_ratio or self.p99_ratio,
            latency_margin=gate.latency_margin / 100,
        )


@dataclass(frozen=True)
class Compared:
    """A comparison of a step, and its texts.

    Attributes:
        test: The comparison.
        figures: The figures that it rests on.
        open: Text that follows the figures while it is open and the time is over.
    """

    test: SequentialTest
    figures: str
    open: str


def decide(
    limits: Thresholds, compared: Sequence[Compared], elapsed_seconds: float, requests: int, failed: int, noun: str
) -> tuple[StepDecision, str] | None:
    """Decide a step by comparisons that must all be healthy.

    Args:
        limits: Limits of the analysis.
        compared: The comparisons; the first one has the figures of the canary's failures.
        elapsed_seconds: Seconds since the measurement began.
        requests: Requests to the canary.
        failed: Requests of them that failed.
        noun: Name of the requests in a reason.

    Returns:
        The decision and its reason in one line; None while more has to be measured.
    """
    for one in compared:
        if one.test.decision is Decision.BAD:
            why = f"{one.figures}: evidence {odds(one.test.against_healthy)} that more do"
            return StepDecision.ROLL_BACK, why
    expired = elapsed_seconds >= limits.limit_seconds
    if elapsed_seconds < limits.min_seconds or requests < limits.min_rounds:
        why = f"only {requests} of {limits.min_rounds} {noun} in {elapsed_seconds:.0f} s"
        return (StepDecision.PAUSE, why) if expired else None
    for one in compared:
        if one.test.decision is not Decision.HEALTHY:
            return (StepDecision.PAUSE, f"{one.figures}: {one.open}") if expired else None
    success = (requests - failed) / requests  # rounded once, as the minimum is
    if success < limits.min_success:
        why = f"{compared[0].figures}: {success:.1%} succeed, below the minimum of {limits.min_success:.1%}"
        return StepDecision.PAUSE, why
    least = min(compared, key=lambda one: one.test.against_bad)
    return (
        StepDecision.PROMOTE,
        f"{least.figures}: evidence {odds(least.test.against_bad)} against {least.test.margin:.1%} more",
    )


@dataclass
class ProbeEvidence:
    """Evidence of one step by the probe: two sequential comparisons with the baseline.

    The first compares the canary's own Service, so that a weight of 0.1 % is decided as fast as one of 50 %. The second
    compares the route that users call, and sees failures that only the route has. The two share the probability that a
    healthy canary is rolled back.

    Attributes:
        thresholds: Limits of the analysis.
        identity: Value of an answer by the canary, to measure its share; empty means that the share is not measured.
        to_canary: Answers of the canary to requests of the route.
    """

    thresholds: Thresholds
    identity: str = ""
    to_canary: int = 0
    rounds: int = 0
    failed: list[int] = field(default_factory=lambda: [0, 0, 0])
    first_failure: float | None = None
    last: float = 0.0
    latencies: list[Counter[float]] = field(default_factory=lambda: [Counter(), Counter(), Counter()])

    def __post_init__(self) -> None:
        """Start both comparisons."""
        limits = self.thresholds
        half = limits.healthy_rolled_back / 2
        self.canary = Comparison(limits.margin, half, limits.bad_promoted)
        self.route = Comparison(limits.margin, half, limits.bad_promoted)

    def is_failure(self, answer: Answer) -> bool:
        """Return True for no answer, a status that does not count as success, or an answer beyond the latency limit."""
        limit = self.thresholds.latency_limit_seconds
        return not answer.succeeded or (limit > 0 and answer.seconds > limit)

    def add(self, answers: Sequence[Answer]) -> None:
        """Add one round of answers: canary, baseline, route."""
        failed = [self.is_failure(answer) for answer in answers]
        self.rounds += 1
        self.last = answers[CANARY].at
        for backend, bad in enumerate(failed):
            self.failed[backend] += bad
            if answers[backend].status:
                self.latencies[backend][round(answers[backend].seconds, LATENCY_DIGITS)] += 1
        self.to_canary += bool(self.identity) and answers[ROUTE].identity == self.identity
        if failed[CANARY] and self.first_failure is None:
            self.first_failure = answers[CANARY].at
        self.canary.add(canary_failed=failed[CANARY], baseline_failed=failed[BASELINE])
        self.route.add(canary_failed=failed[ROUTE], baseline_failed=failed[BASELINE])

    def decide(self, elapsed_seconds: float) -> tuple[StepDecision, str] | None:
        """Decide the step.

        Args:
            elapsed_seconds: Seconds since the measurement began.

        Returns:
            The decision and its reason in one line; None while more has to be measured.
        """
        inconclusive = f"inconclusive after {elapsed_seconds:.0f} s, which is not a pass"
        compared = [
            Compared(self.canary, self._failures(CANARY), inconclusive),
            Compared(self.route, self._failures(ROUTE), inconclusive),
        ]
        return decide(self.thresholds, compared, elapsed_seconds, self.rounds, self.failed[CANARY], "requests")

    def _failures(self, backend: int) -> str:
        source = "of the canary" if backend == CANARY else "through the route"
        return (
            f"{self.failed[backend]} of {self.rounds} requests {source} failed, "
            f"{self.failed[BASELINE]} of as many of the baseline"
        )

    def document(self) -> dict[str, Any]:
        """Return the evidence as the journal keeps it."""
        return {
            "requests": dict.fromkeys(BACKENDS, self.rounds),
            "failed": dict(zip(BACKENDS, self.failed, strict=True)),
            "margin": self.thresholds.margin,
            "healthy_rolled_back": self.thresholds.healthy_rolled_back,
            "bad_promoted": self.thresholds.bad_promoted,
            "canary": _document(self.canary),
            "route": _document(self.route),
            "first_failure": self.first_failure,
            "last": self.last,
            "share": {"requests": self.rounds, "canary": self.to_canary} if self.identity else None,
            "latency": {name: quantiles(values) for name, values in zip(BACKENDS, self.latencies, strict=True)},
        }


def odds(evidence: float) -> str:
    """Return evidence as text."""
    return f"{evidence:.0f} to 1" if evidence < 1e6 else "of more than a million to 1"


def _document(comparison: Comparison) -> dict[str, Any]:
    return {
        "decision": str(comparison.decision),
        "worse": comparison.worse,
        "better": comparison.better,
        "against_healthy": round(comparison.against_healthy, 3),
        "against_bad": round(comparison.against_bad, 3),
    }
