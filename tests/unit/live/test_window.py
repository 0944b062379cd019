"""The sliding window: restarts of Pods, changes of the configuration, and logged requests."""

from dataclasses import replace
from datetime import datetime

import pytest

from tests.unit.live.answers import BASELINE, CANARY, NAMESPACE, counters, line
from waypoint_lab.live import window as window_module
from waypoint_lab.live.objects import RouteTarget
from waypoint_lab.live.window import Window, logged
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import EndpointCounters

BASE, NEXT = RouteTarget(BASELINE, NAMESPACE, 9080), RouteTarget(CANARY, NAMESPACE, 9080)
START = datetime.fromisoformat("2026-11-24T10:12:19.543Z").timestamp()


def read(**requests: int) -> EndpointCounters:
    return EndpointCounters({"w-1": endpoint_counters.endpoints(counters(**requests))})


def started(**requests: int) -> Window:
    window = Window(10.0)
    window.baseline(read(**requests))
    window.start(read(**requests), 100.0)
    return window


def asked(window: Window) -> dict[RouteTarget, int]:
    return {place: counts.requests for place, counts in window.counts.items() if counts.requests}


def test_window_first_counters_are_from_before() -> None:
    window = started(reviews_baseline=500)
    window.add(read(reviews_baseline=510), 100.4)
    assert asked(window) == {BASE: 10}
    assert window.totals[BASE].requests == 10


def test_window_drops_what_is_older_than_its_length() -> None:
    window = started(reviews_baseline=500)
    for step in range(1, 31):
        window.add(read(reviews_baseline=500 + 10 * step), 100.0 + 0.4 * step)
    assert 102.0 <= window.began <= 102.4
    assert 240 <= asked(window)[BASE] <= 250
    assert window.totals[BASE].requests == 300


def test_window_starts_again_after_a_change() -> None:
    window = started(reviews_baseline=500)
    window.add(read(reviews_baseline=510), 100.4)
    window.start(read(reviews_baseline=513), 100.5)
    window.add(read(reviews_baseline=515, reviews_stable=3), 100.9)
    assert asked(window) == {BASE: 2, NEXT: 3}
    assert window.totals[BASE].requests == 15


def test_window_after_a_restart_of_envoy_counts_the_new_counters_whole() -> None:
    window = started(reviews_baseline=500)
    window.add(read(reviews_baseline=7), 100.4)
    assert asked(window) == {BASE: 7}


def test_window_pod_without_answer_is_compared_when_it_answers_again() -> None:
    window = started(reviews_baseline=500)
    window.add(EndpointCounters({}), 100.4)
    window.add(read(reviews_baseline=520), 100.8)
    assert asked(window) == {BASE: 20}


def test_window_that_starts_without_a_pod_leaves_out_its_tries_from_before() -> None:
    window = started(reviews_baseline=500)
    window.add(read(reviews_baseline=510), 100.4)
    window.start(EndpointCounters({}), 100.5)
    window.add(read(reviews_baseline=600), 100.9)  # in part from before
    window.add(read(reviews_baseline=605), 101.3)
    assert asked(window) == {BASE: 5}


def test_window_counts_the_tries_of_a_pod_that_answers_slowly() -> None:
    window = started(reviews_baseline=500)
    for step in (1, 2):
        window.add(read(reviews_baseline=500 + 100 * step), 100.0 + 4.5 * step)
    assert asked(window) == {BASE: 200}


def test_window_tries_of_a_long_time_without_answer_are_of_no_window() -> None:
    window = started(reviews_baseline=500)
    for step in range(1, 150):
        window.add(EndpointCounters({}), 100.0 + 0.4 * step)
    window.add(read(reviews_baseline=1100), 160.0)
    window.add(read(reviews_baseline=1104), 160.4)
    assert asked(window) == {BASE: 4}
    assert window.totals[BASE].requests == 4


def test_logged_line_has_backend_latency_and_own_answer() -> None:
    (one,) = logged(line(BASELINE, ms=12), 5.0, "w-1")
    assert (one.backend, one.seconds, one.status, one.flags) == (BASE, 0.012, 200, "")
    (own,) = logged(line("", status=503, flags="FI"), 5.0, "w-1")
    assert (own.backend, own.status, own.flags) == (None, 503, "FI")
    assert list(logged("info Envoy proxy is ready", 5.0, "w-1")) == []


def test_lines_of_a_node_with_another_clock_belong_to_the_window_of_their_arrival() -> None:
    window = started()
    # The node's clock is ahead of ours by START.
    for second, arrival in ((0, 99.2), (1, 100.9), (2, 101.1)):
        moment = datetime.fromtimestamp(START + second).astimezone().isoformat()
        for one in logged(line(BASELINE).replace("2026-11-24T10:12:19.543Z", _utc(moment)), arrival, "w-1"):
            window.add_line(one)
    assert len(window.lines(101.5)) == 2


def test_lines_are_of_the_window_again_once_the_clock_of_a_node_was_set_back_or_is_another() -> None:
    window = started()
    for pod, ahead, arrival in (("w-1", 30.0, 101.0), ("w-1", 0.0, 112.0), ("w-2", 60.0, 112.0)):
        for one in logged(line(BASELINE), arrival, pod):
            window.add_line(replace(one, start=arrival + ahead))
    assert len(window.lines(113.0)) == 2


def test_lines_beyond_the_most_are_of_the_time_since_the_oldest_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "MOST_LOGGED", 2)
    window = started()
    assert window.lines_began == 100.0
    for arrival in (103.0, 104.0, 105.0):
        for one in logged(line(BASELINE), arrival, "w-1"):
            window.add_line(one)
    assert window.lines_began == 104.0


def _utc(moment: str) -> str:
    from datetime import UTC

    return datetime.fromisoformat(moment).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
