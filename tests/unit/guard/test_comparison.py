"""Differences of the traffic before and after a change, and the verdict on them."""

from dataclasses import replace

import pytest

from tests.unit.guard.observations import destination, observed, series
from waypoint_lab.guard.comparison import Expectation, Rules, compare, verdict
from waypoint_lab.guard.differences import Difference, Kind
from waypoint_lab.guard.observation import BrokenRoute, Observation, Series, WaypointState
from waypoint_lab.measure.endpoint_counters import Destination
from waypoint_lab.measure.verify import Verdict

PAIR = (("old", "new"),)
FAILED, INCONCLUSIVE, PASSED = Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.PASSED


def failures(found: list[Difference]) -> set[tuple[str, str]]:
    """Return where and kind of the failed comparisons."""
    return {(item.where, item.kind.value) for item in found if item.verdict is FAILED}


def with_state(seen: Observation, state: WaypointState) -> Observation:
    """Return an observation with another state."""
    return replace(seen, state=state)


def test_same_traffic_passes() -> None:
    found = compare(observed(PAIR, old=800, new=200), observed(PAIR, old=780, new=210), Rules())
    assert (PASSED, set()) == (verdict(found), failures(found))


def test_destination_without_requests_is_silent() -> None:
    found = compare(observed(web=100), observed(web=0), Rules())
    assert (FAILED, {("web:80", "rate")}) == (verdict(found), failures(found))
    assert found[0].evidence == "went silent: 10 requests/s before, 0 after (100 and 0 requests)"


def test_destination_with_less_traffic_is_not_silent() -> None:
    assert PASSED is verdict(compare(observed(web=500), observed(web=100), Rules()))


def test_silence_that_is_allowed_passes() -> None:
    found = compare(observed(web=100, api=90), observed(web=0, api=90), Rules(may_be_silent=frozenset({"web"})))
    assert PASSED is verdict(found)


def test_silence_after_few_requests_is_inconclusive() -> None:
    found = compare(observed(web=8), observed(web=0), Rules())
    assert INCONCLUSIVE is verdict(found)
    assert found[0].suspicious
    assert 10 < found[0].needed < 60


