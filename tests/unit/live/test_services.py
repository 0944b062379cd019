"""Services of a snapshot: shares by counters, or by the log where counters also have other requests."""

import pytest

from tests.unit.live.answers import BASELINE, CANARY, CONFIG, IP, NAMESPACE, counters, line, listeners
from tests.unit.live.test_window import BASE, NEXT
from waypoint_lab.live import envoy_state
from waypoint_lab.live.cluster_objects import SERVICE, ClusterObjects
from waypoint_lab.live.envoy_state import ServiceRoutes
from waypoint_lab.live.model import Service
from waypoint_lab.live.objects import RouteTarget
from waypoint_lab.live.services import Declared, services
from waypoint_lab.live.window import Window, logged
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import EndpointCounters

REVIEWS = RouteTarget("reviews", NAMESPACE, 9080)
LIVE = envoy_state.read(listeners({BASELINE: 80, CANARY: 20}))
DECLARED = Declared({REVIEWS: {BASE: 50.0, NEXT: 50.0}}, addresses={("reviews", NAMESPACE): (IP,)})


def shown(lines: list[str], declared: Declared = DECLARED) -> Service:
    """Return the Service after 90 requests to the baseline and 10 to the canary in 2 seconds."""
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    found = endpoint_counters.endpoints(counters(reviews_baseline=90, reviews_stable=10))
    window.add(EndpointCounters({"w": found}), 102.0)
    for text in lines:
        for one in logged(text, 101.5, "w"):
            window.add_line(one)
    (service,) = services(CONFIG, LIVE, declared, window, 102.0)
    return service


def test_backends_have_declared_live_and_measured_shares() -> None:
    service = shown([])
    assert (service.source, service.requests, service.rate) == ("counters", 100, 50.0)
    baseline, canary = service.backends
    assert (baseline.weight, baseline.live_weight, baseline.requests, baseline.role) == (50.0, 80.0, 90, "baseline")
    assert (canary.weight, canary.live_weight, canary.requests, canary.role) == (50.0, 20.0, 10, "canary")
    assert canary.share
    assert canary.share.low < 0.1 == canary.share.value < canary.share.high
    assert baseline.success
    assert pytest.approx(0.9) == baseline.success.value
    assert (baseline.p50_seconds, baseline.active) == (None, 1)


def test_latencies_and_own_answers_come_from_the_log() -> None:
    lines = [line(BASELINE, ms=value) for value in (2, 4, 90)] + [line("", status=503, flags="FI")]
    service = shown(lines)
    assert (service.own_answers, service.requests) == ({"503 FI": 1}, 101)
    assert (service.backends[0].p50_seconds, service.backends[0].p99_seconds) == (0.004, 0.09)


def test_direct_requests_to_a_backend_make_the_log_the_source() -> None:
    direct = [line(CANARY).replace(IP, "10.96.1.1")] * 50
    service = shown([line(BASELINE)] * 3 + [line(CANARY)] + direct)
    assert (service.source, service.requests, [one.requests for one in service.backends]) == ("access log", 4, [3, 1])


def test_requests_to_each_address_of_a_dual_stack_service_are_its_own() -> None:
    objects = ClusterObjects()
    spec = {"clusterIP": IP, "clusterIPs": [IP, "fd00::9"]}
    objects.take(SERVICE, "ADDED", {"metadata": {"name": "reviews", "namespace": NAMESPACE}, "spec": spec})
    objects.take(SERVICE, "ADDED", {"metadata": {"name": "outside", "namespace": NAMESPACE}, "spec": None})
    declared = Declared(DECLARED.weights, addresses=objects.declared().addresses)
    lines = [line(BASELINE, ms=4), line(BASELINE, ms=8).replace(IP, "[fd00::9]")]
    service = shown(lines, declared)
    assert (service.source, service.backends[0].p99_seconds) == ("counters", 0.008)


def test_mirrored_requests_make_the_log_the_source() -> None:
    mirrored = Declared(DECLARED.weights, {(CANARY, NAMESPACE)}, DECLARED.addresses)
    assert shown([line(BASELINE)], mirrored).source == "access log"
    assert shown([], mirrored).source == "counters"


def test_backend_without_requests_has_no_share() -> None:
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    (service,) = services(CONFIG, LIVE, DECLARED, window, 102.0)
    assert [(one.requests, one.share, one.success) for one in service.backends] == [(0, None, None)] * 2


def test_backend_of_a_rule_with_a_header_has_no_weight() -> None:
    live = envoy_state.read(listeners({"reviews-v2": 1}, {BASELINE: 80, CANARY: 20}))
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    (service,) = services(CONFIG, live, DECLARED, window, 102.0)
    assert {one.name: one.weight for one in service.backends} == {"reviews-v2": None, BASELINE: 50.0, CANARY: 50.0}


@pytest.mark.parametrize("zero", [BASELINE, CANARY])
def test_backend_of_weight_0_is_listed_though_neither_route_nor_envoy_has_it(zero: str) -> None:
    (other,) = {BASELINE, CANARY} - {zero}
    declared = Declared({REVIEWS: {RouteTarget(other, NAMESPACE, 9080): 100.0}})
    live = {
        **envoy_state.read(listeners({other: 100})),
        RouteTarget(zero, NAMESPACE, 9080): ServiceRoutes({}, (RouteTarget(zero, NAMESPACE, 9080),)),
    }
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    (service,) = services(CONFIG, live, declared, window, 102.0)
    weights = {one.name: (one.weight, one.live_weight) for one in service.backends}
    assert [*weights] == [BASELINE, CANARY]
    assert weights == {zero: (0.0, 0.0), other: (100.0, 100.0)}


def test_backend_that_envoy_does_not_have_yet_is_listed_with_its_declared_weight() -> None:
    live = envoy_state.read(listeners({BASELINE: 100}))
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    more = RouteTarget("reviews-v4", NAMESPACE, 0)
    (service,) = services(CONFIG, live, Declared({REVIEWS: {BASE: 80.0, more: 20.0}}), window, 102.0)
    assert [(one.name, one.port, one.weight, one.live_weight) for one in service.backends] == [
        (BASELINE, 9080, 80.0, 100.0),
        (CANARY, 9080, 0.0, 0.0),
        ("reviews-v4", 9080, 20.0, 0.0),
    ]


def test_weights_of_envoy_and_of_the_route_are_equal_where_both_are_live() -> None:
    live = envoy_state.read(listeners({BASELINE: 93, CANARY: 7}))
    window = Window(10.0)
    window.start(EndpointCounters({}), 100.0)
    declared = Declared({REVIEWS: {BASE: 100 * 93 / 100, NEXT: 100 * 7 / 100}})
    (service,) = services(CONFIG, live, declared, window, 102.0)
    assert [(one.weight, one.live_weight) for one in service.backends] == [(93.0, 93.0), (7.0, 7.0)]


def test_rate_by_a_log_of_too_many_lines_is_of_the_time_of_those_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.live.window.MOST_LOGGED", 50)
    direct = [line(CANARY).replace(IP, "10.96.1.1")] * 50
    service = shown([*direct, *[line(BASELINE)] * 49, direct[0]])  # all of them came half a second ago
    assert (service.source, service.requests, service.rate) == ("access log", 49, 98.0)
