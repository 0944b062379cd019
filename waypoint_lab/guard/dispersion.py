"""The variance of counts of requests, beyond that of independent requests.

Users' requests come in bursts and in sequences, so counts vary more than Poisson and binomial counts do. The ratio of
the two variances is the dispersion; n requests with a dispersion of d tell as much as n / d independent ones.
It is estimated from counts of consecutive intervals, and is 1 at least.

Source: McCullagh and Nelder, "Generalized Linear Models", section 4.5 (Pearson's statistic over its degrees of
freedom); for intervals that depend on each other, Bayley and Hammersley, "The effective number of independent
observations in an autocorrelated time series" (1946).
"""

import functools
import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

from waypoint_lab.measure import beta

_MOST_CORRELATED = 0.8


def of_rate(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the dispersion of a rate.

    Args:
        counts: Requests in each interval.
        seconds: Length of each interval.
    """
    rate = sum(counts) / sum(seconds)
    return _dispersion(
        [(count - rate * time) / math.sqrt(rate * time) for count, time in zip(counts, seconds, strict=True) if rate]
    )


def of_share(hits: Sequence[int], totals: Sequence[int]) -> float:
    """Return the dispersion of a share.

    Args:
        hits: Requests in each interval that count for the share.
        totals: All requests in each interval.
    """
    share = sum(hits) / max(1, sum(totals))
    if not 0 < share < 1:
        return 1.0
    pairs = [(hit, total) for hit, total in zip(hits, totals, strict=True) if total]
    return _dispersion([(hit - total * share) / math.sqrt(total * share * (1 - share)) for hit, total in pairs])


def _dispersion(residuals: Sequence[float]) -> float:
    """Return the dispersion by standardized residuals, larger where neighbours are alike."""
    squares = math.fsum(item * item for item in residuals)
    if len(residuals) < 2 or not squares:
        return 1.0
    alike = math.fsum(one * other for one, other in itertools.pairwise(residuals)) / squares
    correlation = min(max(alike, 0.0), _MOST_CORRELATED)
    return max(1.0, squares / (len(residuals) - 1) * (1 + correlation) / (1 - correlation))


@functools.cache
def allowance(tail: float, intervals: int) -> float:
    """Return the factor for a dispersion that is estimated from few intervals.

    Student's distribution has longer tails than the normal one, by which the exact tests would take the estimate for
    the truth.

    Args:
        tail: Probability of the tail that a test uses, 0 to 0.5.
        intervals: Number of intervals, at least 2.
    """
    return (beta.student_quantile(tail, intervals - 1) / NormalDist().inv_cdf(1 - tail)) ** 2
