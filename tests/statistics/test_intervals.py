"""Confidence intervals of shares, medians and quantiles."""

import math
import random

import pytest

from waypoint_lab.measure.statistics import Interval, binomial_interval, median_interval, quantile_interval


def test_binomial_interval_equals_the_published_limits() -> None:
    # 4 of 20 at 95 %: the textbook Clopper-Pearson limits.
    interval = binomial_interval(4, 20, 0.95)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0573, 0.4366)


def test_binomial_interval_without_success_equals_the_closed_form() -> None:
    interval = binomial_interval(0, 100, 0.95)
    assert interval.low == 0.0
    assert pytest.approx(1 - 0.025 ** (1 / 100), rel=1e-9) == interval.high


def test_binomial_interval_of_successes_only_ends_at_one() -> None:
    assert binomial_interval(50, 50).high == 1.0


def test_binomial_interval_2000_requests_separate_20_from_25_percent() -> None:
    assert not binomial_interval(400, 2000).holds(0.25)
    assert not binomial_interval(500, 2000).holds(0.20)


def test_binomial_interval_without_data_raises() -> None:
    with pytest.raises(ValueError, match="no data"):
        binomial_interval(0, 0)


@pytest.mark.parametrize(("successes", "confidence"), [(-1, 0.9), (11, 0.9), (5, 0.0), (5, 1.0)])
def test_binomial_interval_impossible_sample_raises(successes: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        binomial_interval(successes, 10, confidence)


def test_binomial_interval_misses_at_most_as_stated() -> None:
    generator = random.Random(7)  # noqa: S311 (a simulation, not a secret)
    misses = 0
    for _ in range(400):
        successes = sum(generator.random() < 0.2 for _ in range(200))
        misses += not binomial_interval(successes, 200, 0.95).holds(0.2)
    assert misses <= 400 * 0.05 + 10


def test_median_interval_has_the_published_ranks() -> None:
    # 95 % of 20 values: from the 6th to the 15th (binomial tables; 1 - 2 P(X <= 5) = 0.9586).
    interval = median_interval([float(value) for value in range(20, 0, -1)], 0.95)
    assert (interval.low, interval.high) == (6.0, 15.0)


def test_median_interval_covers_at_least_as_stated() -> None:
    source = random.Random(7)
    intervals = [median_interval([source.expovariate(1) for _ in range(60)], 0.9) for _ in range(500)]
    assert sum(item.holds(0.6931) for item in intervals) >= 0.87 * len(intervals)


def test_median_interval_of_few_values_spans_all() -> None:
    assert median_interval([2.0, 1.0, 3.0], 0.99) == Interval(1.0, 3.0)
    with pytest.raises(ValueError, match="no data"):
        median_interval([])


def test_quantile_interval_of_one_half_equals_the_median() -> None:
    values = [float(value) for value in range(20, 0, -1)]
    assert quantile_interval(values, 0.5, 0.95) == median_interval(values, 0.95)


def test_quantile_interval_covers_at_least_as_stated() -> None:
    source = random.Random(7)
    intervals = [quantile_interval([source.expovariate(1) for _ in range(600)], 0.95, 0.9) for _ in range(300)]
    assert sum(item.holds(2.9957) for item in intervals) >= 0.87 * len(intervals)


def test_quantile_interval_100_requests_leave_p99_unbounded() -> None:
    interval = quantile_interval([float(value) for value in range(100)], 0.99)
    assert interval.high == math.inf
    assert 0 < interval.low < 99
