"""Compare the failure rates of a canary and its baseline by a sequential test on two unpaired streams of requests.

The requests come in blocks: those of the canary and of the baseline that ended in the same interval, in any numbers.
A block is compared with two null hypotheses about the mean failure rates c and b of its requests:

- against "the canary fails no more often" (c at most b);
- against "it fails more often by the margin m or more" (c at least b + m).

The gain of a block is the likelihood of an alternative, divided by that of the nearest rates that the null hypothesis
allows: "nearest" minimises the Kullback-Leibler divergence of the whole block. Null hypotheses are convex, so the gain
of such a ratio is at most 1 on average under each of them, for every number of requests. Alternatives depend on earlier
blocks only, and a small part of the evidence is not bet. So the product of the gains, the evidence, ever reaches 1/a
with a probability of at most a (Ville's inequality): at any time of looking and stopping, for every rate, and for rates
that change from block to block. The gain's logarithm is concave in the rate of each request, so rates may differ
between the requests of a block as well.

Assumptions: given the past, the requests of one block fail independently, and how many there are says nothing about
how many fail. A null hypothesis is taken to hold in each block.

Without requests to the baseline (at a weight of 100 %), an interval of its rate from before takes its place.

Source: Turner, Ly and Gruenwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping" (2024); Turner and Gruenwald, "Exact anytime-valid confidence intervals for contingency tables and beyond"
(2023).
"""

import bisect
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from waypoint_lab.measure.sequential import Decision, SequentialTest, mean
from waypoint_lab.measure.statistics import Interval

# Differences of an alternative from the baseline's rate: small ones for high rates, large ones for low rates.
DIFFERENCES = (0.02, 0.06, 0.2, 0.9)
RATES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HIGHEST = 0.999
KEPT = 0.01  # part of the evidence that no block can cost, so that one unlikely block does not decide
PRIOR_FAILURES, PRIOR_REQUESTS = 0.05, 10.0  # so that a rate is taken for 0.5 % before the first block
EXPECTED_FAILURES = 3.0  # of a canary that fails like the baseline, before it may be taken to fail less often
STEPS = 40  # of a bisection
MOST_REQUESTS = 10**9


class Outcomes(NamedTuple):
    """Requests that have ended, and those of them that failed."""

    requests: int = 0
    failed: int = 0

    def plus(self, other: "Outcomes") -> "Outcomes":
        """Return the sum."""
        return Outcomes(self.requests + other.requests, self.failed + other.failed)

    @property
    def rate(self) -> float:
        """Share of failures, 0 to 1, as an alternative takes it: one of RATES."""
        found = (self.failed + PRIOR_FAILURES) / (self.requests + PRIOR_REQUESTS)
        above = bisect.bisect_left(RATES, found)
        near = RATES[max(0, above - 1) : above + 1]
        return min(near, key=lambda rate: abs(math.log(rate / found)))


NO_REQUESTS = Outcomes()


def _gain(outcomes: Outcomes, rate: float, null: float) -> float:
    """Return the logarithm of the ratio of two likelihoods."""
    fine = outcomes.requests - outcomes.failed
    return outcomes.failed * math.log(rate / null) + fine * math.log((1 - rate) / (1 - null))


def _mixed(gain: float) -> float:
    """Return a gain of which a part is kept from the bet."""
    return math.log(KEPT) if gain < -100 else gain + math.log(1 - KEPT + KEPT * math.exp(-gain))


@lru_cache(maxsize=4096)
def _nearest(sizes: tuple[int, int], rates: tuple[float, float], margin: float) -> float:
    """Return the baseline's rate of the nearest null hypothesis, where the canary's rate is `margin` above it.

    Args:
        sizes: Requests to the canary and to the baseline.
        rates: Rates of canary and baseline in the alternative.
        margin: Difference of the rates in the null hypothesis.
    """
    (canary, baseline), (canary_rate, rate) = sizes, rates
    low, high = max(0.0, canary_rate - margin), min(rate, 1 - margin)
    for _ in range(STEPS):
        b = (low + high) / 2
        c = b + margin
        slope = canary * (c - canary_rate) / (c * (1 - c)) + baseline * (b - rate) / (b * (1 - b))
        low, high = (b, high) if slope < 0 else (low, b)
    return (low + high) / 2


