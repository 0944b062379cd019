"""Error rates of the tests of latency, by 10,000 simulated steps of a promotion for each kind of canary."""

import math
import random
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest

from tests.statistics.test_unpaired import ERROR, RUNS, drawn
from waypoint_lab.config.traffic_models import GateSettings
from waypoint_lab.measure.sequential import Decision
from waypoint_lab.measure.statistics import Interval, binomial_interval, quantile
from waypoint_lab.measure.unpaired import NO_REQUESTS, UnpairedComparison
from waypoint_lab.rollout.latency import P99, P99Ratio, slower

MARGIN = GateSettings().latency_margin / 100
BAD = 1 - P99 + MARGIN  # share of a bad canary's requests beyond the limit
NOISE = 0.002  # two standard errors of a simulated share of 1 %
RATIO = 3.0
BLOCKS = 4
TAIL = 0.03  # only latencies beyond this quantile are drawn one by one; no limit is below it
MILLISECONDS = 200.0
Tail = Callable[[float], float]


def exponential(beyond: float) -> float:
    """Return the latency that a share of the requests exceeds."""
    return MILLISECONDS * math.log(1 / beyond)


def heavy(beyond: float) -> float:
    """Return the same of a distribution with a heavy tail: its p99.9 is four times its p99."""
    return MILLISECONDS * float(beyond**-0.6)


def requests(source: random.Random, count: int, latency: Tail, times: float = 1.0) -> Counter[float]:
    """Return the latencies of so many requests of a version that takes `times` as long."""
    beyond = drawn(source, count, TAIL).failed
    found: Counter[float] = Counter(int(times * latency(TAIL * (1 - source.random()))) for _ in range(beyond))
    found[int(times * latency(TAIL))] += count - beyond
    return found


@cache
def reference(known: int, beyond: int) -> Interval:
    return binomial_interval(beyond, known, 1 - ERROR)


def at_20_percent(source: random.Random, latency: Tail, times: float, blocks: int) -> Decision:
    """Return the decision of a step with 250 requests to the canary in each block."""
    test = P99Ratio(UnpairedComparison(MARGIN, ERROR, ERROR), RATIO)
    test.add(Counter(), requests(source, 1000, latency))
    for _ in range(blocks):
        test.add(requests(source, 250, latency, times), requests(source, 1000, latency))
        if test.comparison.decision is not Decision.OPEN:
            break
    return test.comparison.decision


def at_100_percent(source: random.Random, latency: Tail, times: float, blocks: int) -> Decision:
    """Return the decision of a step without requests to the baseline, of which 1000 are known from before."""
    before = requests(source, 1000, latency)
    p99 = quantile(before, P99)
    known = reference(1000, slower(before, p99).failed)
    test = P99Ratio(UnpairedComparison(MARGIN, ERROR / 2, ERROR / 2, known), RATIO, p99)
    for _ in range(blocks):
        test.add(requests(source, 250, latency, times), Counter())
        if test.comparison.decision is not Decision.OPEN:
            break
    return test.comparison.decision


STEPS = {"20 %": at_20_percent, "100 %": at_100_percent}
CASES = pytest.mark.parametrize(("step", "latency"), [("20 %", heavy), ("100 %", exponential)])


def share(decision: Decision, step: str, latency: Tail, times: float, runs: int = RUNS, blocks: int = BLOCKS) -> float:
    source = random.Random(f"{step} {latency.__name__} {times}")
    return sum(STEPS[step](source, latency, times, blocks) is decision for _ in range(runs)) / runs


@CASES
def test_ratio_of_healthy_canary_is_bad_at_most_as_stated(step: str, latency: Tail) -> None:
    assert share(Decision.BAD, step, latency, RATIO) <= ERROR + NOISE


@CASES
def test_ratio_of_bad_canary_is_healthy_at_most_as_stated(step: str, latency: Tail) -> None:
    bad = RATIO * latency(1 - P99) / latency(BAD)  # so that a share of BAD takes longer than the limit
    assert share(Decision.HEALTHY, step, latency, bad) <= ERROR + NOISE


@CASES
def test_ratio_of_canary_like_the_baseline_is_healthy(step: str, latency: Tail) -> None:
    assert share(Decision.HEALTHY, step, latency, 1.0, 100, 2 * BLOCKS) >= 0.95


@CASES
def test_ratio_of_canary_far_beyond_the_limit_is_bad(step: str, latency: Tail) -> None:
    assert share(Decision.BAD, step, latency, 3 * RATIO, 100) >= 0.95


@pytest.mark.parametrize(("slow", "wrong"), [(1 - P99, Decision.BAD), (BAD, Decision.HEALTHY)])
def test_p99_errs_at_most_as_stated(slow: float, wrong: Decision) -> None:
    source, errors = random.Random(f"{slow}"), 0
    for _ in range(RUNS):
        test = UnpairedComparison(MARGIN, ERROR, ERROR, Interval(1 - P99, 1 - P99))
        for _ in range(BLOCKS):
            if test.add(drawn(source, 400, slow), NO_REQUESTS) is not Decision.OPEN:
                break
        errors += test.decision is wrong
    assert errors / RUNS <= ERROR + NOISE


def test_p99_of_canary_within_the_limit_is_healthy_after_400_requests() -> None:
    test = UnpairedComparison(MARGIN, ERROR, ERROR, Interval(1 - P99, 1 - P99))
    assert [test.add(drawn(random.Random(1), 100, 0.0001), NO_REQUESTS) for _ in range(4)][-1] is Decision.HEALTHY
