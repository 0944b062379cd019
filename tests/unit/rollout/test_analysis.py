"""Decisions on the measurement of a step."""

import random
from dataclasses import replace

import pytest

from waypoint_lab.config.traffic_models import GateSettings
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.gate import share_of
from waypoint_lab.measure.statistics import quantiles
from waypoint_lab.rollout.analysis import ProbeEvidence, StepDecision, Thresholds

OK, BAD = Answer(200, seconds=0.01), Answer(503, seconds=0.01)
SLOW, NONE = Answer(200, seconds=3.0), Answer(0, error="x")
RULES = Thresholds(0.02, 0.01, 0.01)


def evidence_of(
    rules: Thresholds, rounds: int, canary: Answer = OK, baseline: Answer = OK, users: Answer = OK
) -> ProbeEvidence:
    evidence = ProbeEvidence(rules)
    for number in range(rounds):
        evidence.add(tuple(answer._replace(at=float(number)) for answer in (canary, baseline, users)))
    return evidence


def verdict(evidence: ProbeEvidence, seconds: float = 1.0) -> StepDecision | None:
    found = evidence.decide(seconds)
    return found[0] if found else None


def test_decide_healthy_canary_promotes() -> None:
    assert verdict(evidence_of(RULES, 500)) is StepDecision.PROMOTE


@pytest.mark.parametrize("answer", [BAD, NONE])
def test_decide_failing_canary_rolls_back_with_figures(answer: Answer) -> None:
    found = evidence_of(RULES, 30, canary=answer).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert found[1].startswith("30 of 30 requests of the canary failed, 0 of as many of the baseline: evidence ")


def test_decide_failures_on_the_route_only_roll_back() -> None:
    found = evidence_of(RULES, 30, users=BAD).decide(1.0)
    assert found
    assert found[0] is StepDecision.ROLL_BACK
    assert "requests through the route failed" in found[1]


def test_decide_names_the_comparison_with_the_least_evidence() -> None:
    evidence = evidence_of(RULES, 600)
    evidence.add((OK, OK, BAD))
    found = evidence.decide(1.0)
    assert found
    assert found[1].startswith("1 of 601 requests through the route failed, 0 of as many of the baseline: evidence ")


def test_comparisons_share_the_probability_of_a_wrong_rollback() -> None:
    evidence = ProbeEvidence(RULES)
    assert evidence.canary.healthy_found_bad + evidence.route.healthy_found_bad == RULES.healthy_rolled_back


def test_thresholds_of_a_gate_replace_those_of_the_command() -> None:
    given = replace(RULES, min_success=0.8, latency_limit_seconds=5, p99_ratio=4)
    gate = GateSettings(success_rate=99, p99_seconds=1, p99_ratio=2, latency_margin=1.5)
    found = given.with_gate(gate)
    assert (found.min_success, found.latency_limit_seconds, found.p99_ratio) == (0.99, 1, 2)
    assert (found.latency_margin, found.margin) == (0.015, given.margin)
    assert given.with_gate(GateSettings(share=True)) == given


def test_document_has_the_share_of_the_route_and_the_first_failure() -> None:
    evidence = ProbeEvidence(RULES, "red")
    for at, canary in enumerate((OK, BAD, BAD)):
        evidence.add((canary._replace(at=float(at)), OK, OK._replace(identity="red" if at else "none")))
    found = evidence.document()
    assert found["share"] == {"requests": 3, "canary": 2}
    assert (found["first_failure"], found["last"]) == (1.0, 2.0)
    assert found["failed"] == {"canary": 2, "baseline": 0, "route": 0}


def test_decide_failures_of_the_baseline_too_pause() -> None:
    found = evidence_of(RULES, 1000, BAD, BAD, BAD).decide(1.0)
    assert found
    assert found[0] is StepDecision.PAUSE
    assert "below the minimum of 90.0%" in found[1]


def test_decide_exactly_the_minimum_of_success_promotes() -> None:
    evidence = evidence_of(replace(RULES, min_success=share_of(99.9)), 999)
    evidence.add((BAD, OK, OK))
    assert verdict(evidence) is StepDecision.PROMOTE
    at_seven = evidence_of(replace(RULES, min_success=share_of(7.0)), 930, BAD, BAD, BAD)
    for _ in range(70):
        at_seven.add((OK, OK, OK))
    assert verdict(at_seven) is StepDecision.PROMOTE


def test_document_of_a_long_step_keeps_few_latencies() -> None:
    evidence, source = ProbeEvidence(RULES), random.Random(7)
    times = [source.uniform(0.01, 0.03) for _ in range(5000)]
    for seconds in times:
        evidence.add((OK._replace(seconds=seconds), OK, NONE))
    assert len(evidence.latencies[0]) <= 201
    found = evidence.document()["latency"]
    assert found["canary"]["p99"] == pytest.approx(quantiles(times)["p99"], abs=0.0001)
    assert (found["baseline"]["p0"], found["baseline"]["p100"], found["route"]) == (0.01, 0.01, {})


def test_decide_slow_answers_with_a_latency_limit_fail() -> None:
    limited = Thresholds(0.02, 0.01, 0.01, latency_limit_seconds=1.0)
    assert verdict(evidence_of(RULES, 500, canary=SLOW)) is StepDecision.PROMOTE
    assert verdict(evidence_of(limited, 30, canary=SLOW)) is StepDecision.ROLL_BACK
    assert verdict(evidence_of(limited, 500, canary=OK._replace(seconds=1.0))) is StepDecision.PROMOTE


def test_decide_without_data_pauses_at_the_limit() -> None:
    assert verdict(evidence_of(RULES, 0)) is None
    assert verdict(evidence_of(RULES, 0), RULES.limit_seconds) is StepDecision.PAUSE
    assert verdict(evidence_of(RULES, 10), RULES.limit_seconds) is StepDecision.PAUSE


def test_decide_waits_for_min_seconds_and_rounds() -> None:
    longer = Thresholds(0.02, 0.01, 0.01, min_seconds=60, min_rounds=600)
    assert verdict(evidence_of(longer, 599), 61) is None
    assert verdict(evidence_of(longer, 600), 59) is None
    assert verdict(evidence_of(longer, 600), 61) is StepDecision.PROMOTE
    assert verdict(evidence_of(longer, 30, canary=BAD), 1) is StepDecision.ROLL_BACK, (
        "a failing canary is decided at once"
    )
