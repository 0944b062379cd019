"""A guard keeps its false-alarm rate on traffic that varies more than independent requests, and sees real changes."""

import math
import random
from collections import Counter

import pytest

from tests.statistics.guard_traffic import INTERVALS, Traffic, destination
from waypoint_lab.guard.comparison import Expectation, Rules, compare, verdict
from waypoint_lab.guard.differences import Kind
from waypoint_lab.guard.observation import Observation, Series
from waypoint_lab.measure.verify import Verdict

RUNS = 10_000
SHARES = {"baseline": 0.8, "canary": 0.2}
FAILURES = {"baseline": 0.01, "canary": 0.02}
MODELS = (
    Traffic(SHARES, 1, failures=FAILURES),
    Traffic(SHARES, 10, failures=FAILURES),
    Traffic(SHARES, 10, dispersion=3, failures=FAILURES),
    Traffic(SHARES, 100, dispersion=10, memory=0.5, failures=FAILURES),
    Traffic(SHARES, 100, dispersion=5, failures=FAILURES, mixed=0.3),
)


def verdicts(traffic: tuple[Traffic, ...], after: Traffic | None, rules: Rules, runs: int, seed: str) -> Counter[str]:
    """Return the verdicts of guards; `after` replaces the traffic after the change."""
    random_ = random.Random(seed)
    found: Counter[str] = Counter()
    for number in range(runs):
        model = traffic[number % len(traffic)]
        found[verdict(compare(model.observe(random_), (after or model).observe(random_), rules))] += 1
    return found


def test_ordinary_variance_fails_at_most_as_stated() -> None:
    found = verdicts(MODELS, None, Rules(error_rate=0.01), RUNS, "ordinary")
    assert found[Verdict.FAILED] <= 0.01 * RUNS
    assert found[Verdict.INCONCLUSIVE] <= 0.05 * RUNS


def test_error_rate_without_tolerance_is_as_stated() -> None:
    runs = 1_000
    found = verdicts(MODELS, None, Rules(error_rate=0.05, share=0.0, failures=0.0), runs, "no tolerance")
    assert found[Verdict.FAILED] <= 0.05 * runs


def test_declared_share_that_is_lowered_fails_at_most_as_stated() -> None:
    random_, runs, found = random.Random("lowered"), 400, Counter[str]()
    for rate in (1, 10, 100):
        before = Traffic({"baseline": 0.5, "canary": 0.5}, rate, dispersion=3, failures=FAILURES)
        after = Traffic({"baseline": 0.98, "canary": 0.02}, rate, dispersion=3, failures=FAILURES)
        rules = Rules(expected={"canary": Expectation(0.02)})
        found.update(verdict(compare(before.observe(random_), after.observe(random_), rules)) for _ in range(runs))
    assert found[Verdict.FAILED] <= 0.01 * 3 * runs


@pytest.mark.parametrize(("old", "new", "rate"), [(0.0, 1.0, 50), (0.02, 1.0, 5), (0.05, 0.95, 10), (0.05, 0.9, 10)])
def test_declared_share_that_is_raised_hides_no_silence_of_all(old: float, new: float, rate: float) -> None:
    random_, rules = random.Random("raised"), Rules(expected={"canary": Expectation(new)})
    silent = Traffic({"baseline": 0.0, "canary": 0.0}, 1)
    before, after = (Traffic({"baseline": 1 - one, "canary": one}, rate, dispersion=3) for one in (old, new))
    lost = [verdict(compare(before.observe(random_), silent.observe(random_), rules)) for _ in range(50)]
    assert lost.count(Verdict.FAILED) >= 45
    moved = [verdict(compare(before.observe(random_), after.observe(random_), rules)) for _ in range(50)]
    assert Verdict.FAILED not in moved


@pytest.mark.parametrize(("old", "new"), [(0.8, 0.0), (0.2, 1.0)])
def test_shares_that_may_move_hide_no_loss_of_most_requests(old: float, new: float) -> None:
    random_, names = random.Random("moving"), frozenset(SHARES)
    rules = Rules(may_move=names, may_fall=names)
    before = Traffic({"baseline": old, "canary": 1 - old}, 50, dispersion=3)
    after = [Traffic({"baseline": new, "canary": 1 - new}, rate, dispersion=3) for rate in (50, 10)]
    moved, lost = (
        [verdict(compare(before.observe(random_), one.observe(random_), rules)) for _ in range(50)] for one in after
    )
    assert Verdict.FAILED not in moved
    assert lost.count(Verdict.FAILED) >= 45


def slow_times(random_: random.Random, factor: float = 1.0) -> Observation:
    """Return an observation whose latencies have a long tail, and are slower in some seconds than in others."""
    times = []
    for _ in range(INTERVALS):
        level = math.exp(random_.gauss(0, 0.15))
        times.append([factor * level * random_.lognormvariate(-4, 0.6) for _ in range(40)])
    counts = [len(found) for found in times]
    return Observation([1.0] * INTERVALS, {destination("web"): Series(counts, counts, [0] * INTERVALS, times)})


def test_latency_with_slow_seconds_fails_no_more_often_than_stated() -> None:
    random_, runs = random.Random("slow"), 500
    found = Counter(verdict(compare(slow_times(random_), slow_times(random_), Rules())) for _ in range(runs))
    assert found[Verdict.FAILED] <= 0.01 * runs


def test_latency_of_three_times_the_former_one_is_seen() -> None:
    random_ = random.Random("slower")
    found = [verdict(compare(slow_times(random_), slow_times(random_, 3.0), Rules())) for _ in range(50)]
    assert Verdict.PASSED not in found
    assert found.count(Verdict.FAILED) >= 45


def test_comparison_without_dispersion_fails_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.guard.dispersion._dispersion", lambda residuals: 1.0)
    monkeypatch.setattr("waypoint_lab.guard.dispersion.allowance", lambda tail, intervals: 1.0)
    found = verdicts(MODELS[4:], None, Rules(error_rate=0.01, share=0.0), 200, "naive")
    assert found[Verdict.FAILED] > 0.02 * 200


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(Traffic({"baseline": 0.8, "canary": 0.0}, 10, failures=FAILURES), id="silent"),
        pytest.param(Traffic({"baseline": 0.4, "canary": 0.6}, 10, failures=FAILURES), id="share"),
        pytest.param(Traffic(SHARES, 10, failures={"baseline": 0.15, "canary": 0.02}), id="success"),
    ],
)
def test_change_of_the_outcome_fails(after: Traffic) -> None:
    found = verdicts(MODELS[1:3], after, Rules(), 100, "changed")
    assert found[Verdict.PASSED] == 0
    assert found[Verdict.FAILED] >= 90


def test_change_names_the_destination_and_the_kind() -> None:
    random_ = random.Random("named")
    before = MODELS[1].observe(random_)
    after = Traffic({"baseline": 0.8, "canary": 0.0}, 10, failures=FAILURES).observe(random_)
    first = compare(before, after, Rules())[0]
    assert (first.where, first.kind, first.verdict) == ("canary:80", Kind.RATE, Verdict.FAILED)
