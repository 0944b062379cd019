"""The time at which clients of a Service use a waypoint."""

from typing import Any

import pytest

from embedded.node.proxy.snapshot import Snapshot, WaypointWeights
from embedded.node.proxy.waypoint_tracker import SETTLE_SECONDS, UNBOUND_SECONDS, WaypointTracker

KEY = "shop/cart"
ALL_ONE: WaypointWeights = (("shop/one", 100),)
MOSTLY_ONE: WaypointWeights = (("shop/one", 80), ("shop/two", 20))


def snapshot(
    waypoint: str | None,
    bound: str | None = None,
    present: bool = True,
    canary: str | None = None,
    weight: int | None = None,
) -> Snapshot:
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
    return Snapshot(services={KEY: service} if present else {}, gateways=gateways)


def test_tracker_new_service_uses_its_waypoint_at_once() -> None:
    tracker = WaypointTracker()
    assert tracker.update(snapshot("one"), 0) is None
    assert tracker.waypoint(KEY) == "shop/one"


def test_tracker_bound_service_changes_after_settling() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot(None), 0)
    assert tracker.update(snapshot("one"), 1) == UNBOUND_SECONDS
    assert tracker.waypoint(KEY) is None
    assert tracker.update(snapshot("one", "shop/one"), 1.5) == pytest.approx(SETTLE_SECONDS)
    assert tracker.waypoint(KEY) is None
    assert tracker.update(snapshot("one", "shop/one"), 1.5 + SETTLE_SECONDS) is None
    assert tracker.waypoint(KEY) == "shop/one"


def test_tracker_unbound_service_changes_after_the_limit() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot(None), 0)
    tracker.update(snapshot("one"), 1)
    tracker.update(snapshot("one"), 1 + UNBOUND_SECONDS)
    assert tracker.waypoint(KEY) == "shop/one"


def test_tracker_binding_to_another_waypoint_is_ignored() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one", "shop/one"), 0)
    assert tracker.update(snapshot("two", "shop/one"), 1) == UNBOUND_SECONDS
    assert tracker.waypoint(KEY) == "shop/one", "the old one serves until the new one is ready"
    tracker.update(snapshot("two", "shop/two"), 2)
    tracker.update(snapshot("two", "shop/two"), 2 + SETTLE_SECONDS)
    assert tracker.waypoint(KEY) == "shop/two"


def test_tracker_removed_waypoint_is_unused_at_once() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one", "shop/one"), 0)
    assert tracker.update(snapshot(None, "shop/one"), 1) is None
    assert tracker.waypoint(KEY) is None


def test_tracker_recreated_service_is_new() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot(None), 0)
    tracker.update(snapshot(None, present=False), 1)
    tracker.update(snapshot("one"), 2)
    assert tracker.waypoint(KEY) == "shop/one"


def with_canary(weight: int | None = None, bound: str | None = "shop/one") -> Snapshot:
    return snapshot("one", bound, canary="two", weight=weight)


def test_tracker_canary_at_0_percent_can_be_raised_at_once() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one", "shop/one"), 0)
    assert tracker.update(with_canary(), 1) is None
    assert tracker.weights(KEY) == ALL_ONE
    assert tracker.update(with_canary(20), 1.001) is None
    assert tracker.weights(KEY) == MOSTLY_ONE
    assert tracker.update(with_canary(100), 1.002) is None
    assert tracker.weights(KEY) == (("shop/two", 100),)
    assert tracker.waypoint(KEY) == "shop/one", "the primary is the label's, whatever share it gets"


def test_tracker_new_canary_with_weight_waits() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one"), 0)
    assert tracker.update(with_canary(20, bound=None), 1) == UNBOUND_SECONDS
    assert tracker.weights(KEY) == ALL_ONE
    assert tracker.update(with_canary(20), 2) == pytest.approx(SETTLE_SECONDS)
    assert tracker.weights(KEY) == ALL_ONE
    assert tracker.update(with_canary(20), 2 + SETTLE_SECONDS) is None
    assert tracker.weights(KEY) == MOSTLY_ONE


def test_tracker_unbound_canary_changes_after_the_limit() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one"), 0)
    tracker.update(with_canary(20, bound=None), 1)
    assert tracker.update(with_canary(20, bound=None), 1 + UNBOUND_SECONDS / 2) == UNBOUND_SECONDS / 2
    assert tracker.update(with_canary(20, bound=None), 1 + UNBOUND_SECONDS) is None
    assert tracker.weights(KEY) == MOSTLY_ONE


def test_tracker_pending_canary_lowered_to_0_percent_stops_waiting() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one"), 0)
    assert tracker.update(with_canary(20, bound=None), 1) == UNBOUND_SECONDS
    assert tracker.update(with_canary(0, bound=None), 2) is None
    assert tracker.update(with_canary(20, bound=None), 2.001) is None
    assert tracker.weights(KEY) == MOSTLY_ONE


@pytest.mark.parametrize("weight", [0, 20, 100])
def test_tracker_removed_canary_is_unused_at_once(weight: int) -> None:
    tracker = WaypointTracker()
    tracker.update(with_canary(weight), 0)
    assert tracker.update(snapshot("one", "shop/one"), 1) is None
    assert tracker.weights(KEY) == ALL_ONE
    tracker.update(with_canary(weight), 10)
    tracker.update(with_canary(weight), 10 + SETTLE_SECONDS)
    assert tracker.update(snapshot(None), 20) is None
    assert tracker.weights(KEY) == ()


def test_tracker_canary_becomes_the_baseline_at_once() -> None:
    tracker = WaypointTracker()
    tracker.update(with_canary(100), 0)
    assert tracker.update(snapshot("two", "shop/one"), 1) is None
    assert (tracker.weights(KEY), tracker.waypoint(KEY)) == ((("shop/two", 100),), "shop/two")


def test_tracker_canary_that_returns_is_new() -> None:
    tracker = WaypointTracker()
    tracker.update(with_canary(20), 0)
    tracker.update(snapshot("one"), 1)
    assert tracker.update(with_canary(20, bound=None), 2) == UNBOUND_SECONDS
    assert tracker.weights(KEY) == ALL_ONE


def test_tracker_pending_canary_that_returns_waits_again() -> None:
    tracker = WaypointTracker()
    tracker.update(snapshot("one"), 0)
    tracker.update(with_canary(20, bound=None), 1)
    tracker.update(snapshot("one"), 2)
    assert tracker.update(with_canary(20, bound=None), 10) == UNBOUND_SECONDS
    assert tracker.weights(KEY) == ALL_ONE


def test_tracker_new_service_uses_both_waypoints_at_once() -> None:
    tracker = WaypointTracker()
    assert tracker.update(with_canary(20, bound=None), 0) is None
    assert tracker.weights(KEY) == MOSTLY_ONE


def test_tracker_unknown_service_has_no_waypoints() -> None:
    tracker = WaypointTracker()
    tracker.update(with_canary(20), 0)
    assert (tracker.weights("shop/till"), tracker.waypoint("shop/till")) == ((), None)
    tracker.update(snapshot(None, present=False), 1)
    assert tracker.weights(KEY) == ()
