"""Exact intervals of shares and quantiles: a verdict never depends on a normal approximation.

Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial" (1934);
for quantiles, David and Nagaraja, "Order Statistics", section 7.1.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from waypoint_lab.measure import beta

QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True)
class Interval:
    """A closed range of shares, 0 to 1."""

    low: float
    high: float

    def holds(self, share: float) -> bool:
        """Return True if `share` (0 to 1) is inside."""
        return self.low <= share <= self.high


def _tail(successes: int, trials: int, share: float) -> float:
    """Return P(X >= successes) for a binomial X."""
    if successes <= 0 or successes > trials:
        return float(successes <= 0)
    return beta.probability(share, successes, trials - successes + 1)


def binomial_interval(successes: float, trials: float, confidence: float = 0.99) -> Interval:
    """Return the exact (Clopper-Pearson) interval of a measured share.

    Args:
        successes: Number of hits; not a whole one where a count stands for a smaller one of independent requests.
        trials: Number of requests, at least 1.
        confidence: Between 0 and 1, both excluded.

    Raises:
        ValueError: There is no data, which has no interval and must never pass; or a number is out of range.
    """
    if trials < 1:
        raise ValueError("no data: an interval needs at least one request")
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be 0 to {trials}, not {successes}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
    half = (1 - confidence) / 2
    low = 0.0 if successes == 0 else beta.quantile(half, successes, trials - successes + 1)
    high = 1.0 if successes == trials else beta.quantile(1 - half, successes + 1, trials - successes)
    return Interval(low, high)


def median_interval(values: Sequence[float], confidence: float = 0.99) -> Interval:
    """Return the distribution-free interval of a median: the whole range of `values` if they are too few.

    Args:
        values: At least one, in any order.
        confidence: Between 0 and 1, both excluded.

    Raises:
        ValueError: There is no data.
    """
    found = quantile_interval(values, 0.5, confidence)
    return Interval(max(found.low, min(values)), min(found.high, max(values)))


def quantile_interval(values: Sequence[float], quantile: float, confidence: float = 0.99) -> Interval:
    """Return the distribution-free interval of a quantile, between two of the measured values.

    Args:
        values: At least one, in any order.
        quantile: Between 0 and 1.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The interval; an end is 0 or infinite if the sample is too small to bound the quantile there.

    Raises:
        ValueError: There is no data.
    """
    if not values:
        raise ValueError("no data: an interval needs at least one request")
    ordered, count = sorted(values), len(values)
    half = (1 - confidence) / 2
    ranks = range(1, count + 1)
    below = bisect_left(ranks, True, key=lambda rank: 1 - _tail(rank, count, quantile) > half)
    above = bisect_left(ranks, True, key=lambda rank: _tail(rank, count, quantile) <= half) + 1
    return Interval(ordered[below - 1] if below else 0.0, ordered[above - 1] if above <= count else math.inf)


def quantiles(values: Iterable[float] | Mapping[float, int]) -> dict[str, float]:
    """Return the measured quantiles of values, or of numbers of each value, by name such as `p99`; empty without."""
    return {f"p{100 * one:g}": round(value, 6) for one, value in _at(values, QUANTILES).items()}


def quantile(values: Iterable[float] | Mapping[float, int], share: float) -> float:
    """Return the measured quantile (0 to 1) of values, or of numbers of each value; there is at least one."""
    return _at(values, (share,))[share]


def _at(values: Iterable[float] | Mapping[float, int], shares: Sequence[float]) -> dict[float, float]:
    counts = Counter(values)
    ordered = sorted(counts)
    ranks = list(accumulate(counts[value] for value in ordered))  # of the last of each value
    return {one: ordered[bisect_left(ranks, max(1, math.ceil(one * ranks[-1])))] for one in shares if ranks}
