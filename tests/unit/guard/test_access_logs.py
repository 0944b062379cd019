"""Lines of an access log become latencies by interval, and answers of the waypoint itself."""

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.measure.waypoint_logs import REAL
from waypoint_lab.guard import access_logs
from waypoint_lab.measure import access_log
from waypoint_lab.measure.endpoint_counters import Destination

REVIEWS = Destination("reviews.bookinfo-backends.svc.cluster.local", 9080)
UPSTREAM = '"10.244.1.1:9080" inbound-vip|9080|http|reviews.bookinfo-backends.svc.cluster.local'


def at(second: int, milliseconds: int = 5) -> str:
    """Return a request of this second."""
    return REAL.replace("10:12:19.543", f"10:12:{second:02}.500").replace(" 440 5 4 ", f" 440 {milliseconds} 4 ")


def own(second: int, status: int, flags: str, cluster: str = "-") -> str:
    """Return a request that the waypoint answers itself."""
    return at(second).replace(UPSTREAM, f'"-" {cluster}').replace(" 200 - via_upstream ", f" {status} {flags} why ")


def test_latencies_are_those_of_their_intervals() -> None:
    found = access_logs.parsed("\n".join([at(11, 9), at(13, 7), at(14, 30), at(20, 1500)]), [3.0, 4.0])
    assert found is not None
    assert found.latencies == {REVIEWS: [[0.007, 0.03], [1.5]]}


def test_answers_of_the_waypoint_have_no_latency() -> None:
    lines = [
        own(20, 503, "NC", "outbound|9080||x.y"),
        own(20, 503, "UH", UPSTREAM.split()[1]),
        own(20, 403, "-"),
        at(21),
    ]
    found = access_logs.parsed("\n".join(lines), [5.0])
    assert found is not None
    assert found.answers == {"503 NC": 1, "503 UH": 1, "403": 1}
    assert found.latencies == {REVIEWS: [[0.005]]}


def test_log_without_requests_is_none() -> None:
    assert access_logs.parsed("2026-11-24T10:12:19Z info Envoy proxy is ready\n", [5.0]) is None


def test_outcomes_are_the_destinations_or_the_answers_since_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [at(9), own(12, 503, "NC"), at(11), at(13).replace(" 200 - ", " 503 URX ")]
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(access_log, "selected", lambda *what: asked.append(what) or "\n".join(lines))
    since = datetime.fromisoformat("2026-11-24T10:12:10Z").timestamp()
    monkeypatch.setattr(access_logs, "time", SimpleNamespace(time=lambda: since + 20))
    waypoints: Any = SimpleNamespace(target=None, namespace="shop", names=["a", "b"])
    found = access_logs.outcomes(waypoints, since)
    assert [(round(start - since, 3), text) for start, text in found] == [
        (1.5, "reviews:9080"),
        (2.5, "503 NC"),
        (3.5, "reviews:9080 503"),
    ]
    assert asked == [(None, "shop", "gateway.networking.k8s.io/gateway-name in (a,b)", 25)]
