"""Compare the failure rates of a canary and its baseline by a sequential test on pairs of answers.

A pair is one request to the canary and one to the baseline at the same time. D is 1 if only the canary failed, -1 if
only the baseline did, else 0. Two bets are placed on D, and their gains are the evidence:

- against "the canary fails no more often" (mean of D at most 0): the product of 1 + b·D over all pairs;
- against "it fails more often by the margin m or more" (mean at least m): the product of 1 - b·(D - m).

A bet against a true statement does not gain on average, so it ever reaches 1/a with a probability of at most a (Ville's
inequality). This holds for every failure rate that the two may share, at any number of pairs and any time of stopping.
Each product is the mean over several stakes b, which keeps that property.

Source: Ville, "Etude critique de la notion
de collectif" (1939); Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024).
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum

# Small stakes for high failure rates, the large one for low rates; below 1, so that no pair can lose all.
STAKES = (0.1, 0.3, 0.9)


class Decision(StrEnum):
    """The result of the test so far."""

    OPEN = "open"
    HEALTHY = "healthy"  # it does not fail more often by the margin
    BAD = "bad"  # it fails more often


def mean(logs: list[float]) -> float:
    """Return the logarithm of the mean of numbers, which are given as logarithms."""
    top = max(logs)
    return top + math.log(sum([math.exp(item - top) for item in logs]) / len(logs))


@dataclass
class SequentialTest:
    """A test whose evidence grows with each observation. "Bad" is final; a healthy canary can still become bad.

    Args:
        margin: Difference of failure rates that must not be promoted; between 0 and 1, both excluded.
        healthy_found_bad: Greatest probability that a canary is ever found bad which fails no more often than the
            baseline; between 0 and 1, both excluded.
        bad_found_healthy: Greatest probability that a canary is ever found healthy which fails more often by the margin
            or more; between 0 and 1, both excluded.

    Raises:
        ValueError: A number is out of its range.
    """

    margin: float
    healthy_found_bad: float
    bad_found_healthy: float
    decision: Decision = field(default=Decision.OPEN, init=False)

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("margin", "healthy_found_bad", "bad_found_healthy"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        self._bad_from = -math.log(self.healthy_found_bad)
        self._healthy_from = -math.log(self.bad_found_healthy)

    def _logs(self) -> tuple[float, float]:
        """Return the logarithms of the evidence against "healthy" and against "bad"."""
        raise NotImplementedError

    @property
    def against_healthy(self) -> float:
        """Evidence that the canary fails more often, from 1 at the start."""
        return math.exp(min(self._logs()[0], 700.0))

    @property
    def against_bad(self) -> float:
        """Evidence that the canary does not fail more often by the margin, from 1 at the start."""
        return math.exp(min(self._logs()[1], 700.0))

    def _decide(self) -> Decision:
        """Decide by the evidence so far."""
        if self.decision is not Decision.BAD:
            against_healthy, against_bad = self._logs()
            if against_healthy >= self._bad_from:
                self.decision = Decision.BAD
            elif against_bad >= self._healthy_from:
                self.decision = Decision.HEALTHY
        return self.decision


@dataclass
class Comparison(SequentialTest):
    """The evidence of pairs so far."""

    pairs: int = 0
    worse: int = 0
    better: int = 0

    def __post_init__(self) -> None:
        """Compute each stake's gain for each kind of pair."""
        super().__post_init__()
        margin = self.margin
        self._for_bad = [(math.log1p(b), math.log1p(-b), 0.0) for b in STAKES]
        self._for_healthy = [
            (math.log1p(-b * (1 - margin)), math.log1p(b * (1 + margin)), math.log1p(b * margin)) for b in STAKES
        ]

    def _logs(self) -> tuple[float, float]:
        return self._evidence(self._for_bad), self._evidence(self._for_healthy)

    def _evidence(self, gains: list[tuple[float, float, float]]) -> float:
        same = self.pairs - self.worse - self.better
        return mean([self.worse * up + self.better * down + same * even for up, down, even in gains])

    def add(self, *, canary_failed: bool, baseline_failed: bool) -> Decision:
        """Add one pair. Return the decision so far."""
        if canary_failed == baseline_failed:
            return self.add_same(1)
        self.pairs += 1
        self.worse += canary_failed
        self.better += baseline_failed
        return self._decide()

    def add_same(self, pairs: int) -> Decision:
        """Add pairs with the same result on both sides. Return the decision so far."""
        self.pairs += pairs
        return self._decide()
