"""Verdicts on measured answers."""

import math

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import verify
from waypoint_lab.measure.client import Answer, Group
from waypoint_lab.measure.verify import Verdict, judge
from waypoint_lab.stages.expectations import MOST_REQUESTS, least_requests
from waypoint_lab.stages.table import Expect, Measure, expectations


def answers(count: int, *, status: int = 200, identity: str = "none", seconds: float = 0.01) -> list[Answer]:
    return [Answer(status, identity, seconds=seconds)] * count


def test_judge_without_data_never_passes() -> None:
    for measure in Measure:
        verdict = judge(Expect("nothing", measure, "200", share=0.0), [])
        assert not verdict.passed
        assert verdict.why in ("no data", "no answer")
        assert (verdict.requests, verdict.measured) == (0, 0.0)


def test_judge_too_few_requests_fails() -> None:
    verdict = judge(Expect("short", Measure.STATUS, "200", requests=100), answers(99))
    assert not verdict.passed
    assert verdict.why == "only 99 of 100 requests were made"


@pytest.mark.parametrize(("red", "passed"), [(400, True), (500, False), (300, False)])
def test_judge_default_sample_separates_20_from_25_percent(red: int, passed: bool) -> None:
    seen = answers(red, identity="red") + answers(2000 - red)
    verdict = judge(Expect("red", Measure.IDENTITY, "red", 0.2, requests=2000), seen)
    assert verdict.passed is passed
    assert verdict.observed == {"red": red, "none": 2000 - red}


def test_judge_one_exception_of_all_fails() -> None:
    expect = Expect("all", Measure.STATUS, "200", requests=2000)
    assert judge(expect, answers(2000)).passed
    assert not judge(expect, answers(1999) + answers(1, status=503)).passed


def test_expectation_of_a_cohort_by_path_asks_for_its_path() -> None:
    config = lab_config("waypoint", "premium", app={"cohorts": {"premium": {"pathPrefix": "/gold"}}})
    (found,) = [one for one in expectations(config) if one.what == "pathPrefix:/gold to premium"]
    assert (found.method, found.path, found.header) == ("GET", "/gold", None)


def test_judge_counts_the_statuses_that_are_a_success() -> None:
    config = lab_config("waypoint", app={"request": {"success": [404]}})
    (answered, _) = expectations(config)
    assert judge(answered, answers(500, status=404)).passed
    assert not judge(answered, answers(500)).passed


def test_judge_request_without_answer_counts_as_its_error() -> None:
    verdict = judge(Expect("all", Measure.STATUS, "200", requests=2), [*answers(1), Answer(0, error="TimeoutError")])
    assert not verdict.passed
    assert verdict.observed == {"200": 1, "TimeoutError": 1}


@pytest.mark.parametrize(("seconds", "passed"), [(2.05, True), (1.9, False), (2.3, False)])
def test_judge_delay_uses_the_median(seconds: float, passed: bool) -> None:
    expect = Expect("2 s later", Measure.SECONDS, low=2.0, high=2.2, requests=60)
    assert judge(expect, answers(60, seconds=seconds)).passed is passed


@pytest.mark.parametrize(
    ("hits", "requests", "wanted"),
    [
        (0, 3000, Verdict.INCONCLUSIVE),
        (0, 9899, Verdict.FAILED),
        (3, 3000, Verdict.PASSED),
        (8, 9899, Verdict.PASSED),
        (30, 3000, Verdict.FAILED),
    ],
)
def test_judge_small_share_without_a_hit_never_passes(hits: int, requests: int, wanted: Verdict) -> None:
    expect = Expect("canary", Measure.IDENTITY, "red", 0.001, requests=min(requests, 3000))
    found = judge(expect, answers(hits, identity="red") + answers(requests - hits))
    assert found.verdict is wanted
    if wanted is Verdict.INCONCLUSIVE:
        assert found.why == "declared 0.1000%, measured 0 of 3000; at least 9899 requests are needed"


