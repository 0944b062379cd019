"""Probabilities and limits of the comparisons of two observations."""

import pytest

from waypoint_lab.guard import significance


@pytest.mark.parametrize(
    ("after", "probability"), [([1.0, 2.0], 0.1), ([1.0, 9.0], 1.0), ([], 1.0)], ids=["apart", "one is not", "none"]
)
def test_apart_needs_all_intervals_after_below_those_before(after: list[float], probability: float) -> None:
    assert significance.apart([8.0, 6.0, 7.0], after, 0.5) == probability


def test_least_rise_is_below_the_difference_of_the_shares() -> None:
    assert significance.least_rise((100, 1000), (300, 1000), 0.01) == pytest.approx(0.16, abs=0.01)
    assert significance.least_rise((300, 1000), (300, 1000), 0.01) == pytest.approx(-0.05, abs=0.01)
    assert significance.least_rise((0, 0), (300, 1000), 0.01) == pytest.approx(0.27, abs=0.01)
