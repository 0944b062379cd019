"""Traffic of a Service, from arguments to the objects of both APIs."""

import json
from typing import Any

import pulumi
import pytest

from components import CanaryRoute, ChaosRule, ServiceTraffic
from tests.unit.components.recording import Recording, run

SERVICE: dict[str, Any] = {"namespace": "shop", "service": "cart", "port": 80}
SPLIT = {"baseline": "old", "canary": "new", "weight": 20}
COHORT = {"header": "x-team", "value": "testers", "backends": [{"name": "new"}]}
ABORT = {"abort": {"status": 503}}
KINDS: dict[str, Any] = {"CanaryRoute": CanaryRoute, "ChaosRule": ChaosRule, "ServiceTraffic": ServiceTraffic}


def made(kind: str, **args: Any) -> Recording:
    return run(lambda: KINDS[kind]("t", {**SERVICE, **args}))


def spec(kind: str, **args: Any) -> dict[str, Any]:
    return dict(made(kind, **args).inputs("t-route" if kind == "CanaryRoute" else "t-rule")["spec"])


@pytest.mark.parametrize(
    ("weight", "want"),
    [(0.1, [999, 1]), (12.5, [875, 125]), (99.9999, [1, 999_999]), (20, [80, 20]), (20.0, [80, 20]), (100, [100])],
)
@pytest.mark.parametrize("kind", ["CanaryRoute", "ServiceTraffic"])
def test_weight_with_decimals_becomes_whole_weights(kind: str, weight: float, want: list[int]) -> None:
    found = spec(kind, **{**SPLIT, "weight": weight})
    rule = found["rules"][-1]["backendRefs"] if kind == "CanaryRoute" else found["http"][-1]["route"]
    assert [entry.get("weight", 100) for entry in rule] == want


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("ChaosRule", {**ABORT, "headers": {"end-user": "jane"}, "retries": {"attempts": 2}, "timeout": "1s"}),
        ("ChaosRule", {**ABORT, "fault_at": "upstream", "baseline": "old"}),
        (
            "ServiceTraffic",
            {
                **SPLIT,
                **ABORT,
                "cohorts": [{"header": "h", "value": "v", "backends": [{"name": "new"}]}],
                "session_affinity": {"backend": "new"},
                "fault_headers": {"end-user": "jane"},
                "retries": {"attempts": 2},
                "mirrors": [{"name": "new"}],
                "timeout": "1s",
            },
        ),
    ],
)
def test_virtual_service_rules_match_the_declared_port_only(kind: str, args: dict[str, Any]) -> None:
    rules = spec(kind, **args)["http"]
    assert rules
    assert {80} == {match["port"] for rule in rules for match in rule["match"]}
    assert all(len(rule["match"]) == 1 for rule in rules)


@pytest.mark.parametrize("kind", ["CanaryRoute", "ServiceTraffic"])
def test_header_values_are_literal_and_names_have_lower_case(kind: str) -> None:
    changes = {"set": {"X-Discount": "50%"}, "add": {"x-who": "%REQ(authorization)%"}, "remove": ["X-Old"]}
    text = json.dumps(spec(kind, **SPLIT, response_headers=changes))
    assert "50%%" in text
    assert "%%REQ(authorization)%%" in text
    assert "x-discount" in text
    assert "x-old" in text
    assert "X-" not in text


