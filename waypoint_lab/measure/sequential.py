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
from dataclasses import dataclass
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
class Comparison:
    """The evidence so far. "Bad" is final; a healthy canary can still become bad.

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
    pairs: int = 0
    worse: int = 0
    better: int = 0
    decision: Decision = Decision.OPEN

    def __post_init__(self) -> None:
        """Check the ranges, and compute each stake's gain for each kind of pair."""
        for name in ("margin", "healthy_found_bad", "bad_found_healthy"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        margin = self.margin
        self._for_bad = [(math.log1p(b), math.log1p(-b), 0.0) for b in STAKES]
        self._for_healthy = [
            (math.log1p(-b * (1 - margin)), math.log1p(b * (1 + margin)), math.log1p(b * margin)) for b in STAKES
        ]
        self._bad_from = -math.log(self.healthy_found_bad)
        self._healthy_from = -math.log(self.bad_found_healthy)

    def _evidence(self, gains: list[tuple[float, float, float]]) -> float:
        same = self.pairs - self.worse - self.better
        return mean([self.worse * up + self.better * down + same * even for up, down, even in gains])

    @property
    def against_healthy(self) -> float:
        """Evidence that the canary fails more often: the gain of the bet, from 1 at the start."""
        return math.exp(min(self._evidence(self._for_bad), 700.0))

    @property
    def against_bad(self) -> float:
        """Evidence that the canary does not fail more often by the margin: the gain of the bet, from 1 at the start."""
        return math.exp(min(self._evidence(self._for_healthy), 700.0))

    def add(self, *, canary_failed: bool, baseline_failed: bool) -> Decision:
        """Add one pair. Return the decision so far."""
        if canary_failed == baseline_failed:
            return self.add_same(1)
        self.pairs += 1
        self.worse += canary_failed
        self.better += baseline_failed
        self._decide()
        return self.decision

    def add_same(self, pairs: int) -> Decision:
        """Add pairs with the same result on both sides. Return the decision so far."""
        self.pairs += pairs
        self._decide()
        return self.decision

    def _decide(self) -> None:
        if self.decision is Decision.BAD or self._evidence(self._for_bad) >= self._bad_from:
            self.decision = Decision.BAD
        elif self.decision is Decision.OPEN and self._evidence(self._for_healthy) >= self._healthy_from:
            self.decision = Decision.HEALTHY
