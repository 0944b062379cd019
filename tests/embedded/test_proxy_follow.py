"""When a Service's clients go over to a waypoint."""

from typing import Any

import pytest

from embedded.node.proxy_follow import PATIENCE_SECONDS, SETTLE_SECONDS, Followed
from embedded.node.proxy_world import Shares, World

KEY = "shop/cart"
ALL_ONE: Shares = (("shop/one", 100),)
MOSTLY_ONE: Shares = (("shop/one", 80), ("shop/two", 20))


def world(
    waypoint: str | None,
    bound: str | None = None,
    present: bool = True,
    canary: str | None = None,
    weight: int | None = None,
) -> World:
    """A Service labelled with `waypoint`, which istiod says it has bound to `bound`, and a canary at `weight` %."""
    of_canary = {"istio.io/use-waypoint-canary": canary} if canary else {}
    condition = {
        "type": "istio.io/WaypointBound",
        "status": "True",
        "message": f"Successfully attached to waypoint {bound}",
    }
    service: dict[str, Any] = {
        "metadata": {
            "name": "cart",
            "namespace": "shop",
            "labels": {**({"istio.io/use-waypoint": waypoint} if waypoint else {}), **of_canary},
            "annotations": {} if weight is None else {"istio.io/use-waypoint-canary-weight": str(weight)},
        },
        "status": {"conditions": [condition] if bound else []},
    }
    gateways = {
        f"shop/{name}": {
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"listeners": [{"protocol": "HBONE"}]},
            "status": {"addresses": [{"value": "10.96.0.7"}]},
        }
        for name in ("one", "two")
    }
    return World(services={KEY: service} if present else {}, gateways=gateways)


def test_a_new_services_clients_use_its_waypoint_from_the_start() -> None:
    followed = Followed()
    assert followed.update(world("one"), 0) is None
    assert followed.waypoint(KEY) == "shop/one"


def test_clients_go_over_a_moment_after_istiod_bound_the_service() -> None:
    followed = Followed()
    followed.update(world(None), 0)
    assert followed.update(world("one"), 1) == PATIENCE_SECONDS
    assert followed.waypoint(KEY) is None
    assert followed.update(world("one", "shop/one"), 1.5) == pytest.approx(SETTLE_SECONDS)
    assert followed.waypoint(KEY) is None
    assert followed.update(world("one", "shop/one"), 1.5 + SETTLE_SECONDS) is None
    assert followed.waypoint(KEY) == "shop/one"


def test_clients_go_over_in_the_end_where_istiod_says_nothing() -> None:
    followed = Followed()
    followed.update(world(None), 0)
    followed.update(world("one"), 1)
    followed.update(world("one"), 1 + PATIENCE_SECONDS)
    assert followed.waypoint(KEY) == "shop/one"


def test_a_binding_to_another_waypoint_does_not_count() -> None:
    followed = Followed()
    followed.update(world("one", "shop/one"), 0)
    assert followed.update(world("two", "shop/one"), 1) == PATIENCE_SECONDS
    assert followed.waypoint(KEY) == "shop/one", "the old one serves until the new one is ready"
    followed.update(world("two", "shop/two"), 2)
    followed.update(world("two", "shop/two"), 2 + SETTLE_SECONDS)
    assert followed.waypoint(KEY) == "shop/two"


def test_clients_leave_a_waypoint_at_once() -> None:
    followed = Followed()
    followed.update(world("one", "shop/one"), 0)
    assert followed.update(world(None, "shop/one"), 1) is None
    assert followed.waypoint(KEY) is None


def test_a_service_that_comes_back_is_new_again() -> None:
    followed = Followed()
    followed.update(world(None), 0)
    followed.update(world(None, present=False), 1)
    followed.update(world("one"), 2)
    assert followed.waypoint(KEY) == "shop/one"


def with_canary(weight: int | None = None, bound: str | None = "shop/one") -> World:
    return world("one", bound, canary="two", weight=weight)


