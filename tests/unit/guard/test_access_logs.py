"""Lines of an access log become latencies by interval, and answers of the waypoint itself."""

from tests.unit.measure.waypoint_logs import REAL
from waypoint_lab.guard import access_logs
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
