"""What a step's measurement decides."""

import pytest

from waypoint_lab.measure.client import Answer
from waypoint_lab.rollout.analysis import Evidence, StepDecision, Thresholds

OK, BAD = Answer(200, seconds=0.01), Answer(503, seconds=0.01)
SLOW, NONE = Answer(200, seconds=3.0), Answer(0, error="x")
RULES = Thresholds(0.02, 0.01, 0.01)


def fed(rules: Thresholds, rounds: int, canary: Answer = OK, baseline: Answer = OK, users: Answer = OK) -> Evidence:
    evidence = Evidence(rules)
    for number in range(rounds):
        evidence.add(tuple(answer._replace(at=float(number)) for answer in (canary, baseline, users)))
    return evidence


def verdict(evidence: Evidence, seconds: float = 1.0) -> StepDecision | None:
    found = evidence.decide(seconds)
    return found[0] if found else None


def test_a_canary_that_does_not_fail_goes_on() -> None:
    assert verdict(fed(RULES, 500)) is StepDecision.PROMOTE


@pytest.mark.parametrize("answer", [BAD, NONE])
def test_a_canary_that_fails_rolls_back_with_the_figures_in_the_line(answer: Answer) -> None:
    found = fed(RULES, 30, canary=answer).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert found[1].startswith("30 of 30 requests of the canary failed, 0 of as many of the baseline: evidence ")


def test_what_only_fails_on_the_route_rolls_back_too() -> None:
    found = fed(RULES, 30, users=BAD).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert "requests through the route failed" in found[1]


def test_a_failure_that_the_baseline_shares_is_a_hold_and_never_a_pass() -> None:
    found = fed(RULES, 1000, BAD, BAD, BAD).decide(1.0)
    assert found
    assert found[0] is StepDecision.PAUSE
    assert "below the minimum of 90.0%" in found[1]


def test_a_slow_answer_counts_as_failed_where_the_gate_has_a_limit() -> None:
    limited = Thresholds(0.02, 0.01, 0.01, latency_limit_seconds=1.0)
    assert verdict(fed(RULES, 500, canary=SLOW)) is StepDecision.PROMOTE
    assert verdict(fed(limited, 30, canary=SLOW)) is StepDecision.ROLL_BACK


def test_no_data_is_measured_on_and_then_held() -> None:
    assert verdict(fed(RULES, 0)) is None
    assert verdict(fed(RULES, 0), RULES.limit_seconds) is StepDecision.PAUSE
    assert verdict(fed(RULES, 10), RULES.limit_seconds) is StepDecision.PAUSE


def test_a_step_is_measured_as_long_and_as_often_as_asked_for() -> None:
    longer = Thresholds(0.02, 0.01, 0.01, min_seconds=60, min_rounds=600)
    assert verdict(fed(longer, 599), 61) is None
    assert verdict(fed(longer, 600), 59) is None
    assert verdict(fed(longer, 600), 61) is StepDecision.PROMOTE
    assert verdict(fed(longer, 30, canary=BAD), 1) is StepDecision.ROLL_BACK, "a bad one is not waited for"
