"""Error rates of the unpaired comparison, by 10,000 simulated tests for each kind of canary."""

import bisect
import random
from functools import cache

import pytest

from waypoint_lab.measure.sequential import Decision
from waypoint_lab.measure.statistics import Interval, binomial_interval
from waypoint_lab.measure.unpaired import Outcomes, UnpairedComparison

RUNS = 10_000
MARGIN, ERROR = 0.02, 0.01
ONE_PERCENT, HALF = (40, 3960), (150, 150)  # requests of a block to the canary and to the baseline
BLOCKS = 8
Rates = tuple[float, float]


@cache
def distribution(requests: int, rate: float) -> list[float]:
    """Return the cumulative probabilities of the number of failures."""
    found, one = [], (1 - rate) ** requests
    for failed in range(requests + 1):
        found.append(one + (found[-1] if found else 0.0))
        one *= (requests - failed) / (failed + 1) * rate / (1 - rate)
    return found


def drawn(source: random.Random, requests: int, rate: float) -> Outcomes:
    return Outcomes(requests, bisect.bisect_left(distribution(requests, rate), source.random()))


def simulated(source: random.Random, sizes: tuple[int, int], rates: list[Rates]) -> Decision:
    """Return the decision of one whole test; the rates of the blocks are those of `rates` in turn."""
    test = UnpairedComparison(MARGIN, ERROR, ERROR)
    for number in range(BLOCKS):
        canary, baseline = rates[number % len(rates)]
        if test.add(drawn(source, sizes[0], canary), drawn(source, sizes[1], baseline)) is not Decision.OPEN:
            break
    return test.decision


def share(decision: Decision, sizes: tuple[int, int], *rates: Rates) -> float:
    source = random.Random(f"{sizes} {rates}")
    return sum(simulated(source, sizes, list(rates)) is decision for _ in range(RUNS)) / RUNS


@pytest.mark.parametrize(
    ("sizes", "rates"),
    [
        (ONE_PERCENT, [(0.01, 0.01)]),
        (HALF, [(0.001, 0.001), (0.06, 0.06)]),
    ],
)
def test_comparison_of_healthy_canary_is_bad_at_most_as_stated(sizes: tuple[int, int], rates: list[Rates]) -> None:
    assert share(Decision.BAD, sizes, *rates) <= ERROR


@pytest.mark.parametrize(
    ("sizes", "rates"),
    [
        (ONE_PERCENT, [(0.02, 0.0)]),
        (HALF, [(0.021, 0.001), (0.08, 0.06)]),
    ],
)
def test_comparison_of_bad_canary_is_healthy_at_most_as_stated(sizes: tuple[int, int], rates: list[Rates]) -> None:
    # The simulation has a standard error of 0.1 %.
    assert share(Decision.HEALTHY, sizes, *rates) <= ERROR + 0.001


def test_canary_failing_5_percent_is_bad_at_weight_1() -> None:
    assert share(Decision.BAD, ONE_PERCENT, (0.05, 0.0)) >= 0.99


def test_healthy_canary_is_found_healthy_after_the_needed_requests() -> None:
    test = UnpairedComparison(MARGIN, ERROR, ERROR)
    wanted = test.needed(99.0)
    while test.add(Outcomes(10), Outcomes(990)) is Decision.OPEN:
        assert test.canary.requests <= wanted
    assert test.decision is Decision.HEALTHY
    assert test.needed(99.0) == test.canary.requests


@pytest.mark.parametrize(("canary", "baseline"), [(0, 0), (0, 10**6), (3, 0)])
def test_comparison_without_requests_to_a_backend_is_open(canary: int, baseline: int) -> None:
    test = UnpairedComparison(MARGIN, ERROR, ERROR)
    assert test.add(Outcomes(canary, canary), Outcomes(baseline)) is Decision.OPEN
    assert test.needed(99.0) > 0


def test_canary_without_failures_passes_beside_an_idle_baseline() -> None:
    # Its rate is below the margin, whatever the baseline's is.
    assert UnpairedComparison(MARGIN, ERROR, ERROR).add(Outcomes(1000), Outcomes()) is Decision.HEALTHY


def test_canary_that_was_healthy_and_turns_bad_is_found_bad() -> None:
    test = UnpairedComparison(MARGIN, ERROR, ERROR)
    assert test.add(Outcomes(2000), Outcomes(2000)) is Decision.HEALTHY
    assert test.add(Outcomes(200, 120), Outcomes(200)) is Decision.BAD
    assert test.add(Outcomes(10**6), Outcomes(10**6)) is Decision.BAD


@pytest.mark.parametrize(
    ("rate", "wrong"), [(0.01, Decision.BAD), (0.03, Decision.HEALTHY), (0.001, Decision.BAD), (0.2, Decision.HEALTHY)]
)
def test_reference_errs_at_most_as_stated(rate: float, wrong: Decision) -> None:
    source, errors = random.Random(f"{rate}"), 0
    truth = min(rate, 0.01)
    for _ in range(RUNS // 4):
        before = drawn(source, 2000, truth)
        test = UnpairedComparison(MARGIN, ERROR / 2, ERROR / 2, binomial_interval(before.failed, 2000, 1 - ERROR))
        for _ in range(BLOCKS):
            if test.add(drawn(source, 150, rate), Outcomes()) is not Decision.OPEN:
                break
        errors += test.decision is wrong
    assert errors / (RUNS // 4) <= ERROR


def test_reference_finds_a_healthy_and_a_bad_canary() -> None:
    reference = Interval(0.0, 0.002)
    assert UnpairedComparison(MARGIN, ERROR, ERROR, reference).add(Outcomes(500), Outcomes()) is Decision.HEALTHY
    assert UnpairedComparison(MARGIN, ERROR, ERROR, reference).add(Outcomes(500, 25), Outcomes()) is Decision.BAD
