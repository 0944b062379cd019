"""Expected shares and answers of two waypoints, and their measurement."""

from collections import Counter

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import FIRST, MINE, NEXT, TWO, Sends, config, logged, use
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import verify
from waypoint_lab.measure.verify import judge_answers, judge_waypoints, measure
from waypoint_lab.stages import expectations as expects
from waypoint_lab.stages.table import Expect, Measure, expectations


def share_of(given: LabConfig) -> Expect:
    (found,) = [item for item in expects.migration(given) if item.measure is Measure.WAYPOINT]
    return found


@pytest.mark.parametrize(("weight", "requests"), [(0, 500), (20, 3000), (100, 500)])
def test_migration_expects_the_share_with_a_sufficient_sample(weight: int, requests: int) -> None:
    item = share_of(config(weight))
    assert (item.what, item.value, item.share, item.requests) == (f"through {NEXT}", NEXT, weight / 100, requests)


def test_migration_without_canary_expects_all_at_one_waypoint() -> None:
    item = share_of(lab_config("waypoint", "accessLog", waypoint={"name": NEXT}))
    assert (item.value, item.share, item.requests) == (NEXT, 1.0, 500)


def test_migration_share_under_a_delay_needs_fewer_requests() -> None:
    assert share_of(config(20, "abort")).requests == 3000
    assert share_of(config(20, "delay")).requests == 400


@pytest.mark.parametrize(("weight", "least"), [(20, 300), (100, 250), (1, 15)])
def test_migration_expects_answers_of_a_canary_with_share(weight: int, least: int) -> None:
    (found,) = [item for item in expects.migration(config(weight)) if item.measure is Measure.ANSWERED]
    assert (found.what, found.success, found.share, found.through) == (f"answered by {NEXT}", ((200, 399),), 1.0, NEXT)
    assert found.requests == least, "half of what its share gives"


def test_migration_expects_no_answers_at_0_percent_or_under_faults() -> None:
    for given in (config(0), config(20, "abort"), config(20, "delay"), config(20, "retries")):
        assert [item.measure for item in expects.migration(given)] == [Measure.WAYPOINT]


def test_waypoint_expects_shares_of_two_waypoints_only() -> None:
    alone = lab_config("waypoint")
    assert [(item.what, item.measure) for item in expects.waypoint(alone)] == [
        ("answered", Measure.STATUS),
        ("through the waypoint", Measure.PROXIED),
    ]
    two = expects.waypoint(config(20))
    assert [item.what for item in two[:2]] == ["answered", "through either waypoint"]
    assert two[2:] == expects.migration(config(20))
    assert expects.waypoint(config(20, "abort")) == ()
    assert set(two) <= set(expectations(config(20)))


def judged(taken: dict[str, int], sent: int, share: float = 0.2, requests: int = 3000) -> verify.Measurement:
    expect = Expect(f"through {NEXT}", Measure.WAYPOINT, NEXT, share, requests=requests)
    return judge_waypoints(expect, Counter(taken), sent)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("taken", [{}, {FIRST: 0, NEXT: 0}])
def test_judge_waypoints_without_logged_requests_fails(share: float, taken: dict[str, int]) -> None:
    verdict = judged(taken, 3000, share)
    assert not verdict.passed
    assert verdict.why.startswith("no data: no waypoint has logged these requests; is stages.accessLog on")
    assert (verdict.requests, verdict.interval) == (0, (0.0, 1.0))


@pytest.mark.parametrize(("share", "taken"), [(0.2, (2399, 600)), (0.0, (2999, 0)), (1.0, (0, 2999))])
def test_judge_waypoints_one_unlogged_request_fails(share: float, taken: tuple[int, int]) -> None:
    verdict = judged(dict(zip((FIRST, NEXT), taken, strict=True)), 3000, share)
    assert not verdict.passed
    assert verdict.why == "1 of 3000 requests are in no waypoint's log"
    assert verdict.requests == 2999


def test_judge_waypoints_too_few_requests_fails() -> None:
    verdict = judged({FIRST: 2400, NEXT: 599}, 2999)
    assert (verdict.passed, verdict.why) == (False, "only 2999 of 3000 requests were made")


