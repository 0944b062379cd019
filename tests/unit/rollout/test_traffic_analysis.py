"""Decisions of a step by the requests of users."""

import math
from dataclasses import replace

import pytest

from waypoint_lab.measure.sequential import Decision
from waypoint_lab.measure.traffic import LoggedRequest, TrafficBlock
from waypoint_lab.measure.unpaired import Outcomes, UnpairedComparison
from waypoint_lab.rollout.analysis import StepDecision, Thresholds
from waypoint_lab.rollout.latency import P99Ratio
from waypoint_lab.rollout.traffic_analysis import BaselineBefore, TrafficEvidence

LIMITS = Thresholds(0.02, 0.01, 0.01)


def block(canary: Outcomes, baseline: Outcomes) -> TrafficBlock:
    return TrafficBlock({"canary": canary, "baseline": baseline})


def logged(canary: list[LoggedRequest], baseline: list[LoggedRequest]) -> TrafficBlock:
    tries = {"canary": Outcomes(len(canary)), "baseline": Outcomes(len(baseline))}
    return TrafficBlock(tries, {"canary": canary, "baseline": baseline})


def evidence(
    *blocks: TrafficBlock,
    limits: Thresholds = LIMITS,
    weight: float = 20,
    before: BaselineBefore | None = None,
    logs: bool = False,
) -> TrafficEvidence:
    found = TrafficEvidence(limits, weight, before, logs=logs)
    for one in blocks:
        found.add(one)
    return found


def answers(count: int, milliseconds: int = 20, status: int = 200) -> list[LoggedRequest]:
    return [LoggedRequest(status, milliseconds, failed=status >= 400)] * count


def test_p99_ratio_of_exactly_the_limit_is_not_slow() -> None:
    compared = UnpairedComparison(0.01, 0.01, 0.01)
    P99Ratio(compared, 2.3, before=99.0).add({230.0: 100}, {99.0: 100})  # 2.3 * 100 is less than 230
    assert compared.canary == Outcomes(100, 0)


def test_p99_of_the_baseline_is_that_of_its_answers() -> None:
    ratio = P99Ratio(UnpairedComparison(0.01, 0.01, 0.01), 2)
    ratio.add({}, {20.0: 290, math.inf: 10})
    assert ratio.p99 == 20.0


def test_decide_with_enough_healthy_requests_promotes() -> None:
    found = evidence(block(Outcomes(500), Outcomes(2000))).decide(1.0)
    assert found
    assert found[0] is StepDecision.PROMOTE
    assert found[1].startswith("0 of 500 requests of users to the canary failed, 0 of 2000 to the baseline: evidence ")


def test_decide_with_a_failing_canary_rolls_back_at_once() -> None:
    limits = replace(LIMITS, min_seconds=60)
    found = evidence(block(Outcomes(40, 4), Outcomes(4000)), limits=limits).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK


def test_decide_with_too_few_requests_pauses_at_the_limit() -> None:
    few = evidence(block(Outcomes(10), Outcomes(990)), weight=1)
    assert few.decide(1.0) is None
    found = few.decide(LIMITS.limit_seconds)
    assert found
    assert found[0] is StepDecision.PAUSE
    assert "too few in 120 s, which is not a pass; about 253 to the canary are needed if it is healthy" in found[1]


def test_decide_without_any_request_pauses() -> None:
    for weight, logs in ((0, False), (1, True), (100, False)):
        limits = replace(LIMITS, latency_limit_seconds=1, p99_ratio=2)
        found = evidence(limits=limits, weight=weight, logs=logs).decide(LIMITS.limit_seconds)
        assert found
        assert found[0] is StepDecision.PAUSE


def test_decide_with_failures_of_the_baseline_too_pauses() -> None:
    # Retries hide these failures from the probe's clients, but not from the counters.
    found = evidence(*[block(Outcomes(2000, 1000), Outcomes(8000, 4000))] * 12).decide(1.0)
    assert found
    assert found[0] is StepDecision.PAUSE
    assert "50.0% succeed, below the minimum of 90.0%" in found[1]


def test_decide_waits_for_the_least_number_of_requests() -> None:
    limits = replace(LIMITS, min_rounds=1000)
    assert evidence(block(Outcomes(500), Outcomes(2000)), limits=limits).decide(1.0) is None
    found = evidence(block(Outcomes(500), Outcomes(2000)), limits=limits).decide(LIMITS.limit_seconds)
    assert found == (StepDecision.PAUSE, "only 500 of 1000 requests to the canary in 120 s")


@pytest.mark.parametrize(
    ("failed", "decision"), [(0, StepDecision.PROMOTE), (60, StepDecision.ROLL_BACK), (12, StepDecision.PAUSE)]
)
def test_decide_at_100_percent_uses_the_baseline_of_the_steps_before(failed: int, decision: StepDecision) -> None:
    before = BaselineBefore(Outcomes(4000, 4))
    found = evidence(block(Outcomes(1000, failed), Outcomes()), weight=100, before=before).decide(120.0)
    assert found
    assert found[0] is decision
    assert "the baseline is taken to have 0." in found[1]