@dataclass
class UnpairedComparison(SequentialTest):
    """The evidence of blocks so far.

    Args:
        reference: Rates that the baseline may have, in place of its requests; None where it has requests.
    """

    reference: Interval | None = None
    canary: Outcomes = NO_REQUESTS
    baseline: Outcomes = NO_REQUESTS
    _bad: list[float] = field(default_factory=lambda: [0.0] * len(DIFFERENCES))
    _healthy: float = 0.0

    def _logs(self) -> tuple[float, float]:
        return mean(self._bad), self._healthy

    def add(self, canary: Outcomes, baseline: Outcomes) -> Decision:
        """Add one block. Return the decision so far."""
        if self.reference:
            self._add_alone(canary, self.reference)
        else:
            self._add_both(canary, baseline)
        self.canary, self.baseline = self.canary.plus(canary), self.baseline.plus(baseline)
        return self._decide()

    def _add_both(self, canary: Outcomes, baseline: Outcomes) -> None:
        if canary.requests and baseline.requests:
            b, total = self.baseline.rate, canary.requests + baseline.requests
            for number, difference in enumerate(DIFFERENCES):
                c = min(b + difference, HIGHEST)
                null = (canary.requests * c + baseline.requests * b) / total
                self._bad[number] += _mixed(_gain(canary, c, null) + _gain(baseline, b, null))
        if canary.requests:
            c, b = self._alternative
            null = _nearest((canary.requests, baseline.requests), (c, b), self.margin)
            self._healthy += _mixed(_gain(canary, c, null + self.margin) + _gain(baseline, b, null))

    def _add_alone(self, canary: Outcomes, reference: Interval) -> None:
        highest = min(max(reference.high, RATES[0]), HIGHEST)
        for number, difference in enumerate(DIFFERENCES):
            if highest + difference < 1:
                self._bad[number] += _mixed(_gain(canary, highest + difference, highest))
        if (null := reference.low + self.margin) < 1:
            self._healthy += _mixed(_gain(canary, min(self._shared, null - self.margin / 2), null))

    @property
    def _shared(self) -> float:
        return self.canary.plus(self.baseline).rate

    @property
    def _alternative(self) -> tuple[float, float]:
        """Rates of a healthy canary and of the baseline: one for both, unless the canary clearly fails less often."""
        c, b = self.canary.rate, self.baseline.rate
        clear = self.canary.requests * b >= EXPECTED_FAILURES and c < b / 2
        return (c, b) if clear else (self._shared, self._shared)

    def needed(self, ratio: float) -> int:
        """Return the number of requests to the canary that would show it healthy, if it fails like the baseline.

        Args:
            ratio: Requests to the baseline for each request to the canary.

        Returns:
            The number; MOST_REQUESTS or more where no number shows it.
        """
        block = Outcomes(1000), Outcomes(round(1000 * ratio))
        rates = self._alternative
        b = _nearest((block[0].requests, block[1].requests), rates, self.margin)
        nulls = b + self.margin, b
        if self.reference:
            c = min(self.reference.low + self.margin, HIGHEST)
            rates, nulls, block = (min(self._shared, c - self.margin / 2), b), (c, b), (block[0], Outcomes())
        gain = sum(
            one.requests * (rate * math.log(rate / null) + (1 - rate) * math.log((1 - rate) / (1 - null)))
            for one, rate, null in zip(block, rates, nulls, strict=True)
            if one.requests
        )
        missing = -math.log(self.bad_found_healthy) - self._healthy
        return self.canary.requests + min(MOST_REQUESTS, max(0, math.ceil(1000 * missing / max(gain, 1e-9))))
