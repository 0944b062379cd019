"""Tests of the difference between two counts, exact for independent requests.

Counts may be divided by their dispersion before, so they need not be whole numbers.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from waypoint_lab.measure import beta

_MOST_REQUESTS = 10_000_000


def fewer(before: float, after: float, ratio: float) -> float:
    """Return the probability of `after` or fewer requests if the rate has not fallen below a part of the former rate.

    Given the sum of two Poisson counts, each is binomial, whatever the rate is.

    Args:
        before: Requests before, above 0.
        after: Requests after.
        ratio: Expected requests after, in parts of those before: the part of the rate times the ratio of the times.

    Source: Przyborowski and Wilenski, "Homogeneity of results in testing samples from Poisson series" (1940).
    """
    return beta.probability(1 / (1 + ratio), before, after + 1)


def fewer_needed(tail: float, ratio: float) -> int:
    """Return the requests before that no request after needs for a probability of `tail`; arguments as in `fewer`."""
    return math.ceil(math.log(1 / tail) / math.log1p(ratio))


def apart(before: Sequence[float], after: Sequence[float], ratio: float) -> float:
    """Return the probability that all values after are below a part of all values before, if their order is by chance.

    Args:
        before: Rates of the intervals before.
        after: Rates of the intervals after.
        ratio: The part, 0 to 1.

    Returns:
        The probability, whatever the distribution of the rates is; 1 where the values are not apart, or none is after.

    Source: Fisher, "The Design of Experiments" (1935), section 21 (randomization test).
    """
    if not after or not max(after) < ratio * min(before):
        return 1.0
    return 1 / math.comb(len(before) + len(after), len(after))


def least_rise(before: tuple[float, float], after: tuple[float, float], tail: float) -> float:
    """Return the lower limit of the difference of two shares, the second minus the first.

    Each share has its exact limit; the distances of the limits from the shares add up as squares do.

    Args:
        before: Hits and trials; no trials mean a share of 0 without doubt.
        after: Hits and trials, above 0.
        tail: Probability that the true difference is below the limit.

    Source: Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10 with
    the limits of Clopper and Pearson (1934).
    """
    share, former = after[0] / after[1], before[0] / before[1] if before[1] else 0.0
    distance = _most(*before, tail) - former if before[1] else 0.0
    return share - former - math.hypot(share - _least(*after, tail), distance)


def most_distance(before: float, after: float, tail: float) -> float:
    """Return a distance of `least_rise` from the difference that is exceeded for no shares, at once.

    Args:
        before: Trials before; 0 as in `least_rise`.
        after: Trials after, above 0.
        tail: As in `least_rise`.

    Source: Hoeffding, "Probability inequalities for sums of bounded random variables" (1963).
    """
    both = sum(1 / trials for trials in (before, after) if trials)
    return math.sqrt(math.log(1 / tail) / 2 * both)


def _least(hits: float, trials: float, tail: float) -> float:
    if hits <= 0:
        return 0.0
    return float(tail ** (1 / trials)) if hits >= trials else beta.quantile(tail, hits, trials - hits + 1)


def _most(hits: float, trials: float, tail: float) -> float:
    return 1.0 - _least(trials - hits, trials, tail)


def trials_needed(share: float, change: float, tail: float, beyond: float) -> int:
    """Return the requests before, and as many after, that show a change of a share.

    Args:
        share: The share before.
        change: The change; positive or negative.
        tail: As in `least_rise`.
        beyond: The difference that is exceeded, 0 or more.

    Returns:
        The number; 0 where no number shows it, because the change is not beyond the difference.
    """
    if abs(change) <= beyond:
        return 0
    now = min(1.0, max(0.0, share + change))
    low, high = (share, now) if change > 0 else (now, share)
    trials = 1
    while least_rise((low * trials, trials), (high * trials, trials), tail) <= beyond and trials < _MOST_REQUESTS:
        trials *= 2
    between = range(trials // 2 + 1, trials)
    shown = bisect_left(between, True, key=lambda n: least_rise((low * n, n), (high * n, n), tail) > beyond)
    return between.start + shown
