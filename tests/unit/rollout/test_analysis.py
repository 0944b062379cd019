"""What a step's measurement decides."""

import pytest

from waypoint_lab.measure.pairs import Answer, Round
from waypoint_lab.rollout.analysis import Evidence, Rules, Verdict

OK, BAD, SLOW, NONE = Answer(200, "red", 0.01), Answer(503, "red", 0.01), Answer(200, "red", 3.0), Answer(0, "x", 5.0)
RULES = Rules(0.02, 0.01, 0.01)


def fed(rules: Rules, rounds: int, canary: Answer = OK, baseline: Answer = OK, users: Answer = OK) -> Evidence:
    evidence = Evidence(rules)
    for number in range(rounds):
        evidence.add(Round(float(number), (canary, baseline, users)))
    return evidence


def verdict(evidence: Evidence, seconds: float = 1.0) -> Verdict | None:
    found = evidence.verdict(seconds)
    return found[0] if found else None


def test_a_canary_that_does_not_fail_goes_on() -> None:
    assert verdict(fed(RULES, 500)) is Verdict.GO


@pytest.mark.parametrize("answer", [BAD, NONE])
def test_a_canary_that_fails_rolls_back_with_the_figures_in_the_line(answer: Answer) -> None:
    found = fed(RULES, 30, canary=answer).verdict(1.0)
    assert found
    assert found[0] is Verdict.BACK
    assert found[1].startswith("30 of 30 requests of the canary failed, 0 of as many of the baseline: evidence ")


def test_what_only_fails_on_the_route_rolls_back_too() -> None:
    found = fed(RULES, 30, users=BAD).verdict(1.0)
    assert found
    assert found[0] is Verdict.BACK
    assert "requests through the route failed" in found[1]


def test_a_failure_that_the_baseline_shares_is_a_hold_and_never_a_pass() -> None:
    found = fed(RULES, 1000, BAD, BAD, BAD).verdict(1.0)
    assert found
    assert found[0] is Verdict.HOLD
    assert "less than 90.0% is never a pass" in found[1]


def test_a_slow_answer_counts_as_failed_where_the_gate_has_a_limit() -> None:
    assert verdict(fed(RULES, 500, canary=SLOW)) is Verdict.GO
    assert verdict(fed(Rules(0.02, 0.01, 0.01, slow_seconds=1.0), 30, canary=SLOW)) is Verdict.BACK


def test_no_data_is_measured_on_and_then_held() -> None:
    assert verdict(fed(RULES, 0)) is None
    assert verdict(fed(RULES, 0), RULES.most_seconds) is Verdict.HOLD
    assert verdict(fed(RULES, 10), RULES.most_seconds) is Verdict.HOLD


def test_a_step_is_measured_as_long_and_as_often_as_asked_for() -> None:
    longer = Rules(0.02, 0.01, 0.01, least_seconds=60, least_rounds=600)
    assert verdict(fed(longer, 599), 61) is None
    assert verdict(fed(longer, 600), 59) is None
    assert verdict(fed(longer, 600), 61) is Verdict.GO
    assert verdict(fed(longer, 30, canary=BAD), 1) is Verdict.BACK, "a bad one is not waited for"
