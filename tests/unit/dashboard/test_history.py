"""The time series of the dashboard."""

from typing import Any

from tests.unit.dashboard.states import backend, snapshot
from waypoint_lab.dashboard.history import KEPT_CHANGES, KEPT_POINTS, PageHistory


def counted(moment: float, baseline: int, canary: int) -> dict[str, Any]:
    """Return a snapshot with so many requests since the start."""
    made = snapshot(moment)
    made["services"][0]["backends"] = [
        backend(name, role, 50.0, 10, total={"requests": requests, "successes": requests, "errors": 0})
        for name, role, requests in (("one", "baseline", baseline), ("two", "canary", canary))
    ]
    return made


def test_add_first_snapshot_has_no_share_and_no_rate() -> None:
    values = PageHistory().add(counted(100.0, 50, 50))["backends"]["reviews/one"]
    assert (values["share"], values["rate"], values["weight"], values["p99"]) == (None, None, 50.0, 0.021)


def test_add_takes_shares_and_rates_from_the_last_second() -> None:
    history = PageHistory()
    for moment, baseline, canary in ((100.0, 1000, 0), (100.5, 1000, 10), (101.0, 1000, 20), (101.5, 1010, 50)):
        point = history.add(counted(moment, baseline, canary))
    one, two = (point["backends"][f"reviews/{name}"] for name in ("one", "two"))
    assert (one["share"], two["share"]) == (0.2, 0.8)
    assert (one["rate"], two["rate"]) == (10.0, 40.0)


def test_add_without_new_requests_has_no_share() -> None:
    history = PageHistory()
    history.add(counted(100.0, 7, 7))
    values = history.add(counted(101.0, 7, 7))["backends"]["reviews/one"]
    assert (values["share"], values["rate"]) == (None, 0.0)


def test_add_counters_that_start_again_give_no_negative_rate() -> None:
    history = PageHistory()
    history.add(counted(100.0, 700, 700))
    assert history.add(counted(101.0, 3, 0))["backends"]["reviews/one"]["rate"] == 0.0


def test_add_keeps_each_change_once_and_limits_the_length() -> None:
    history = PageHistory()
    change = {"time": 99.0, "kind": "live", "text": "reviews: 20 %"}
    for number in range(KEPT_POINTS + 5):
        others = [{"time": 1.0 * number, "kind": "object", "text": ""}] if number < KEPT_CHANGES - 1 else []
        history.add({**snapshot(100.0 + number), "changes": [change, *others]})
    assert len(history.points) == KEPT_POINTS
    assert len(history.changes) == KEPT_CHANGES
    assert list(history.changes).count(change) == 1