def test_needed_requests_are_enough() -> None:
    needed = compare(observed(web=8), observed(web=0), Rules())[0].needed
    assert FAILED is verdict(compare(observed(web=needed), observed(web=0), Rules()))
    assert FAILED is not verdict(compare(observed(web=needed // 3), observed(web=0), Rules()))


def test_silence_after_regular_requests_is_proven_by_the_order_of_the_intervals() -> None:
    bursts = [200, 30, 25, 90, 180, 20, 22, 170, 160, 21]
    before = observed(web=Series(bursts, bursts, [0] * len(bursts)))
    assert verdict(compare(before, observed(web=0), Rules())) is FAILED
    assert verdict(compare(before, before, Rules())) is PASSED


def test_comparison_without_requests_is_inconclusive() -> None:
    found = compare(observed(), observed(), Rules())
    assert INCONCLUSIVE is verdict(found)
    assert found[0].needed > 0


@pytest.mark.parametrize(("requests", "wanted"), [(7, INCONCLUSIVE), (8, PASSED)])
def test_same_traffic_passes_once_there_are_enough_requests(requests: int, wanted: Verdict) -> None:
    assert wanted is verdict(compare(observed(web=requests), observed(web=requests), Rules()))


def test_few_requests_to_one_destination_do_not_hide_the_others() -> None:
    found = compare(observed(web=300, rare=2), observed(web=300, rare=1), Rules())
    assert PASSED is verdict(found)
    assert INCONCLUSIVE in {item.verdict for item in found if item.where == "rare:80"}


def test_undeclared_share_fails() -> None:
    found = compare(observed(PAIR, old=900, new=100), observed(PAIR, old=500, new=500), Rules())
    assert {("old:80", "share"), ("new:80", "share")} == failures(found)
    assert "share was 90.0% of 1000, is 50.0% of 1000" in [item.evidence for item in found]


def test_share_without_a_common_route_is_not_compared() -> None:
    found = compare(observed(old=900, new=100), observed(old=500, new=500), Rules())
    assert PASSED is verdict(found)


def test_declared_share_passes_and_another_fails() -> None:
    before, after = observed(PAIR, old=900, new=100), observed(PAIR, old=500, new=500)
    assert PASSED is verdict(compare(before, after, Rules(expected={"new": Expectation(0.5)})))
    found = compare(before, after, Rules(expected={"new": Expectation(0.2)}))
    assert {("new", "share")} == failures(found)
    assert found[0].evidence == "expected 20 % of the requests, measured 50.0% of 1000"


def test_declared_share_of_nothing_may_be_silent() -> None:
    before, after = observed(PAIR, old=900, new=100), observed(PAIR, old=1000, new=0)
    assert PASSED is verdict(compare(before, after, Rules(expected={"new": Expectation(0.0)})))


def test_declared_share_of_a_service_without_requests_fails() -> None:
    before = observed(old=900, new=0)
    assert {("new", "share")} == failures(compare(before, before, Rules(expected={"new": Expectation(0.2)})))


def test_declared_share_among_two_ignores_the_third() -> None:
    groups = (("old", "new", "premium"),)
    before = observed(groups, old=400, new=100, premium=500)
    rules = Rules(expected={"new": Expectation(0.2, frozenset({"old", "new"}))})
    found = compare(before, before, rules)
    assert PASSED is verdict(found)


def test_declared_share_without_requests_is_inconclusive() -> None:
    found = compare(observed(web=0), observed(web=0), Rules(expected={"web": Expectation(0.2)}))
    assert INCONCLUSIVE is verdict(found)


def test_share_of_a_route_with_a_declared_share_is_not_compared() -> None:
    groups = (("web", "old", "new"),)
    rules = Rules(expected={"new": Expectation(0.5, frozenset({"old", "new"}))}, may_be_silent=frozenset({"web"}))
    found = compare(observed(groups, web=1000), observed(groups, web=0, old=500, new=500), rules)
    assert verdict(found) is PASSED


def test_share_that_may_move_is_not_compared() -> None:
    before, after = observed(PAIR, old=900, new=100), observed(PAIR, old=500, new=500)
    assert verdict(compare(before, after, Rules(may_move=frozenset({"old"})))) is PASSED


def test_share_that_a_stack_declares_for_an_unused_service_is_not_compared() -> None:
    names = frozenset({"old", "new"})
    rules = Rules(expected={"new": Expectation(0.2, names)}, of_stack=names)
    found = compare(observed(web=100, old=0), observed(web=100, old=0), rules)
    assert {item.where for item in found} == {"web:80"}
    assert verdict(found) is PASSED


def test_rise_of_failures_fails_beyond_the_tolerance() -> None:
    before, after = observed(web=series(1000, 5)), observed(web=series(1000, 60))
    assert {("web:80", "success")} == failures(compare(before, after, Rules()))
    assert set() == failures(compare(before, after, Rules(failures=0.1)))


def test_few_failures_of_few_requests_are_inconclusive() -> None:
    found = compare(observed(web=series(60)), observed(web=series(60, 7)), Rules())
    assert INCONCLUSIVE is verdict(found)
    (item,) = [item for item in found if item.kind is Kind.SUCCESS]
    assert item.needed > 60


def test_failing_new_backend_is_compared_with_its_group() -> None:
    before, after = observed(PAIR, old=1000), observed(PAIR, old=500, new=series(500, 500))
    found = compare(before, after, Rules(expected={"new": Expectation(0.5)}))
    assert {("new:80", "success")} == failures(found)


def test_slower_p99_fails_and_the_same_passes() -> None:
    fast, slow = [0.01] * 990 + [0.02] * 10, [0.01] * 950 + [0.2] * 50
    before = observed(web=series(1000, latencies=fast))
    found = compare(before, observed(web=series(1000, latencies=slow)), Rules())
    assert {("web:80", "latency")} == failures(found)
    assert found[0].evidence == "p99 was 0.010 s of 1000, is 0.200 s of 1000"
    assert PASSED is verdict(compare(before, before, Rules()))


def test_few_latencies_are_not_compared() -> None:
    before = observed(web=series(200, latencies=[0.01] * 200))
    found = compare(before, observed(web=series(200, latencies=[0.5] * 200)), Rules())
    (item,) = [item for item in found if item.kind is Kind.LATENCY]
    assert (item.verdict, verdict(found)) == (INCONCLUSIVE, PASSED)
    assert item.needed > 200


def test_new_rejection_fails_and_a_former_one_is_inconclusive() -> None:
    seen = observed(web=100)
    rejecting = with_state(seen, WaypointState({"waypoint-1": "no such filter"}))
    assert {("waypoint-1", "configuration")} == failures(compare(seen, rejecting, Rules()))
    found = compare(rejecting, rejecting, Rules())
    assert INCONCLUSIVE is verdict(found)
    assert "as before: no such filter" in found[0].evidence


WEB = destination("web")
DEAD = BrokenRoute(WEB, "empty.shop.svc.cluster.local", "no endpoint")
OWN = BrokenRoute(WEB, WEB.host, "no endpoint")
SERVED = frozenset({WEB})


@pytest.mark.parametrize(
    ("before", "after", "silent", "expected"),
    [
        pytest.param((), (DEAD,), (), {("web:80", "route")}, id="new"),
        pytest.param((DEAD,), (DEAD,), (), set(), id="as before"),
        pytest.param((DEAD._replace(share=0.5),), (DEAD._replace(share=0.05, why="5 %"),), (), set(), id="lowered"),
        pytest.param((DEAD._replace(share=0.5),), (DEAD,), (), {("web:80", "route")}, id="raised"),
        pytest.param((DEAD,), (DEAD._replace(cluster="v1"),), (), {("web:80", "route")}, id="another"),
        pytest.param((), (DEAD,), ("empty",), set(), id="allowed"),
        pytest.param((), (OWN,), (), {("web:80", "route")}, id="scaled to nothing"),
    ],
)
def test_route_that_broke_fails(
    before: tuple[BrokenRoute, ...], after: tuple[BrokenRoute, ...], silent: tuple[str, ...], expected: object
) -> None:
    seen = observed(web=100)
    old, new = (with_state(seen, WaypointState(broken=frozenset(items), services=SERVED)) for items in (before, after))
    assert expected == failures(compare(old, new, Rules(may_be_silent=frozenset(silent))))


def test_name_of_a_backend_that_only_a_broken_route_has_is_known() -> None:
    seen = with_state(observed(web=100), WaypointState(broken=frozenset({DEAD}), services=SERVED))
    assert PASSED is verdict(compare(seen, seen, Rules(may_be_silent=frozenset({"empty"}))))


def test_new_service_whose_pods_are_not_ready_passes() -> None:
    seen = observed(web=100)
    fresh = BrokenRoute(destination("fresh"), destination("fresh").host, "no endpoint")
    after = with_state(seen, WaypointState(broken=frozenset({fresh}), services=frozenset({WEB, fresh.where})))
    assert set() == failures(compare(with_state(seen, WaypointState(services=SERVED)), after, Rules()))


def test_refused_requests_are_part_of_the_evidence_of_silence() -> None:
    before, after = observed(web=100), observed(web=0)
    found = compare(before, with_state(after, WaypointState(refused=97)), Rules())
    assert found[0].evidence.endswith("; authorization policies refused 97 requests")
    found = compare(before, replace(after, answers={"503 NC": 4}), Rules())
    assert found[0].evidence.endswith("; the waypoint answered 503 NC to 4")


def test_subset_is_a_destination_of_its_own() -> None:
    subset = Destination("web.shop.svc.cluster.local", 80, "v1")
    assert (str(subset), subset.named("web.shop"), subset.named("we")) == ("web/v1:80", True, False)


def test_misspelt_name_of_an_expected_share_is_inconclusive_and_claims_no_group() -> None:
    before, after = observed(PAIR, old=500, new=500), observed(PAIR, old=900, new=100)
    rules = Rules(expected={"nwe": Expectation(0.1)})
    assert {("old:80", "share"), ("new:80", "share")} == failures(compare(before, after, rules))
    found = compare(before, before, rules)
    assert INCONCLUSIVE is verdict(found)
    assert (found[0].where, found[0].kind) == ("nwe", Kind.SHARE)
    assert found[0].evidence == "the waypoints know no Service of this name; correct --expect"


def test_misspelt_name_of_a_silent_service_is_inconclusive_unless_a_stack_names_it() -> None:
    seen, rules = observed(web=100), Rules(may_be_silent=frozenset({"wbe"}))
    found = compare(seen, seen, rules)
    assert (verdict(found), found[0].where) == (INCONCLUSIVE, "wbe")
    assert PASSED is verdict(compare(seen, seen, replace(rules, of_stack=frozenset({"wbe"}))))
