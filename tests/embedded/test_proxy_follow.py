"""When a Service's clients go over to a waypoint."""

from typing import Any

import pytest

from embedded.node.proxy_follow import PATIENCE_SECONDS, SETTLE_SECONDS, Followed
from embedded.node.proxy_world import World

KEY = "shop/cart"


def world(waypoint: str | None, bound: str | None = None, present: bool = True) -> World:
    """A Service labelled with `waypoint`, which istiod says it has bound to `bound`."""
    condition = {
        "type": "istio.io/WaypointBound",
        "status": "True",
        "message": f"Successfully attached to waypoint {bound}",
    }
    service: dict[str, Any] = {
        "metadata": {
            "name": "cart",
            "namespace": "shop",
            "labels": {"istio.io/use-waypoint": waypoint} if waypoint else {},
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