def test_a_canary_at_0_percent_is_followed_at_once_and_may_then_be_raised_at_once() -> None:
    followed = Followed()
    followed.update(world("one", "shop/one"), 0)
    assert followed.update(with_canary(), 1) is None
    assert followed.shares(KEY) == ALL_ONE
    assert followed.update(with_canary(20), 1.001) is None
    assert followed.shares(KEY) == MOSTLY_ONE
    assert followed.update(with_canary(100), 1.002) is None
    assert followed.shares(KEY) == (("shop/two", 100),)
    assert followed.waypoint(KEY) == "shop/one", "the primary is the label's, whatever share it gets"


def test_a_canary_that_comes_with_a_share_from_nowhere_waits_as_a_new_primary_does() -> None:
    followed = Followed()
    followed.update(world("one"), 0)
    assert followed.update(with_canary(20, bound=None), 1) == PATIENCE_SECONDS
    assert followed.shares(KEY) == ALL_ONE
    assert followed.update(with_canary(20), 2) == pytest.approx(SETTLE_SECONDS)
    assert followed.shares(KEY) == ALL_ONE
    assert followed.update(with_canary(20), 2 + SETTLE_SECONDS) is None
    assert followed.shares(KEY) == MOSTLY_ONE


def test_a_canary_with_a_share_is_followed_in_the_end_where_istiod_says_nothing() -> None:
    followed = Followed()
    followed.update(world("one"), 0)
    followed.update(with_canary(20, bound=None), 1)
    assert followed.update(with_canary(20, bound=None), 1 + PATIENCE_SECONDS / 2) == PATIENCE_SECONDS / 2
    assert followed.update(with_canary(20, bound=None), 1 + PATIENCE_SECONDS) is None
    assert followed.shares(KEY) == MOSTLY_ONE


def test_a_canary_that_is_lowered_to_0_percent_while_it_waits_waits_no_more() -> None:
    followed = Followed()
    followed.update(world("one"), 0)
    assert followed.update(with_canary(20, bound=None), 1) == PATIENCE_SECONDS
    assert followed.update(with_canary(0, bound=None), 2) is None
    assert followed.update(with_canary(20, bound=None), 2.001) is None
    assert followed.shares(KEY) == MOSTLY_ONE


@pytest.mark.parametrize("weight", [0, 20, 100])
def test_clients_leave_a_canary_at_once(weight: int) -> None:
    followed = Followed()
    followed.update(with_canary(weight), 0)
    assert followed.update(world("one", "shop/one"), 1) is None
    assert followed.shares(KEY) == ALL_ONE
    followed.update(with_canary(weight), 10)
    followed.update(with_canary(weight), 10 + SETTLE_SECONDS)
    assert followed.update(world(None), 20) is None
    assert followed.shares(KEY) == ()


def test_a_canary_becomes_the_primary_at_once() -> None:
    followed = Followed()
    followed.update(with_canary(100), 0)
    assert followed.update(world("two", "shop/one"), 1) is None
    assert (followed.shares(KEY), followed.waypoint(KEY)) == ((("shop/two", 100),), "shop/two")


def test_a_canary_that_left_is_new_again_when_it_comes_back() -> None:
    followed = Followed()
    followed.update(with_canary(20), 0)
    followed.update(world("one"), 1)
    assert followed.update(with_canary(20, bound=None), 2) == PATIENCE_SECONDS
    assert followed.shares(KEY) == ALL_ONE


def test_a_canary_that_left_while_it_waited_waits_as_long_again() -> None:
    followed = Followed()
    followed.update(world("one"), 0)
    followed.update(with_canary(20, bound=None), 1)
    followed.update(world("one"), 2)
    assert followed.update(with_canary(20, bound=None), 10) == PATIENCE_SECONDS
    assert followed.shares(KEY) == ALL_ONE


def test_a_new_services_clients_use_both_its_waypoints_from_the_start() -> None:
    followed = Followed()
    assert followed.update(with_canary(20, bound=None), 0) is None
    assert followed.shares(KEY) == MOSTLY_ONE


def test_a_service_that_nobody_knows_has_no_waypoints() -> None:
    followed = Followed()
    followed.update(with_canary(20), 0)
    assert (followed.shares("shop/till"), followed.waypoint("shop/till")) == ((), None)
    followed.update(world(None, present=False), 1)
    assert followed.shares(KEY) == ()
