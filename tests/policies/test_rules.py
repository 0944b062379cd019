"""Unit tests of the rules: a case each for a violation and for its absence."""

from typing import Any

import pytest

from policies.pack.mesh import seconds, service_of
from policies.pack.resources import ClusterSnapshot
from policies.pack.rules import authorization
from policies.pack.table import BY_NAME, TABLE
from tests.policies.builders import ENROLLED, enrolled, namespace, route, rule, snapshot, source, thing
from tests.policies.builders import authorization as a_policy
from tests.policies.cases import CASES


@pytest.mark.parametrize(("name", "snapshot", "parameters", "said"), CASES)
def test_rule_with_case_returns_expected_violation(
    name: str, snapshot: ClusterSnapshot, parameters: dict[str, Any], said: str
) -> None:
    row = BY_NAME[name]
    assert [line for _urn, line in row.violations(snapshot, parameters)] == ([f"{said}; {row.fix}"] if said else [])


def test_rule_has_a_passing_and_a_failing_case() -> None:
    seen = {(name, bool(said)) for name, _scene, _settings, said in CASES}
    assert seen == {(row.name, broken) for row in TABLE for broken in (True, False)}


def test_parameter_occurs_in_a_case() -> None:
    changed = {(name, key) for name, _scene, settings, _said in CASES for key in settings}
    assert changed == {(row.name, key) for row in TABLE for key in row.parameters}


def test_canary_waypoint_steps_applies_only_to_resources_with_a_waypoint_label() -> None:
    row = BY_NAME["canary-waypoint-steps"]
    assert row.applies_to(enrolled(primary="w"))
    assert row.applies_to(enrolled("s", canary="w"))
    assert not row.applies_to(enrolled(weight="20"))
    assert not row.applies_to(route())


def test_policy_with_unknown_parameter_reports_it() -> None:
    scene = snapshot(route(rule(100)))
    known = "canary-jump: unknown parameter maxPoint; it has maxPoints, baselines"
    assert [*BY_NAME["canary-jump"].violations(scene, {"maxPoint": 10})] == [("", known)]
    assert [*BY_NAME["canary-jump"].violations(scene, {"maxPoints": 10, "enforcementLevel": "mandatory"})] == []
    none = "targets-exist: unknown parameter level; it has none"
    assert [*BY_NAME["targets-exist"].violations(scene, {"level": 1})] == [("", none)]


def test_allow_includes_waypoint_reads_each_selector_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = authorization._selector
    monkeypatch.setattr(authorization, "_selector", lambda policy: read.append(policy.name) or original(policy))
    policies = [a_policy(f"p{number}", source(namespaces=["n"])) for number in range(5)]
    services = [thing("Service", f"s{number}", {"selector": {"app": str(number)}}) for number in range(5)]
    scene = snapshot(namespace(**ENROLLED), *policies, *services)
    assert [*BY_NAME["allow-includes-waypoint"].violations(scene, {})] == []
    assert len(read) == len(policies)


def test_service_of_host_returns_service_or_none() -> None:
    assert service_of("reviews", "n") == ("n", "reviews")
    assert service_of("reviews.m.svc.cluster.local", "n") == ("m", "reviews")
    assert service_of("api.example.com", "n") is None
    assert service_of("api.eu.example.com", "n") is None
    assert service_of("reviews.m", "n") is None
    assert service_of("reviews.m.svc", "n") is None
    assert service_of("*.n.svc.cluster.local", "n") is None


def test_seconds_of_go_duration_returns_seconds() -> None:
    assert seconds("1m30s") == 90
    assert seconds("1500ms") == 1.5
    assert seconds("") == 0
