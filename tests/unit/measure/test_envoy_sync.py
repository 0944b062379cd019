"""Differences between a waypoint's Envoy and the config."""

from typing import Any

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.envoy_config import FAULT, problem
from waypoint_lab.measure.envoy_routes import affinity_cookie, serving, weights


def manager(route: dict[str, Any], *, rbac: tuple[str, ...] = ()) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [{}, {"action": "ALLOW", "policies": {name: {} for name in rbac}}] if rbac else []
    filters = [{"name": "envoy.filters.http.rbac", "typed_config": {"rules": item}} for item in rules]
    return {"route_config": {"virtual_hosts": [{"routes": [route]}]}, "http_filters": filters}


def cluster(service: str, weight: int = 1) -> dict[str, Any]:
    return {"name": f"inbound-vip|9080|http|{service}.bookinfo-backends.svc.cluster.local", "weight": weight}


def test_weights_of_a_route_are_shares() -> None:
    route = {
        "route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 80), cluster("reviews-stable", 20)]}}
    }
    assert weights(route) == {"reviews-baseline": 0.8, "reviews-stable": 0.2}


def test_problem_old_weight_is_named() -> None:
    config = lab_config("waypoint", "canary", canary={"weight": 50})
    old = {
        "route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 80), cluster("reviews-stable", 20)]}}
    }
    new = {"route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 1), cluster("reviews-stable", 1)]}}}
    assert problem(config, manager(old)) == "the waypoint sends 20% to reviews-stable"
    assert problem(config, manager(new)) == ""


def test_problem_remaining_fault_is_named() -> None:
    fault = {"envoy.filters.http.fault": {"abort": {"percentage": {"numerator": 50}}}}
    route = {"route": {"cluster": cluster("reviews")["name"]}, "typed_per_filter_config": fault}
    assert problem(lab_config("waypoint"), manager(route)) == "the waypoint aborts 50 %"
    assert problem(lab_config("waypoint", "abort"), manager(route)) == ""


@pytest.mark.parametrize("baseline", ["shop-upstream", "reviews-baseline"])
def test_problem_failing_workload_has_its_exact_name(baseline: str) -> None:
    names = {"baseline": {"service": baseline}, "canary": {"service": "reviews-stable"}}
    app, fault = {"backends": names}, {"at": "upstream"}
    plain, failing = ({"route": {"cluster": cluster(name)["name"]}} for name in (baseline, "reviews-fault-upstream"))
    assert problem(lab_config("waypoint", app=app), manager(plain)) == ""
    faulty = lab_config("waypoint", "abort", app=app, fault=fault)
    assert problem(faulty, manager(plain)) == f"the waypoint routes to {baseline}"
    assert problem(faulty, manager(failing)) == ""


def test_problem_failing_workload_gets_no_request_beside_a_canary_of_all() -> None:
    app = {"backends": {"baseline": {"service": "reviews-v1"}, "canary": {"service": "reviews-v3"}}}
    declared = {"app": app, "fault": {"at": "upstream"}, "trafficApi": "virtual-service"}
    route = {"route": {"cluster": cluster("reviews-v3")["name"]}}
    assert problem(lab_config("waypoint", "canary", "abort", canary={"weight": 100}, **declared), manager(route)) == ""


def test_problem_policy_needs_the_rules_of_the_waypoint() -> None:
    route = {"route": {"cluster": cluster("reviews")["name"]}}
    config = lab_config("waypoint", "l7Policy")
    assert problem(config, manager(route)) == "the waypoint lacks the policy reviews-l7-policy"
    users, own = ("ns[n]-policy[users]-rule[0]", "ns[n]-policy[reviews-l7-policy]-rule[0]")
    assert problem(config, manager(route, rbac=(users,))) == "the waypoint lacks the policy reviews-l7-policy"
    assert problem(config, manager(route, rbac=(users, own))) == ""
    without = lab_config("waypoint")
    assert problem(without, manager(route, rbac=(users,))) == ""
    assert problem(without, manager(route, rbac=(own,))) == "the waypoint has the policy reviews-l7-policy"


def exact(name: str, value: str, service: str) -> dict[str, Any]:
    """A route to `service` by a header."""
    match = {"headers": [{"name": name, "string_match": {"exact": value}}]}
    return {"match": match, "route": {"cluster": cluster(service)["name"]}}


@pytest.mark.parametrize("name", ["End-User", "end-user", "END-USER"])
def test_serving_route_header_names_have_no_case(name: str) -> None:
    route = exact("end-user", "jane", "reviews-stable")
    assert serving([route], {name: "jane"}) == route
    assert serving([route], {name: "Jane"}) is None


GOLD = [{"name": "Tier", "string_match": {"exact": "gold"}}]


@pytest.mark.parametrize(
    ("match", "path", "hit"),
    [
        ({"path": "/cart"}, "/cart?a=b", True),
        ({"path": "/cart"}, "/cart/1", False),
        ({"path_separated_prefix": "/cart"}, "/cart", True),
        ({"path_separated_prefix": "/cart"}, "/cart/1", True),
        ({"path_separated_prefix": "/cart"}, "/cartoon", False),
        ({"safe_regex": {"regex": "/cart(/.*)?"}}, "/cart/1", True),
        ({"safe_regex": {"regex": "/cart(/.*)?"}}, "/cartoon", False),
        ({"prefix": "/"}, "/cart", True),
        ({"prefix": "/b"}, "/cart", False),
        ({"prefix": "/", "query_parameters": GOLD}, "/cart?a=b&Tier=gold", True),
        ({"prefix": "/", "query_parameters": GOLD}, "/cart?tier=gold", False),
    ],
)
def test_serving_route_by_path_and_query(match: dict[str, Any], path: str, hit: bool) -> None:
    route = {"match": match}
    assert (route if hit else None) == serving([route], path=path)


def test_problem_cohort_by_path_is_in_sync_and_must_go_with_its_setting() -> None:
    to_canary = {"match": {"path": "/cart"}, "route": {"cluster": cluster("reviews-stable")["name"]}}
    plain = {"route": {"cluster": cluster("reviews-baseline")["name"]}}
    dump = {"route_config": {"virtual_hosts": [{"routes": [to_canary, plain]}]}, "http_filters": []}
    canary: dict[str, Any] = {"weight": 0, "cohort": {"path": "/cart"}}
    assert problem(lab_config("waypoint", "canary", canary=canary), dump) == ""
    without = problem(lab_config("waypoint", "canary", canary={"weight": 0}), dump)
    assert without == "the waypoint has a route for a cohort to reviews-stable"


@pytest.mark.parametrize("name", ["End-User", "end-user"])
def test_problem_cohort_with_upper_case_is_in_sync(name: str) -> None:
    config = lab_config("waypoint", "canary", canary={"weight": 0, "cohort": {"header": name, "value": "jane"}})
    routes = [exact("end-user", "jane", "reviews-stable"), exact("x", "", "reviews")["route"]]
    plain = {"route": {"cluster": cluster("reviews-baseline")["name"]}}
    dump = {"route_config": {"virtual_hosts": [{"routes": [routes[0], plain]}]}, "http_filters": []}
    assert problem(config, dump) == ""


@pytest.mark.parametrize("name", ["X-Lab", "x-lab"])
def test_problem_added_header_with_upper_case_is_in_sync(name: str) -> None:
    config = lab_config("waypoint", "canary", canary={"weight": 0, "requestHeaders": {name: "a"}})
    route = {"route": {"cluster": cluster("reviews-baseline")["name"]}}
    added = [{"header": {"key": "x-lab", "value": "a"}}]
    assert problem(config, manager({**route, "request_headers_to_add": added})) == ""
    assert problem(config, manager(route)) == "the waypoint adds these headers to each request: none"


@pytest.mark.parametrize(("seconds", "written"), [(0.1234, "0.123s"), (2.0, "2s"), (0.001, "0.001s")])
def test_problem_delay_is_compared_in_milliseconds(seconds: float, written: str) -> None:
    config = lab_config("waypoint", "delay", fault={"delay": {"seconds": seconds}})
    route = {"route": {"cluster": cluster("reviews")["name"]}}
    delayed = {**route, "typed_per_filter_config": {FAULT: {"delay": {"fixed_delay": written}}}}
    assert problem(config, manager(delayed)) == ""
    assert problem(config, manager(route)) == "the waypoint delays by 0s"


@pytest.mark.parametrize(("method", "writes"), [("POST", False), ("GET", False), ("POST", True)])
def test_problem_retries_are_those_of_the_requests_method(method: str, writes: bool) -> None:
    policy = {"retry_on": "5xx", "num_retries": 3}
    route = {"cluster": cluster("reviews")["name"]}
    safe = [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD|OPTIONS"}}}]
    routes = [{"match": {"headers": safe}, "route": {**route, "retry_policy": policy}}, {"route": route}]
    if writes:
        routes = [{"route": {**route, "retry_policy": policy}}]
    config = lab_config("waypoint", "retries", app={"request": {"method": method}}, retries={"writes": writes})
    assert problem(config, {"route_config": {"virtual_hosts": [{"routes": routes}]}}) == ""
    without = problem(config, manager({"route": route}))
    assert without == ("the waypoint retries 0 times on 5xx" if method == "GET" or writes else "")


@pytest.mark.parametrize("cookie", [{}, {"Cookie": "session=abc"}])
def test_problem_cohort_by_cookie_is_in_sync_beside_another_cookie(cookie: dict[str, str]) -> None:
    regex = r"(.*;\s*)?tier=gold(;.*)?"
    match = {"headers": [{"name": "cookie", "string_match": {"safe_regex": {"regex": regex}}}]}
    login = {"headers": [{"name": "cookie", "string_match": {"safe_regex": {"regex": "session=abc.*"}}}]}
    plain = {"match": login if cookie else {}, "route": {"cluster": cluster("reviews-baseline")["name"]}}
    gold = {"match": match, "route": {"cluster": cluster("reviews-stable")["name"]}}
    canary = {"weight": 0, "cohort": {"cookie": "tier", "value": "gold"}}
    config = lab_config("waypoint", "canary", canary=canary, app={"request": {"headers": cookie}})
    assert problem(config, {"route_config": {"virtual_hosts": [{"routes": [gold, plain]}]}}) == ""


@pytest.mark.parametrize("weight", [50, 100])
def test_problem_session_affinity_compares_the_cookie(weight: int) -> None:
    config = lab_config("waypoint", "canary", canary={"weight": weight, "sessionAffinity": {"maxAgeSeconds": 60}})
    header = {"key": "set-cookie", "value": "waypoint-lab-backend=reviews-stable.4d2f; Path=/"}
    added = {"response_headers_to_add": [{"header": header}]}
    new = cluster("reviews-stable", weight)
    if weight == 100:
        plain = {"route": {"cluster": new["name"]}, **added}
    else:
        plain = {"route": {"weighted_clusters": {"clusters": [cluster("reviews-baseline", 50), {**new, **added}]}}}
    assert affinity_cookie(plain) == "waypoint-lab-backend=reviews-stable.4d2f"

    def found(pattern: str) -> str:
        match = {"headers": [{"name": "cookie", "string_match": {"safe_regex": {"regex": pattern}}}]}
        kept = {"match": match, "route": {"cluster": new["name"]}}
        return problem(config, {"route_config": {"virtual_hosts": [{"routes": [kept, plain]}]}})

    assert found(r"(.*;\s*)?waypoint\-lab\-backend=reviews\-stable\.4d2f(;.*)?") == ""
    if weight < 100:
        said = "the waypoint sends users with the cookie to reviews-baseline, reviews-stable"
        assert found(r"(.*;\s*)?waypoint\-lab\-backend=reviews\-stable\.0000(;.*)?") == said


def test_current_cookie_is_that_of_the_services_own_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def listener(port: int, backend: str) -> dict[str, object]:
        header = {"key": "set-cookie", "value": f"waypoint-lab-backend={backend}; Path=/"}
        added = [{"header": {"key": "x-lab", "value": "a=b"}}, {"header": header}]
        route = {"route": {"cluster": cluster(backend)["name"]}, "response_headers_to_add": added}
        name = f"inbound-vip|{port}|http|reviews.bookinfo-backends.svc.cluster.local"
        manager = {"route_config": {"name": name, "virtual_hosts": [{"routes": [route]}]}}
        return {"active_state": {"listener": {"filter_chains": [{"filters": [{"typed_config": manager}]}]}}}

    dump = {"configs": [listener(80, "other"), listener(9080, "reviews-stable")]}
    monkeypatch.setattr(envoy_config, "_dumps", lambda *_: iter([("waypoint-1", dump)]))
    config = lab_config("waypoint", "canary", canary={"weight": 50, "sessionAffinity": {"maxAgeSeconds": 60}})
    assert envoy_config.current_cookie(config) == "waypoint-lab-backend=reviews-stable"