@pytest.mark.parametrize(("count", "passed"), [(600, True), (540, True), (500, False), (700, False), (750, False)])
def test_judge_waypoints_share_within_the_interval_passes(count: int, passed: bool) -> None:
    verdict = judged({FIRST: 3000 - count, NEXT: count}, 3000)
    assert verdict.passed is passed
    assert verdict.why == ("" if passed else f"declared 20.00%, measured {count} of 3000")
    assert (verdict.declared, verdict.measured) == (0.2, count / 3000)
    assert passed is (verdict.interval[0] <= 0.2 <= verdict.interval[1])


@pytest.mark.parametrize(
    ("share", "taken", "passed"),
    [
        (0.0, {FIRST: 500}, True),
        (0.0, {FIRST: 499, NEXT: 1}, False),
        (1.0, {NEXT: 500}, True),
        (1.0, {FIRST: 1, NEXT: 499}, False),
    ],
)
def test_judge_waypoints_one_exception_of_none_or_all_fails(share: float, taken: dict[str, int], passed: bool) -> None:
    verdict = judged(taken, 500, share, requests=500)
    assert verdict.passed is passed
    assert verdict.observed == taken


def test_judge_waypoints_idle_waypoint_is_not_observed() -> None:
    assert judged({FIRST: 500, NEXT: 0}, 500, 0.0, requests=500).observed == {FIRST: 500}


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    return Sends(monkeypatch, verify)


MIXED = (
    Expect("answered", Measure.STATUS, "200"),
    Expect(f"through {NEXT}", Measure.WAYPOINT, NEXT, 0.2, requests=3000),
    Expect("through either waypoint", Measure.PROXIED, "yes", requests=300),
)


def test_measure_shares_use_fresh_connections_of_their_own(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(2400, 600))
    assert [(item.what, item.passed, item.requests) for item in measure(TWO, MIXED)] == [
        ("answered", True, 500),
        (f"through {NEXT}", True, 3000),
        ("through either waypoint", True, 500),
    ]
    ((kept,), (fresh,)) = sends.groups
    assert (kept.rounds, kept.endpoints[0].headers, kept.fresh_workers) == (500, {}, 0)
    assert (fresh.rounds, fresh.endpoints[0].headers) == (3000, {"user-agent": MINE})
    assert fresh.fresh_workers == fresh.workers == 8


def test_measure_undeclared_share_fails(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(3000, 0))
    assert [item.passed for item in measure(TWO, MIXED)] == [True, False, True]


def test_measure_unlogged_request_fails_the_share_only(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(2399, 600))
    first, share, last = measure(TWO, MIXED)
    assert (first.passed, last.passed) == (True, True)
    assert (share.passed, share.why) == (False, "1 of 3000 requests are in no waypoint's log")


def test_measure_without_shares_reads_no_log(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    fake = use(monkeypatch)
    assert [item.passed for item in measure(TWO, (MIXED[0], MIXED[2]))] == [True, True]
    assert (len(sends.groups), fake.commands) == (1, [])


def test_measure_under_a_delay_uses_more_fresh_workers(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(320, 80))
    measure(config(20, "delay"), (Expect("share", Measure.WAYPOINT, NEXT, 0.2, requests=400),))
    assert sends.groups[-1][0].fresh_workers == sends.groups[-1][0].workers == 30


ANSWERED = Expect(f"answered by {NEXT}", Measure.ANSWERED, "200", requests=300, through=NEXT)


@pytest.mark.parametrize(
    ("statuses", "why"),
    [
        ({"200": 300}, ""),
        ({"200": 700}, ""),
        ({"200": 599, "503": 1}, "declared 100.00%, measured 599 of 600 (503: 1)"),
        ({"503": 600}, "declared 100.00%, measured 0 of 600 (503: 600)"),
        ({"200": 299}, "only 299 requests, at least 300 are wanted"),
        ({}, f"no data: {NEXT} has logged none of these requests; is stages.accessLog on, in Istio's text format?"),
    ],
)
def test_judge_answers_one_other_or_too_few_fails(statuses: dict[str, int], why: str) -> None:
    verdict = judge_answers(ANSWERED, Counter(statuses))
    assert (verdict.passed, verdict.why, verdict.requests) == (not why, why, sum(statuses.values()))


def test_measure_shares_and_answers_use_the_same_requests(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(2400, 600, failing=1))
    verdicts = measure(TWO, (ANSWERED, *MIXED))
    assert [item.passed for item in verdicts] == [False, True, True, True]
    assert verdicts[0].observed == {"200": 599, "503": 1}
    assert [group.rounds for (group,) in sends.groups] == [500, 3000]
