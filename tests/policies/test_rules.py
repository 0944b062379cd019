import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.fault_upstream import envoy_config
from policies.rules import RULES, Object

_CLASS = {"gatewayClassName": "istio-waypoint"}
WAYPOINT = Object("Gateway", {"metadata": {"name": "w", "namespace": "n"}, "spec": _CLASS})


def route(*weights: int) -> Object:
    refs = [{"name": f"s{number}", "weight": weight} for number, weight in enumerate(weights)]
    spec = {"parentRefs": [{"kind": "Service", "name": "reviews"}], "rules": [{"backendRefs": refs}]}
    return Object("HTTPRoute", {"metadata": {"name": "r", "namespace": "n"}, "spec": spec})


def virtual_service(host: str, fault: dict[str, Any]) -> Object:
    spec = {"hosts": [host], "http": [{"fault": fault}]}
    return Object("VirtualService", {"metadata": {"name": "v", "namespace": "n"}, "spec": spec})


def policy(**spec: object) -> Object:
    return Object("AuthorizationPolicy", {"metadata": {"name": "p", "namespace": "n"}, "spec": spec})


def enrolled(waypoint: str) -> Object:
    return Object("NamespacePatch", {"metadata": {"name": "n", "labels": {"istio.io/use-waypoint": waypoint}}})


def abort(percent: float) -> dict[str, Any]:
    return {"abort": {"httpStatus": 503, "percentage": {"value": percent}}}


def upstream(millionths: int) -> Object:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": millionths / 10_000}}}
    data = {"envoy.json": json.dumps(envoy_config("h", 1, fault))}
    return Object("ConfigMap", {"metadata": {"name": "c", "namespace": "n"}, "data": data})


def cases() -> Iterator[tuple[str, list[Object], dict[str, Any], str]]:
    name = "weights-add-up"
    yield name, [route(80, 20), route(100), route(1)], {}, ""
    yield name, [route(80, 30)], {}, "HTTPRoute n/r: weights of rule 1 add up to 110, not to 100"
    yield name, [route(8, 2)], {"total": 10}, ""
    yield name, [route(0, 0)], {}, "HTTPRoute n/r: rule 1 has no weight above 0, so every request fails"
    name = "one-owner-per-service"
    yield name, [route(1), virtual_service("ratings", {})], {}, ""
    for host in ("reviews", "reviews.n", "reviews.n.svc.cluster.local"):
        said = "VirtualService n/v: HTTPRoute n/r has Service n/reviews already, and hides this one"
        yield name, [route(1), virtual_service(host, {})], {}, said
    yield name, [route(1), virtual_service("reviews.other", {})], {}, ""
    name = "target-refs-only"
    yield name, [WAYPOINT, policy(targetRefs=[{"kind": "Service"}])], {}, ""
    yield name, [policy(selector={"matchLabels": {}})], {}, ""
    said = "AuthorizationPolicy n/p: has a selector, which a waypoint ignores; bind it by targetRefs"
    yield name, [WAYPOINT, policy(selector={"matchLabels": {"a": "b"}})], {}, said
    name = "fault-limits"
    yield name, [virtual_service("r", abort(50)), virtual_service("r", {"delay": {"fixedDelay": "2s"}})], {}, ""
    said = "VirtualService n/v: aborts 50 % of requests; the limit is 25 %"
    yield name, [virtual_service("r", abort(50))], {"maxPercent": 25}, said
    said = "VirtualService n/v: delays by 10.5 s; the limit is 10 s"
    yield name, [virtual_service("r", {"delay": {"fixedDelay": "10500ms"}})], {}, said
    said = "ConfigMap n/c: aborts 50 % of requests; the limit is 25 %"
    yield name, [upstream(500_000)], {"maxPercent": 25}, said
    yield name, [upstream(250_000)], {"maxPercent": 25}, ""
    name = "enrolled-with-its-gateway"
    yield name, [WAYPOINT, enrolled("w"), enrolled("none")], {}, ""
    said = "NamespacePatch n: enrolled in n/other without a Gateway"
    yield name, [WAYPOINT, enrolled("other")], {}, said


@pytest.mark.parametrize(("name", "objects", "settings", "said"), list(cases()))
def test_a_rule_says_one_line_where_it_is_broken_and_nothing_where_it_is_kept(
    name: str, objects: list[Object], settings: dict[str, Any], said: str
) -> None:
    assert list(RULES[name](objects, settings)) == ([said] if said else [])


def test_every_rule_has_a_passing_and_a_failing_case() -> None:
    seen = {(name, bool(said)) for name, _objects, _settings, said in cases()}
    assert seen == {(name, broken) for name in RULES for broken in (True, False)}


def test_the_pack_names_a_runtime_that_is_there() -> None:
    text = Path("policies/PulumiPolicy.yaml").read_text()
    assert "name: python" in text
    assert "virtualenv: ../.venv" in text
