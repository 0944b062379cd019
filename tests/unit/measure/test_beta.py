"""The beta distribution gives the exact tails that books and sums give."""

import math

import pytest

from waypoint_lab.measure import beta


def tail(successes: int, trials: int, share: float) -> float:
    """Return P(X >= successes) for a binomial X, as a sum."""
    return math.fsum(
        math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes, trials + 1)
    )


@pytest.mark.parametrize(("successes", "trials", "share"), [(1, 1, 0.3), (4, 20, 0.2), (90, 100, 0.5), (3, 900, 0.01)])
def test_probability_of_whole_numbers_is_the_binomial_tail(successes: int, trials: int, share: float) -> None:
    assert tail(successes, trials, share) == pytest.approx(
        beta.probability(share, successes, trials - successes + 1), rel=1e-11
    )


@pytest.mark.parametrize(("x", "expected"), [(-1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (2.0, 1.0)])
def test_probability_outside_the_range_is_none_or_all(x: float, expected: float) -> None:
    assert expected == beta.probability(x, 2, 3)


@pytest.mark.parametrize("p", [1e-6, 0.0005, 0.1, 0.5, 0.9, 0.9995])
@pytest.mark.parametrize(("a", "b"), [(1, 1), (13.3, 300.2), (300.2, 1), (0.7, 20), (13_000, 30_000)])
def test_quantile_inverts_the_probability(p: float, a: float, b: float) -> None:
    assert p == pytest.approx(beta.probability(beta.quantile(p, a, b), a, b), rel=1e-6)


@pytest.mark.parametrize(("p", "freedom", "expected"), [(0.025, 10, 2.228139), (0.0005, 29, 3.6594), (0.25, 1, 1.0)])
def test_student_quantile_equals_the_tables(p: float, freedom: float, expected: float) -> None:
    assert expected == pytest.approx(beta.student_quantile(p, freedom), rel=1e-5)
