"""Silence of a destination that gets fewer requests by declaration, or that is observed for a short time."""

from dataclasses import replace

import pytest

from tests.unit.guard.observations import destination, observed
from tests.unit.guard.test_comparison import FAILED, INCONCLUSIVE, PAIR, PASSED, failures
from waypoint_lab.guard.comparison import Expectation, Rules, compare, verdict
from waypoint_lab.guard.observation import Observation, Series

BOTH = frozenset({"old", "new"})


def declared(share: float, among: frozenset[str] = BOTH) -> Rules:
    """Return the rules of a declared share of Service `new`."""
    return Rules(expected={"new": Expectation(share, among)})


@pytest.mark.parametrize("among", [BOTH, frozenset[str]()], ids=["stack", "option"])
@pytest.mark.parametrize(("old", "new"), [(990, 10), (50, 950), (0, 1000)])
def test_declared_share_that_moves_most_requests_is_not_silence(among: frozenset[str], old: int, new: int) -> None:
    found = compare(observed(PAIR, old=500, new=500), observed(PAIR, old=old, new=new), declared(new / 1000, among))
    assert (PASSED, set()) == (verdict(found), failures(found))


def test_silence_within_the_tolerance_of_a_declared_share_fails() -> None:
    found = compare(observed(PAIR, old=5000, new=5000), observed(PAIR, old=10000, new=0), declared(0.02))
    assert {("new:80", "rate")} == failures(found)


def test_few_requests_of_a_low_declared_share_are_no_proof_of_silence() -> None:
    # 2 % of 20 requests are none, although each interval before had one.
    found = compare(observed(PAIR, old=10, new=10), observed(PAIR, old=20, new=0), declared(0.02))
    assert set() == failures(found)


def test_declared_shares_leave_the_rest_to_the_other_backends() -> None:
    groups = (("old", "new", "third"),)
    before, after = observed(groups, old=300, new=300, third=400), observed(groups, old=800, new=200, third=0)
    rules = Rules(expected={"old": Expectation(0.8), "new": Expectation(0.2)})
    assert set() == failures(compare(before, after, rules))
    assert ("third:80", "rate") in failures(compare(before, after, Rules(expected={"new": Expectation(0.2)})))


def test_backends_whose_shares_may_move_are_silent_together_only() -> None:
    before, rules = observed(PAIR, old=500, new=500), Rules(may_move=BOTH, may_fall=BOTH)
    assert PASSED is verdict(compare(before, observed(PAIR, old=995, new=5), rules))
    found = compare(before, observed(PAIR, old=0, new=0), rules)
    assert {("new:80", "rate")} == failures(found)
    assert found[0].evidence.endswith(" 0 after (1000 and 0 requests), with the other backends of its routes")


def test_backend_whose_share_only_rises_may_not_be_silent() -> None:
    before, rules = observed(PAIR, old=800, new=200), Rules(may_move=BOTH, may_fall=frozenset({"old"}))
    assert PASSED is verdict(compare(before, observed(PAIR, old=0, new=1000), rules))
    assert {("new:80", "rate")} == failures(compare(before, observed(PAIR, old=800, new=0), rules))


MOVING = Rules(may_move=BOTH, may_fall=BOTH)


@pytest.mark.parametrize(
    ("rules", "before", "after", "lost"),
    [
        pytest.param(MOVING, (800, 200), (0, 200), True, id="most are lost"),
        pytest.param(MOVING, (800, 200), (5, 200), True, id="nearly silent"),
        pytest.param(MOVING, (800, 200), (0, 1000), False, id="moved"),
        pytest.param(MOVING, (800, 200), (0, 500), False, id="moved, less traffic"),
        pytest.param(MOVING, (800, 200), (160, 40), False, id="less traffic"),
        pytest.param(MOVING, (500, 500), (0, 500), False, id="half"),
        pytest.param(MOVING, (800, 1000), (1000, 0), False, id="copies end"),
        pytest.param(declared(1.0, frozenset()), (800, 200), (0, 200), True, id="declared, lost"),
        pytest.param(declared(1.0, frozenset()), (800, 200), (0, 1000), False, id="declared, moved"),
    ],
)
def test_requests_to_a_large_silent_backend_move_to_the_others(
    rules: Rules, before: tuple[int, int], after: tuple[int, int], lost: bool
) -> None:
    seen = (observed(PAIR, old=old, new=new) for old, new in (before, after))
    assert ({("old:80", "rate")} if lost else set()) == failures(compare(*seen, rules))


def test_requests_that_a_declaration_and_the_routes_name_are_tested_once() -> None:
    groups, names = (("web", *BOTH),), frozenset({"web", *BOTH})
    rules = replace(declared(0.3), may_be_silent=frozenset({"web"}), may_move=names, of_stack=names)
    found = compare(observed(groups, old=800, new=200), observed(groups, old=0, new=0), rules)
    assert sum(item.evidence.endswith("of its routes") for item in found) == 1


@pytest.mark.parametrize("rules", [declared(1.0), declared(1.0, frozenset()), declared(0.95)])
@pytest.mark.parametrize("new", [0, 10])
def test_declared_share_takes_no_requests_from_all_backends_together(rules: Rules, new: int) -> None:
    found = compare(observed(PAIR, old=1000, new=new), observed(PAIR, old=0, new=0), rules)
    assert ("old:80", "rate") in failures(found) or ("new:80", "rate") in failures(found)
    assert found[0].evidence.endswith(" 0 requests), with the other backends of its routes")


def test_backends_that_are_new_to_the_routes_of_a_service_get_its_requests() -> None:
    names = frozenset({"web", *BOTH})
    rules = replace(declared(0.2), may_be_silent=frozenset({"web"}), may_move=names, of_stack=names)
    before, groups = observed((("web",),), web=1000), (("web", *BOTH),)
    assert PASSED is verdict(compare(before, observed(groups, old=800, new=200), rules))
    assert {("web:80", "rate")} == failures(compare(before, observed(groups, old=0, new=0), rules))


def test_requests_to_a_service_that_may_be_silent_need_not_move_to_the_others() -> None:
    groups = (("old", "new", "third"),)
    before, after = observed(groups, old=20, new=20, third=960), observed(groups, old=20, new=20, third=0)
    rules = Rules(expected={"new": Expectation(0.5)}, may_be_silent=frozenset({"third"}))
    assert set() == failures(compare(before, after, rules))


def test_silence_after_a_longer_observation_is_proven_by_the_order_of_the_intervals() -> None:
    counts, zeros = (40, 400) * 15, (0,) * 30
    before = Observation([4.0] * 30, {destination("web"): Series(counts, counts, zeros)})
    after = Observation([1.0] * 30, {destination("web"): Series(zeros, zeros, zeros)})
    assert FAILED is verdict(compare(before, after, Rules()))


@pytest.mark.parametrize(("seconds", "expected"), [(120.0, PASSED), (1.0, FAILED)])
def test_order_of_intervals_tells_silence_only_where_they_are_alike(seconds: float, expected: object) -> None:
    # Ten requests in an hour, and none in the next five seconds.
    ones, zeros = (1,) * 10, (0,) * 10
    before = Observation([seconds] * 10, {destination("web"): Series(ones, ones, zeros)})
    after = Observation([0.5] * 10, {destination("web"): Series(zeros, zeros, zeros)})
    found = verdict(compare(before, after, Rules()))
    assert found is (INCONCLUSIVE if expected is PASSED else expected)
