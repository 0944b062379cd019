"""Error rates of the sequential test, from 10,000 simulated tests for each kind of canary."""

import math
import random
import time

import pytest

from waypoint_lab.measure.sequential import Comparison, Decision

RUNS = 10_000
MARGIN, ERROR = 0.02, 0.01
LONGEST = 2_000  # pairs, after which a test is given up as open


def simulated(random_: random.Random, canary: float, baseline: float) -> Comparison:
    """One whole test; equal pairs between two that differ are drawn at once, as their number is geometric."""
    test = Comparison(MARGIN, ERROR, ERROR)
    worse, better = canary * (1 - baseline), baseline * (1 - canary)
    differ = worse + better
    while test.decision is Decision.OPEN and test.pairs < LONGEST:
        if not differ:
            test.add_same(LONGEST)
            break
        test.add_same(int(math.log(1 - random_.random()) / math.log1p(-differ)))
        only_canary = random_.random() < worse / differ
        test.add(canary_failed=only_canary, baseline_failed=not only_canary)
    return test


def share(decision: Decision, canary: float, baseline: float) -> float:
    random_ = random.Random(f"{canary} {baseline}")
    return sum(simulated(random_, canary, baseline).decision is decision for _ in range(RUNS)) / RUNS


@pytest.mark.parametrize(("canary", "baseline"), [(0.001, 0.001), (0.01, 0.01), (0.02, 0.02), (0.01, 0.03)])
def test_comparison_of_healthy_canary_is_bad_at_most_as_stated(canary: float, baseline: float) -> None:
    assert share(Decision.BAD, canary, baseline) <= ERROR


@pytest.mark.parametrize(("canary", "baseline"), [(0.02, 0.0), (0.05, 0.0), (0.03, 0.01), (0.3, 0.1)])
def test_comparison_of_bad_canary_is_healthy_at_most_as_stated(canary: float, baseline: float) -> None:
    assert share(Decision.HEALTHY, canary, baseline) <= ERROR


def test_simulation_detects_a_test_with_a_higher_error_rate() -> None:
    random_ = random.Random(7)
    careless = 0
    for _ in range(RUNS):
        failures, pairs = 0, 0
        while pairs < 400 and failures - pairs * 0.01 < 2:  # stops as soon as a plain count looks bad
            pairs += 1
            failures += random_.random() < 0.01
        careless += pairs < 400
    assert careless / RUNS > 10 * ERROR


def test_comparison_without_failures_is_healthy_within_400_pairs() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    while test.add(canary_failed=False, baseline_failed=False) is Decision.OPEN:
        assert test.pairs < 400
    assert test.decision is Decision.HEALTHY
    assert test.against_bad >= 1 / ERROR


def test_comparison_of_failing_canary_is_bad_within_12_pairs() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    while test.add(canary_failed=True, baseline_failed=False) is Decision.OPEN:
        assert test.pairs < 12
    assert test.decision is Decision.BAD


def test_comparison_with_failures_of_both_is_not_bad() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    for _ in range(LONGEST):
        test.add(canary_failed=True, baseline_failed=True)
    assert test.decision is not Decision.BAD


def test_comparison_without_pairs_is_open() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    assert test.add_same(0) is Decision.OPEN
    assert test.against_bad == pytest.approx(1)


def test_comparison_of_healthy_canary_that_fails_turns_bad() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    assert test.add_same(LONGEST) is Decision.HEALTHY
    for _ in range(20):
        test.add(canary_failed=True, baseline_failed=False)
    assert test.decision is Decision.BAD


def test_comparison_once_bad_remains_bad() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    for _ in range(20):
        test.add(canary_failed=True, baseline_failed=False)
    assert test.add_same(LONGEST) is Decision.BAD


def test_add_same_equals_single_pairs() -> None:
    at_once, one_by_one = Comparison(MARGIN, ERROR, ERROR), Comparison(MARGIN, ERROR, ERROR)
    for gap in (30, 10, 0, 120):
        at_once.add_same(gap)
        for _ in range(gap):
            one_by_one.add(canary_failed=False, baseline_failed=False)
        for test in (at_once, one_by_one):
            test.add(canary_failed=True, baseline_failed=False)
        assert vars(at_once) == vars(one_by_one)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_comparison_margin_out_of_range_raises(margin: float) -> None:
    with pytest.raises(ValueError, match="margin must be between 0 and 1"):
        Comparison(margin, ERROR, ERROR)


def test_simulation_of_200_tests_takes_less_than_5_seconds() -> None:
    random_, began = random.Random(1), time.monotonic()
    for _ in range(200):
        simulated(random_, 0.05, 0.05)
    assert time.monotonic() - began < 5
