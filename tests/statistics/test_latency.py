"""Error rates of the tests of latency, by simulated steps of a promotion."""

import random

import pytest

from tests.statistics.test_unpaired import BLOCKS, ERROR, MARGIN, RUNS, drawn
from waypoint_lab.measure.sequential import Decision
from waypoint_lab.measure.statistics import Interval
from waypoint_lab.measure.traffic import LoggedRequest, TrafficBlock
from waypoint_lab.measure.unpaired import NO_REQUESTS, Outcomes, UnpairedComparison
from waypoint_lab.rollout.analysis import Thresholds
from waypoint_lab.rollout.traffic_analysis import TrafficEvidence

STEPS = 1000
RATIO = 3.0


@pytest.mark.parametrize(("slow", "wrong"), [(0.01, Decision.BAD), (0.01 + MARGIN, Decision.HEALTHY)])
def test_p99_errs_at_most_as_stated(slow: float, wrong: Decision) -> None:
    source, errors = random.Random(f"{slow}"), 0
    for _ in range(RUNS):
        test = UnpairedComparison(MARGIN, ERROR, ERROR, Interval(0.01, 0.01))
        for _ in range(BLOCKS):
            if test.add(drawn(source, 100, slow), NO_REQUESTS) is not Decision.OPEN:
                break
        errors += test.decision is wrong
    assert errors / RUNS <= ERROR + 0.001


def block(source: random.Random, times: float) -> TrafficBlock:
    """Return requests whose latencies are exponential; the canary's take `times` as long."""
    means = {"canary": 20.0 * times, "baseline": 20.0}
    counts = {"canary": 20, "baseline": 80}
    logged = {
        role: [LoggedRequest(200, int(source.expovariate(1 / mean))) for _ in range(counts[role])]
        for role, mean in means.items()
    }
    return TrafficBlock({role: Outcomes(count) for role, count in counts.items()}, logged)


def decided(times: float, decision: Decision, steps: int) -> float:
    """Return the share of steps whose comparison of the two p99 has this decision."""
    source = random.Random(f"{times}")
    found = 0
    for _ in range(steps):
        evidence = TrafficEvidence(Thresholds(MARGIN, 3 * ERROR, ERROR, p99_ratio=RATIO), 20, None, logs=True)
        comparison = evidence.comparisons["p99 ratio"]
        for _ in range(BLOCKS + 3):
            evidence.add(block(source, times))
            if comparison.decision is not Decision.OPEN:
                break
        found += comparison.decision is decision
    return found / steps


def test_ratio_of_canary_at_the_limit_is_bad_at_most_as_stated() -> None:
    assert decided(RATIO, Decision.BAD, STEPS) <= ERROR + 0.005


def test_ratio_of_canary_far_beyond_the_limit_is_bad() -> None:
    assert decided(3 * RATIO, Decision.BAD, 100) >= 0.95
