"""Objects of the API server in one line, and their changes."""

from typing import Any

import pytest

from tests.unit.live.answers import BASELINE, CANARY, NAMESPACE, http_route, listeners
from waypoint_lab import masking
from waypoint_lab.live import envoy_state, objects
from waypoint_lab.live.cluster_objects import ClusterObjects
from waypoint_lab.live.objects import RouteTarget

META = {"name": "reviews-traffic", "namespace": NAMESPACE}
HOST = f".{NAMESPACE}.svc.cluster.local"


def virtual_service(**fault: Any) -> dict[str, Any]:
    ports = [(f"{BASELINE}{HOST}", 80), (CANARY, 20)]
    route = [{"destination": {"host": host, "port": {"number": 9080}}, "weight": weight} for host, weight in ports]
    jane = {"match": [{"headers": {"end-user": {"exact": "jane"}}}], "route": route, "fault": fault}
    everyone = {"match": [{"port": 9080}], "route": route}
    return {"metadata": META, "spec": {"hosts": [f"reviews{HOST}"], "http": [jane, everyone]}}


def denied(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"targetRefs": [{"name": "reviews"}], "action": "DENY", "rules": list(rules)}


def test_http_route_has_the_weights_of_its_rule_for_all() -> None:
    ((where, weights),) = objects.http_route(http_route((BASELINE, 3), (CANARY, 1)))
    assert RouteTarget("reviews", NAMESPACE, 9080) == where
    assert objects.described(weights) == "75 % reviews-baseline, 25 % reviews-stable"


def test_virtual_service_takes_short_and_long_names() -> None:
    ((where, weights),) = objects.virtual_service(virtual_service())
    assert RouteTarget("reviews", NAMESPACE, 0) == where
    assert {RouteTarget(BASELINE, NAMESPACE, 9080): 80.0, RouteTarget(CANARY, NAMESPACE, 9080): 20.0} == weights


def test_faults_name_percentage_header_and_expiry() -> None:
    item = virtual_service(
        abort={"httpStatus": 503, "percentage": {"value": 50}}, delay={"fixedDelay": "2s", "percent": 100}
    )
    item["metadata"] = {**META, "annotations": {"waypoint-lab/fault-until": "abc 2026-11-24T10:12:19+00:00"}}
    abort, delay = objects.faults(item)
    assert abort.text == "abort with 503 for 50 % of requests with end-user=jane"
    assert delay.text == "delay 2s for 100 % of requests with end-user=jane"
    assert delay.until == 1795515139.0


def test_fault_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", {"jane"})
    item = virtual_service(abort={"httpStatus": 503})
    (fault,) = objects.faults(item)
    assert fault.text.endswith("with end-user=[secret]")
    assert "jane" not in objects.changed("VirtualService", item, "ADDED")


@pytest.mark.parametrize(
    ("fault", "want"),
    [
        ({"abort": {"httpStatus": 503}}, "abort with 503 for 0 % of requests"),
        ({"abort": {"httpStatus": 503, "percentage": {}}}, "abort with 503 for 0 % of requests"),
        ({"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 3}}}, "abort with UNAVAILABLE for 3 %"),
        ({"delay": {"fixedDelay": "5s", "percent": 10}}, "delay 5s for 10 % of requests"),
        ({"delay": {"fixedDelay": "6s"}}, "delay 6s for 0 % of requests"),
    ],
)
def test_fault_without_percentage_hits_what_istio_injects(fault: dict[str, Any], want: str) -> None:
    (found,) = objects.faults(virtual_service(**fault))
    assert found.text.startswith(want)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"targetRefs": [{"name": "reviews"}], "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}, "ALLOW GET"),
        ({"targetRefs": [{"name": "reviews"}]}, "ALLOW nothing"),
        ({"targetRefs": [{"name": "reviews"}], "action": "DENY", "rules": [{}]}, "DENY all requests"),
        (denied({"to": [{"operation": {"notMethods": ["GET"]}}]}), "DENY some requests"),
        (denied({"to": [{"operation": {"hosts": ["a.example"]}}]}), "DENY some requests"),
        (denied({"when": [{"key": "request.headers[x-test]", "values": ["1"]}]}), "DENY some requests"),
        (denied({"to": [{"operation": {"methods": ["GET"]}}]}, {}), "DENY all requests"),
    ],
)
def test_policy_is_one_line(spec: dict[str, Any], want: str) -> None:
    assert f"{want} to reviews" == objects.policy({"metadata": META, "spec": spec}).text


def test_changes_are_seeded_from_the_list_and_have_the_new_weights() -> None:
    found = ClusterObjects()
    found.take("HTTPRoute", "LIST", {"items": [http_route((BASELINE, 1), manager="pulumi-kubernetes-1")]})
    found.take("HTTPRoute", "MODIFIED", http_route((BASELINE, 1), generation=2))
    found.take("HTTPRoute", "MODIFIED", http_route((BASELINE, 1), (CANARY, 1)))
    found.take("HTTPRoute", "DELETED", http_route((BASELINE, 1)))
    assert [one.text for one in found.changes] == [
        "HTTPRoute reviews: 100 % reviews-baseline (by Pulumi)",
        "HTTPRoute reviews: 50 % reviews-baseline, 50 % reviews-stable",
        "HTTPRoute reviews: deleted",
    ]
    assert found.changes[0].time == 1795515139.0
    assert found.declared().weights == {}


