"""The dispersion of counts is 1 for independent requests, and more for bursts."""

import random

import pytest

from tests.statistics.guard_traffic import poisson
from waypoint_lab.guard import dispersion


def test_even_counts_have_the_least_dispersion() -> None:
    assert dispersion.of_rate([10] * 30, [1.0] * 30) == 1.0


def test_longer_interval_has_more_requests_without_dispersion() -> None:
    assert dispersion.of_rate([10, 20, 10, 20], [1.0, 2.0, 1.0, 2.0]) == 1.0


def test_dispersion_without_requests_is_1() -> None:
    assert (dispersion.of_rate([0, 0], [1.0, 1.0]), dispersion.of_share([0, 0], [0, 0])) == (1.0, 1.0)


def test_bursts_have_their_variance() -> None:
    assert pytest.approx(60 * 30 / 30, rel=0.1) == dispersion.of_rate([60] + [0] * 29, [1.0] * 30)


def test_independent_requests_have_little_dispersion() -> None:
    random_ = random.Random(3)
    found = [dispersion.of_rate([poisson(random_, 8) for _ in range(30)], [1.0] * 30) for _ in range(200)]
    assert 1.0 <= sum(found) / len(found) < 1.7


def test_neighbours_that_are_alike_raise_the_dispersion() -> None:
    mixed, sorted_ = [5, 15] * 15, [5] * 15 + [15] * 15
    assert dispersion.of_rate(sorted_, [1.0] * 30) > 5 * dispersion.of_rate(mixed, [1.0] * 30)


def test_share_that_changes_with_time_has_a_dispersion() -> None:
    assert dispersion.of_share([0, 20] * 10, [20] * 20) > 15


def test_allowance_shrinks_with_the_intervals() -> None:
    assert 1.0 < dispersion.allowance(0.001, 300) < 1.05 < dispersion.allowance(0.001, 10)
