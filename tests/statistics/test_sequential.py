"""The sequential test keeps its promises: shown by simulating whole tests, 10,000 for each kind of canary."""

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
def test_a_healthy_canary_is_rolled_back_no_more_often_than_stated(canary: float, baseline: float) -> None:
    assert share(Decision.BAD, canary, baseline) <= ERROR


@pytest.mark.parametrize(("canary", "baseline"), [(0.02, 0.0), (0.05, 0.0), (0.03, 0.01), (0.3, 0.1)])
def test_a_bad_canary_is_let_through_no_more_often_than_stated(canary: float, baseline: float) -> None:
    assert share(Decision.HEALTHY, canary, baseline) <= ERROR


def test_the_simulation_sees_a_test_that_breaks_its_promise() -> None:
    random_ = random.Random(7)
    careless = 0
    for _ in range(RUNS):
        failures, pairs = 0, 0
        while pairs < 400 and failures - pairs * 0.01 < 2:  # stops as soon as a plain count looks bad
            pairs += 1
            failures += random_.random() < 0.01
        careless += pairs < 400
    assert careless / RUNS > 10 * ERROR


def test_a_canary_without_failures_is_healthy_after_a_few_hundred_pairs() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    while test.add(canary_failed=False, baseline_failed=False) is Decision.OPEN:
        assert test.pairs < 400
    assert test.decision is Decision.HEALTHY
    assert test.against_bad >= 1 / ERROR


def test_a_canary_that_always_fails_is_bad_after_a_few_pairs() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    while test.add(canary_failed=True, baseline_failed=False) is Decision.OPEN:
        assert test.pairs < 12
    assert test.decision is Decision.BAD


def test_a_fault_that_both_share_is_no_evidence_against_the_canary() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    for _ in range(LONGEST):
        test.add(canary_failed=True, baseline_failed=True)
    assert test.decision is not Decision.BAD


def test_no_pairs_decide_nothing() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    assert test.add_same(0) is Decision.OPEN
    assert test.against_bad == pytest.approx(1)


def test_a_canary_that_was_healthy_and_turns_bad_is_still_found_bad() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    assert test.add_same(LONGEST) is Decision.HEALTHY
    for _ in range(20):
        test.add(canary_failed=True, baseline_failed=False)
    assert test.decision is Decision.BAD


def test_a_canary_that_was_bad_stays_so() -> None:
    test = Comparison(MARGIN, ERROR, ERROR)
    for _ in range(20):
        test.add(canary_failed=True, baseline_failed=False)
    assert test.add_same(LONGEST) is Decision.BAD


def test_pairs_at_once_and_one_by_one_come_to_the_same() -> None:
    at_once, one_by_one = Comparison(MARGIN, ERROR, ERROR), Comparison(MARGIN, ERROR, ERROR)
    for gap in (30, 10, 0, 120):
        at_once.add_same(gap)
        for _ in range(gap):
            one_by_one.add(canary_failed=False, baseline_failed=False)
        for test in (at_once, one_by_one):
            test.add(canary_failed=True, baseline_failed=False)
        assert vars(at_once) == vars(one_by_one)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, float("nan")])
def test_a_margin_out_of_range_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin must be between 0 and 1"):
        Comparison(margin, ERROR, ERROR)


def test_simulating_a_whole_test_is_fast_enough_to_be_done_in_every_run() -> None:
    random_, began = random.Random(1), time.monotonic()
    for _ in range(200):
        simulated(random_, 0.05, 0.05)
    assert time.monotonic() - began < 5
