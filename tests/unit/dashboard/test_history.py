"""The time series of the dashboard."""

from typing import Any

from tests.unit.dashboard.states import backend, snapshot
from waypoint_lab.dashboard.history import KEPT_CHANGES, KEPT_POINTS, PageHistory

SERVICE = "bookinfo-backends/reviews:9080"
ONE, TWO = (f"{SERVICE}/bookinfo-backends/{name}:9080" for name in ("one", "two"))


def counted(moment: float, baseline: int, canary: int) -> dict[str, Any]:
    """Return a snapshot with so many requests since the start."""
    made = snapshot(moment)
    made["services"][0]["backends"] = [
        backend(name, role, 50.0, 10, total={"requests": requests, "successes": requests, "errors": 0})
        for name, role, requests in (("one", "baseline", baseline), ("two", "canary", canary))
    ]
    return made


def test_add_first_snapshot_has_no_share_and_no_rate() -> None:
    values = PageHistory().add(counted(100.0, 50, 50))["backends"][ONE]
    assert (values["share"], values["rate"], values["weight"], values["p99"]) == (None, None, 50.0, 0.021)


def test_add_takes_shares_and_rates_from_the_last_second() -> None:
    history = PageHistory()
    for moment, baseline, canary in ((100.0, 1000, 0), (100.5, 1000, 10), (101.0, 1000, 20), (101.5, 1010, 50)):
        point = history.add(counted(moment, baseline, canary))
    one, two = (point["backends"][key] for key in (ONE, TWO))
    assert (one["share"], two["share"]) == (0.2, 0.8)
    assert (one["rate"], two["rate"]) == (10.0, 40.0)


def test_add_without_new_requests_has_no_share() -> None:
    history = PageHistory()
    history.add(counted(100.0, 7, 7))
    values = history.add(counted(101.0, 7, 7))["backends"][ONE]
    assert (values["share"], values["rate"]) == (None, 0.0)


def test_add_counters_that_start_again_give_no_negative_rate() -> None:
    history = PageHistory()
    history.add(counted(100.0, 700, 700))
    assert history.add(counted(101.0, 3, 0))["backends"][ONE]["rate"] == 0.0


def test_add_keeps_each_change_once_and_limits_the_length() -> None:
    history = PageHistory()
    change = {"time": 99.0, "kind": "live", "text": "reviews: 20 %"}
    for number in range(KEPT_POINTS + 5):
        others = [{"time": 1.0 * number, "kind": "object", "text": ""}] if number < KEPT_CHANGES - 1 else []
        history.add({**snapshot(100.0 + number), "changes": [change, *others]})
    assert len(history.points) == KEPT_POINTS
    assert len(history.changes) == KEPT_CHANGES
    assert list(history.changes).count(change) == 1


def test_add_keeps_ports_and_namespaces_apart() -> None:
    history = PageHistory()
    for moment, requests in ((100.0, 1000), (101.0, 1100)):
        made = counted(moment, requests, 1000)
        idle = counted(moment, 0, 0)["services"][0]
        made["services"] += [{**idle, "port": 9081}, {**idle, "namespace": "other"}]
        point = history.add(made)
    assert len(point["backends"]) == 6
    assert (point["backends"][ONE]["share"], point["backends"][ONE]["rate"]) == (1.0, 100.0)


def test_add_of_the_access_log_takes_share_and_rate_of_the_window() -> None:
    history = PageHistory()
    for moment, requests in ((100.0, 1000), (101.0, 2000)):
        made = counted(moment, requests, requests)  # the canary gets a mirrored copy of each request
        made["services"][0]["source"] = "access log"
        made["services"][0]["backends"][0] |= {"share": {"value": 1.0, "low": 0.9, "high": 1.0}, "rate": 50.0}
        made["services"][0]["backends"][1] |= {"share": None, "rate": 0.0}
        point = history.add(made)
    assert [(one["share"], one["rate"]) for one in point["backends"].values()] == [(1.0, 50.0), (None, 0.0)]


def test_add_after_a_clock_that_was_set_back_has_rates_again_a_second_later() -> None:
    history = PageHistory()
    history.add(counted(3600.0, 0, 0))
    assert history.add(counted(100.0, 10, 10))["backends"][ONE]["rate"] is None
    assert history.add(counted(101.0, 20, 10))["backends"][ONE]["rate"] == 10.0