def test_judge_share_near_all_with_only_hits_is_inconclusive() -> None:
    expect = Expect("baseline", Measure.IDENTITY, "none", 0.999, requests=3000)
    assert judge(expect, answers(3000)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("share", [0.0005, 0.001, 0.01, 0.2, 0.5, 0.999])
def test_least_requests_separate_a_share_from_none(share: float) -> None:
    none = Expect("none", Measure.IDENTITY, "red", share, requests=1)
    value = "none" if share < 0.5 else "red"
    assert judge(none, answers(least_requests(share), identity=value)).verdict is Verdict.FAILED
    assert judge(none, answers(least_requests(share) - 1, identity=value)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("weight", "requests"), [(20, 3000), (1, 3000), (0.1, 9899), (0.001, MOST_REQUESTS), (0, 500), (100, 500)]
)
def test_expectations_sample_follows_the_weight(weight: float, requests: int) -> None:
    config = lab_config("waypoint", "canary", canary={"weight": weight})
    (found,) = [one for one in expectations(config) if one.what == "everyone to the canary"]
    assert found.requests == requests


def test_expectations_shares_are_clamped_and_rounded() -> None:
    fault = {"at": "upstream", "abort": {"percent": 100}}
    config = lab_config("waypoint", "canary", "abort", trafficApi="virtual-service", fault=fault)
    shares = {one.what: one.share for one in expectations(config)}
    assert shares["everyone to the baseline"] == 0
    assert math.copysign(1, shares["everyone to the baseline"]) == 1


@pytest.mark.parametrize("name", ["End-User", "end-user"])
def test_expectations_fault_header_has_no_case(name: str) -> None:
    fault = {"header": {"name": name, "value": "premium-user"}, "abort": {"percent": 50}}
    config = lab_config("waypoint", "premium", "abort", trafficApi="virtual-service", fault=fault)
    (found,) = [one for one in expectations(config) if one.what == "premium-user to premium"]
    assert found.share == 0.5


@pytest.mark.parametrize(
    ("late", "most", "wanted"),
    [
        (320, 0.0, Verdict.PASSED),
        (0, 0.0, Verdict.FAILED),
        (400, 0.0, Verdict.FAILED),
        (400, 1.0, Verdict.PASSED),
        (200, 1.0, Verdict.FAILED),
    ],
)
def test_judge_late_is_the_share_of_slow_answers(late: int, most: float, wanted: Verdict) -> None:
    expect = Expect("delayed by 2 s", Measure.LATE, "yes", 0.8, requests=400, low=1.8, most=most)
    assert judge(expect, answers(late, seconds=2.01) + answers(400 - late)).verdict is wanted


def test_judge_latency_without_data_declares_its_seconds() -> None:
    found = judge(Expect("2 s later", Measure.SECONDS, low=2.0, high=2.5), [])
    assert found.shown(found.declared) == "2.000 s"


def test_measure_session_affinity_sends_the_current_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, str]] = []

    def send(_config: LabConfig, groups: list[Group], _seconds: float) -> list[list[Answer]]:
        sent.extend(group.endpoints[0].headers for group in groups)
        return [answers(group.rounds) for group in groups]

    monkeypatch.setattr(verify, "send", send)
    monkeypatch.setattr(verify.envoy_config, "current_cookie", lambda _config: "waypoint-lab-backend=reviews-stable.1")
    config = lab_config("waypoint", "canary", canary={"sessionAffinity": {"maxAgeSeconds": 60}})
    verify.measure(config, expectations(config))
    assert sent == [{}, {"cookie": "waypoint-lab-backend=reviews-stable.1"}]


@pytest.mark.parametrize(
    ("failed", "wanted"),
    [
        (100, Verdict.FAILED),
        (190, Verdict.PASSED),
        (1400, Verdict.PASSED),
        (1500, Verdict.PASSED),
        (1700, Verdict.FAILED),
        (0, Verdict.FAILED),
    ],
)
def test_judge_range_passes_within_it(failed: int, wanted: Verdict) -> None:
    expect = Expect("failures", Measure.STATUS, "503", 0.0625, requests=3000, most=0.5)
    found = judge(expect, answers(failed, status=503) + answers(3000 - failed))
    assert (wanted, 0.0625) == (found.verdict, found.declared)
    assert wanted is Verdict.PASSED or found.why == f"declared 6.25% to 50.00%, measured {failed} of 3000"


def test_judge_range_without_a_hit_or_data_never_passes() -> None:
    expect = Expect("failures", Measure.STATUS, "503", 1e-6, requests=500, most=0.5)
    assert judge(expect, answers(500)).verdict is Verdict.INCONCLUSIVE
    assert judge(expect, []).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(("seconds", "canary"), [(8, 400), (300, 400)])
def test_measure_delay_gives_each_request_its_time(monkeypatch: pytest.MonkeyPatch, seconds: int, canary: int) -> None:
    given: list[tuple[int, float]] = []

    def send(_config: LabConfig, groups: list[Group], limit: float) -> list[list[Answer]]:
        given.extend((group.rounds, limit) for group in groups)
        return [answers(group.rounds, identity="red") for group in groups]

    monkeypatch.setattr(verify, "send", send)
    fault = {"delay": {"seconds": seconds}}
    config = lab_config("waypoint", "canary", "premium", "delay", fault=fault, trafficApi="virtual-service")
    verify.measure(config, expectations(config))
    (alone, limit), (split, _) = sorted(given)
    assert (alone, split) == (60, canary)
    assert limit == 120 + (2 + 14) * seconds