def test_object_that_a_second_list_lacks_was_deleted() -> None:
    found = ClusterObjects()
    found.take("HTTPRoute", "LIST", {"items": [http_route((BASELINE, 1))]})
    found.take("HTTPRoute", "LIST", {"items": []})
    assert found.changes[-1].text == "HTTPRoute reviews: deleted"


def test_object_of_unknown_shape_is_left_out() -> None:
    found = ClusterObjects()
    found.take("HTTPRoute", "ADDED", {"metadata": META, "spec": {"rules": [{"backendRefs": [{}]}]}})
    assert (found.declared().weights, found.changes[-1].text) == ({}, "HTTPRoute reviews-traffic: added")


def test_envoy_changes_name_the_new_weights_or_the_new_rules() -> None:
    before = envoy_state.read(listeners({BASELINE: 80, CANARY: 20}))
    weights = envoy_state.read(listeners({BASELINE: 50, CANARY: 50}))
    rules = envoy_state.read(listeners({BASELINE: 50, CANARY: 50}, more="fault"))
    assert envoy_state.changes(before, weights) == ["reviews: 50 % reviews-baseline, 50 % reviews-stable"]
    assert envoy_state.changes(weights, rules) == ["reviews: new rules, faults or policies"]
    assert envoy_state.changes(rules, {}) == ["reviews: no route"]
    assert envoy_state.changes(rules, dict(rules)) == []


EVERY = {"path": {"type": "PathPrefix", "value": "/"}}
TESTER = {**EVERY, "headers": [{"name": "end-user", "value": "tester"}]}


@pytest.mark.parametrize("matches", [[], [EVERY], [TESTER, EVERY]])
@pytest.mark.parametrize("last", [False, True])
def test_declared_weights_are_those_of_the_rule_for_all_wherever_it_is(matches: list[Any], last: bool) -> None:
    item = http_route((BASELINE, 80), (CANARY, 20))
    item["spec"]["rules"][0]["matches"] = matches
    header = http_route((CANARY, 1))["spec"]["rules"][0] | {"matches": [TESTER]}
    item["spec"]["rules"].insert(0 if last else 1, header)
    ((_, weights),) = objects.http_route(item)
    assert objects.described(weights) == "80 % reviews-baseline, 20 % reviews-stable"


def test_declared_weights_of_two_routes_are_those_of_the_one_for_all() -> None:
    found, header = ClusterObjects(), http_route((CANARY, 1))
    header["spec"]["rules"][0]["matches"] = [TESTER]
    service = RouteTarget("reviews", NAMESPACE, 9080)
    found.take("HTTPRoute", "ADDED", header)
    assert found.declared().weights == {service: {}}
    found.take("HTTPRoute", "ADDED", {**http_route((BASELINE, 1)), "metadata": {**META, "name": "all"}})
    found.take("HTTPRoute", "ADDED", {**header, "metadata": {**META, "name": "header"}})
    assert objects.described(found.declared().split(service)) == "100 % reviews-baseline"


def test_virtual_service_has_the_weights_of_its_first_rule_for_all() -> None:
    item = virtual_service()
    item["spec"]["http"].append({"route": [{"destination": {"host": CANARY}}]})  # which no request gets to
    ((_, weights),) = objects.virtual_service(item)
    assert objects.described(weights) == "80 % reviews-baseline, 20 % reviews-stable"


@pytest.mark.parametrize(
    ("matches", "want"),
    [
        ([{"headers": {"a": {"exact": "1"}, "b": {"exact": "2"}}}], " with a=1 and b=2"),
        ([{"headers": {"a": {"exact": "1"}}}, {"headers": {"a": {}}}], " with a=1 or a"),
        ([{"uri": {"prefix": "/admin"}, "method": {"exact": "POST"}}], " with uri prefix /admin and method POST"),
        ([{"port": 9081, "queryParams": {"q": {"exact": "x"}}}], " with query q=x and port 9081"),
        ([{"sourceNamespace": "shop", "port": 1}], " with port 1 and other conditions"),
        ([{"port": 9081}, {"name": "all"}], ""),
    ],
)
def test_fault_names_the_requests_that_its_rule_matches(matches: list[dict[str, Any]], want: str) -> None:
    item = virtual_service(delay={"fixedDelay": "2s", "percent": 100})
    item["spec"]["http"][0]["match"] = matches
    (fault,) = objects.faults(item)
    assert fault.text == f"delay 2s for 100 % of requests{want}"


def test_fault_of_several_rules_is_one_of_all_their_requests() -> None:
    item = virtual_service(delay={"fixedDelay": "2s", "percent": 100})
    (rule, _) = item["spec"]["http"]
    reads = {"port": 9080, "method": {"regex": "GET|HEAD"}}
    item["spec"]["http"] = [{**rule, "match": [match]} for match in (reads, {"port": 9080})]
    assert [one.text for one in objects.faults(item)] == ["delay 2s for 100 % of requests with port 9080"]


def test_fault_is_one_for_each_host() -> None:
    item = virtual_service(delay={"fixedDelay": "2s", "percent": 100})
    item["spec"]["hosts"] = ["reviews", f"reviews{HOST}", "ratings"]
    assert [one.service for one in objects.faults(item)] == ["reviews", "ratings"]
    assert objects.changed("VirtualService", item, "ADDED").count("delay 2s") == 1


def test_policy_of_a_waypoint_is_of_all_its_services() -> None:
    spec = {"targetRefs": [{"kind": "Gateway", "name": "waypoint"}], "rules": [{}]}
    found = objects.policy({"metadata": META, "spec": spec})
    assert (found.service, found.text) == ("", "ALLOW all requests to waypoint")