def test_decide_at_100_percent_without_former_baseline_uses_the_minimum() -> None:
    for failed, decision in ((0, StepDecision.PROMOTE), (300, StepDecision.ROLL_BACK)):
        found = evidence(block(Outcomes(1000, failed), Outcomes()), weight=100).decide(1.0)
        assert found
        assert found[0] is decision


def test_answers_that_only_the_log_shows_roll_back() -> None:
    # Answers of Envoy itself, and those below 500, are no errors of an endpoint.
    found = evidence(logged(answers(60, status=404), answers(600)), logs=True).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert found[1].startswith("60 of 60 requests of users to the canary were answered with a failure, 0 of 600 ")


def test_p99_beyond_the_limit_rolls_back() -> None:
    limits = replace(LIMITS, latency_limit_seconds=0.5)
    slow = logged(answers(15, 900) + answers(85), answers(400))
    found = evidence(slow, limits=limits, logs=True).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert found[1].startswith("15 of 100 requests of users to the canary were too slow")
    fast = evidence(logged(answers(1000), answers(4000)), limits=limits, logs=True).decide(1.0)
    assert fast
    assert fast[0] is StepDecision.PROMOTE


def test_p99_just_beyond_the_limit_is_not_promoted() -> None:
    # 1.5 % are too slow, where 1 % may be.
    limits = replace(LIMITS, latency_limit_seconds=0.5)
    found = evidence(*[logged(answers(3, 900) + answers(197), [])] * 20, limits=limits, logs=True)
    assert found.decide(1.0) is None
    wide = replace(limits, latency_margin=0.03)
    found = evidence(*[logged(answers(3, 900) + answers(197), answers(800))] * 20, limits=wide, logs=True)
    assert (decided := found.decide(1.0))
    assert decided[0] is StepDecision.PROMOTE


def test_ratio_at_100_percent_without_known_p99_pauses() -> None:
    limits = replace(LIMITS, p99_ratio=2)
    found = evidence(logged(answers(4000), []), limits=limits, weight=100, logs=True).decide(LIMITS.limit_seconds)
    assert found
    assert found[0] is StepDecision.PAUSE
    assert found[1].endswith("the baseline's p99 is not known, as it gets no requests; add a step below 100 %")


@pytest.mark.parametrize("weight", [20, 100])
def test_three_times_the_p99_of_the_baseline_rolls_back(weight: float) -> None:
    limits = replace(LIMITS, p99_ratio=2)
    before = BaselineBefore(Outcomes(4000), Outcomes(4000), 0.02, Outcomes(4000))
    for milliseconds, decision in ((60, StepDecision.ROLL_BACK), (30, StepDecision.PROMOTE)):
        baseline = answers(4000) if weight < 100 else []
        blocks = [logged(answers(500, milliseconds), baseline)] * 4
        found = evidence(*blocks, limits=limits, weight=weight, before=before, logs=True).decide(1.0)
        assert found
        assert found[0] is decision, found


def test_document_latency_counts_each_request() -> None:
    slow = [one for milliseconds in range(400, 410) for one in answers(1, milliseconds)]
    found = evidence(logged(answers(100), answers(2990) + slow), logs=True).document()
    assert found["latency"]["baseline"].items() >= {"p50": 0.02, "p99": 0.02, "p100": 0.409}.items()
    assert found["latency"]["baseline"]["slower"] == [3000, 10]


def test_document_has_figures_and_is_read_as_former_baseline() -> None:
    found = evidence(logged(answers(100, 30, 503), answers(400)), logs=True).document()
    assert found["requests"] == {"canary": 100, "baseline": 400}
    assert found["statuses"] == {"canary": {"5xx": 100}, "baseline": {"2xx": 400}}
    assert found["latency"]["canary"].items() >= {"p50": 0.03, "p99": 0.03, "slower": [100, 0]}.items()
    assert BaselineBefore.read(found) == BaselineBefore(Outcomes(400), Outcomes(400), 0.02, Outcomes(400))
    assert BaselineBefore.read(evidence().document()) == BaselineBefore(Outcomes())


def test_requests_without_an_answer_are_slow_for_canary_and_former_baseline_alike() -> None:
    left, limits = answers(60, 5, status=0), replace(LIMITS, p99_ratio=2)
    found = evidence(logged(answers(100), answers(2940) + left), logs=True).document()
    assert found["latency"]["baseline"].items() >= {"p0": 0.02, "p99": 0.02, "slower": [3000, 60]}.items()
    blocks, before = [logged(answers(294) + left[:6], [])] * 5, BaselineBefore.read(found)
    step = evidence(*blocks, limits=limits, weight=100, before=before, logs=True)
    assert step.comparisons["p99 ratio"].decision is not Decision.BAD


def test_too_few_requests_of_the_baseline_are_named() -> None:
    limits = replace(LIMITS, p99_ratio=2)
    few = evidence(logged(answers(1200), answers(180)), limits=limits, weight=0, logs=True).decide(120.0)
    assert few
    assert few[1].endswith("too few in 120 s, which is not a pass; 200 answers of the baseline are needed first")
    none = evidence(limits=replace(LIMITS, margin=0.005), weight=0).decide(120.0)
    assert none
    assert none[1].endswith("which is not a pass; requests to the baseline are needed, too, or a larger margin")