@pytest.mark.parametrize("kind", ["CanaryRoute", "ServiceTraffic"])
def test_names_and_header_values_as_outputs_keep_secrets(kind: str) -> None:
    def program() -> None:
        given = {
            **SERVICE,
            "namespace": pulumi.Output.from_input("shop"),
            "service": pulumi.Output.from_input("cart"),
            "backends": [{"name": pulumi.Output.from_input("old")}, {"name": "new"}],
            "mirrors": [{"name": pulumi.Output.from_input("new")}],
            "request_headers": {"set": {"x-key": pulumi.Output.secret("50%")}},
        }
        KINDS[kind]("t", given)

    record = run(program)
    name = "t-route" if kind == "CanaryRoute" else "t-rule"
    assert record.inputs(name)["metadata"]["namespace"] == "shop"
    text = json.dumps(record.inputs(name)["spec"])
    assert "50%%" in text
    assert ("old.shop.svc.cluster.local" in text) is (kind == "ServiceTraffic")
    signature = "4dabf18193072939515e22adb298388d"  # of a secret, on its way to the engine
    assert signature in str(record.requests[name].object)


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [
        (
            "CanaryRoute",
            {**SPLIT, "timeout": "10s", "try_timeout": "500ms"},
            "try_timeout is .500ms.: it must be left out beside timeout",
        ),
        (
            "ChaosRule",
            {"timeout": "1s", "retries": {"attempts": 1, "per_try_timeout": "2s"}},
            "retries.per_try_timeout",
        ),
        ("ChaosRule", {"retries": {"attempts": 1, "retry_on": "5xx,often"}}, 'retries.retry_on is "often"'),
        ("ChaosRule", {"delay": {"seconds": 0.0015}}, "at most three decimals"),
        ("CanaryRoute", {**SPLIT, "service": "Cart"}, "a DNS label"),
        ("CanaryRoute", {**SPLIT, "canary": "new.other"}, "a DNS label"),
        ("CanaryRoute", {"backends": [{"name": f"b{i}"} for i in range(17)]}, "backends is 17: it must be at most 16"),
        (
            "CanaryRoute",
            {**SPLIT, "cohorts": [{"header": "h", "value": str(i), "backends": [{"name": "new"}]} for i in range(16)]},
            "is 17: it must be at most 16 rules of one HTTPRoute",
        ),
        (
            "CanaryRoute",
            {**SPLIT, "request_headers": {"set": {f"x-{i}": "v" for i in range(17)}}},
            "at most 16 headers",
        ),
        ("CanaryRoute", {**SPLIT, "request_headers": {"set": {"Host": "x"}}}, "another header"),
        ("CanaryRoute", {**SPLIT, "request_headers": {"set": {"x-a": "1"}, "remove": ["X-A"]}}, "different names"),
        ("CanaryRoute", {**SPLIT, "session_affinity": {"backend": "other"}}, "the name of a backend"),
        ("CanaryRoute", {**SPLIT, "cohorts": [COHORT, {**COHORT, "header": "X-Team"}]}, "other requests: the second"),
        (
            "CanaryRoute",
            {**SPLIT, "cohorts": [{"header": ":path", "value": "v", "backends": [{"name": "new"}]}]},
            "the name of a header",
        ),
        (
            "CanaryRoute",
            {**SPLIT, "cohorts": [{"header": "h", "value": "(?=a)", "match": "RegularExpression", "backends": []}]},
            "a regular expression of RE2",
        ),
        ("ServiceTraffic", {"backends": [{"name": "a", "weight": 999_999.5}]}, "at most 1000000 without the point"),
        ("ServiceTraffic", {**ABORT, "duration": {"seconds": 9, "id": "x" * 50}}, "name of the fault's Job"),
    ],
)
def test_traffic_that_an_api_rejects_is_refused_in_one_line(kind: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said) as caught:
        made(kind, **args)
    assert len(str(caught.value).splitlines()) == 1


def test_chaos_rule_with_0_attempts_has_no_other_retry_field() -> None:
    (only,) = spec("ChaosRule", retries={"attempts": 0})["http"]  # for every method
    assert only["match"] == [{"port": 80}]
    assert only["retries"] == {"attempts": 0}


def upstream() -> Recording:
    duration = {"seconds": 30, "id": "abc"}
    return made("ServiceTraffic", **SPLIT, **ABORT, fault_at="upstream", duration=duration)


def test_fault_upstream_adds_only_the_fault() -> None:
    config = json.loads(upstream().inputs("t-upstream-config")["data"]["envoy.json"])["static_resources"]
    manager = config["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert route["route"] == {
        "cluster": "baseline",
        "timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    assert manager["stream_idle_timeout"] == "0s"
    (protocol,) = config["clusters"][0]["typed_extension_protocol_options"].values()
    assert {"http_protocol_options", "http2_protocol_options"} == protocol["use_downstream_protocol_config"].keys()
    rule = upstream().inputs("t-upstream-destination")["spec"]
    assert rule["host"] == "t-upstream.shop.svc.cluster.local"
    assert rule["trafficPolicy"] == {"connectionPool": {"http": {"useClientProtocol": True}}}


@pytest.mark.parametrize("name", ["t-upstream-deployment", "t-fault-expiry-job"])
def test_pods_fit_the_restricted_pod_security_level(name: str) -> None:
    (container,) = upstream().inputs(name)["spec"]["template"]["spec"]["containers"]
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(port["containerPort"] >= 1024 for port in container.get("ports", []))
