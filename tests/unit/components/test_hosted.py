import json
import re
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

import components
from tests.unit.components.hosts import host
from tests.unit.components.recording import Recording, run


def construct(kind: str, inputs: dict[str, Any]) -> Recording:
    """Return the resources of inputs as the engine sends them, with numbers as floats."""
    arrived = json.loads(json.dumps(inputs), parse_int=float)
    return run(lambda: host().construct("given", f"waypoint-lab:index:{kind}", arrived))


def test_construct_of_a_canary_route_passes_backends_and_cohorts() -> None:
    made = construct(
        "CanaryRoute",
        {
            "namespace": "n",
            "service": "s",
            "port": 80,
            "backends": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1, "port": 81}],
            "cohorts": [
                {"header": "h", "value": "v.*", "match": "RegularExpression", "backends": [{"name": "b"}]},
            ],
            "limitSeconds": 5,
        },
    )
    spec = made.inputs("given-route")["spec"]
    assert spec["parentRefs"] == [{"group": "", "kind": "Service", "name": "s", "port": 80}]
    cohort, rest = spec["rules"]
    header = {"type": "RegularExpression", "name": "h", "value": "v.*"}
    assert cohort["matches"] == [{"headers": [header]}]
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in cohort["backendRefs"]] == [("b", 80, 1)]
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in rest["backendRefs"]] == [("a", 80, 3), ("b", 81, 1)]
    assert made.hooks == ["given-route-ready", "given-route-synced"]


def test_construct_of_a_chaos_rule_passes_delay_abort_and_retries() -> None:
    made = construct(
        "ChaosRule",
        {
            "namespace": "n",
            "service": "s",
            "port": 80,
            "delay": {"seconds": 0.25, "percent": 10},
            "abort": {"status": 503, "percent": 0.5},
            "retries": {"attempts": 3, "perTryTimeout": "500ms", "retryOn": "5xx", "writes": True},
            "timeout": "3s",
            "headers": {"End-User": "someone"},
            "clusterDomain": "example.org",
        },
    )
    spec = made.inputs("given-rule")["spec"]
    assert spec["hosts"] == ["s.n.svc.example.org"]
    rule, plain = spec["http"]
    assert rule["match"] == [{"headers": {"end-user": {"exact": "someone"}}, "port": 80}]
    assert rule["fault"] == {
        "delay": {"fixedDelay": "250ms", "percentage": {"value": 10}},
        "abort": {"httpStatus": 503, "percentage": {"value": 0.5}},
    }
    assert rule["retries"] == {"attempts": 3, "retryOn": "5xx", "perTryTimeout": "500ms"}
    assert rule["timeout"] == "3s"
    assert plain == {"match": [{"port": 80}], "route": rule["route"]}


def test_construct_of_policy_and_waypoint_passes_all_inputs() -> None:
    rules = [{"methods": ["GET"], "headers": {"X-Team": ["a", "b"]}, "namespaces": ["n"]}]
    made = construct("L7Policy", {"namespace": "n", "services": ["s"], "action": "DENY", "rules": rules})
    spec = made.inputs("given-policy")["spec"]
    assert spec["action"] == "DENY"
    assert spec["rules"] == [
        {
            "from": [{"source": {"namespaces": ["n"]}}],
            "to": [{"operation": {"methods": ["GET"]}}],
            "when": [{"key": "request.headers[X-Team]", "values": ["a", "b"]}],
        }
    ]
    given = {"namespace": "n", "waypointFor": "all", "enroll": "services", "services": ["s"], "accessLog": True}
    made = construct("Waypoint", given)
    assert made.inputs("given-gateway")["metadata"]["labels"] == {"istio.io/waypoint-for": "all"}
    assert {"given-enrollment-s", "given-access-log"} <= set(made.made)


def test_construct_registers_the_same_as_an_import() -> None:
    imported = run(
        lambda: components.CanaryRoute(
            "given", {"namespace": "n", "service": "s", "port": 80, "baseline": "a", "canary": "b", "weight": 20}
        )
    )
    inputs = {"namespace": "n", "service": "s", "port": 80, "baseline": "a", "canary": "b", "weight": 20}
    hosted = construct("CanaryRoute", inputs)
    assert hosted.kinds() == imported.kinds()
    assert hosted.inputs("given-route") == imported.inputs("given-route")
    # Also what the component itself is recorded with: a stack may go from one way to the other.
    assert hosted.inputs("given") == imported.inputs("given")
    assert hosted.made["given"].typ == imported.made["given"].typ == "waypoint-lab:index:CanaryRoute"


def test_construct_of_waypoint_canary_equals_an_import() -> None:
    hosted = construct(
        "Waypoint",
        {
            "namespace": "n",
            "gateway": "blue",
            "revision": "1-30-2",
            "canary": {"gateway": "green", "weight": 20, "revision": "1-31-0"},
            "enroll": "services",
            "services": ["s"],
            "accessLog": True,
        },
    )
    imported = run(
        lambda: components.Waypoint(
            "given",
            {
                "namespace": "n",
                "gateway": "blue",
                "revision": "1-30-2",
                "canary": {"gateway": "green", "weight": 20, "revision": "1-31-0"},
                "enroll": components.Enroll.SERVICES,
                "services": ["s"],
                "access_log": True,
            },
        )
    )
    assert hosted.inputs("given-weight-s")["metadata"]["annotations"]["istio.io/use-waypoint-canary-weight"] == "20"
    assert hosted.inputs("given-gateway-green")["metadata"]["labels"]["istio.io/rev"] == "1-31-0"
    assert hosted.kinds() == imported.kinds()
    assert {name: hosted.inputs(name) for name in hosted.made} == {name: imported.inputs(name) for name in hosted.made}
    assert hosted.hooks == imported.hooks


ROUTE = {"namespace": "n", "service": "s", "port": 80}
GIVEN: dict[str, dict[str, Any]] = {
    "CanaryRoute": {**ROUTE, "baseline": "a", "canary": "b", "weight": 1},
    "Waypoint": {"namespace": "n"},
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("CanaryRoute", "timeout", "3s"),
        ("CanaryRoute", "port", 80.0),
        ("CanaryRoute", "requestHeaders", {"set": {"x-tenant": "t"}}),
        ("CanaryRoute", "sessionAffinity", {"backend": "b"}),
        ("Waypoint", "gateway", "n"),
        ("Waypoint", "resources", {"limits": {"memory": "256Mi"}}),
    ],
)
def test_construct_with_output_for_plain_value_is_refused(kind: str, field: str, value: Any) -> None:
    def program() -> None:
        inputs = {**GIVEN[kind], field: pulumi.Output.secret(value)}
        host().construct("given", f"waypoint-lab:index:{kind}", inputs)

    field = re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", field)
    with pytest.raises(InputPropertiesError, match=f"^{kind}: {field} is an output: it must be known when the program"):
        run(program)


@pytest.mark.parametrize(
    ("kind", "inputs", "said"),
    [
        (
            "Waypoint",
            {"namespace": "n", "enroll": "all"},
            'enroll is "all": it must be namespace or services or nothing',
        ),
        (
            "Waypoint",
            {"namespace": "n", "canary": {"gateway": "c", "weight": 101}},
            "canary.weight is 101: it must be a whole number from 0 to 100",
        ),
        (
            "Waypoint",
            {"namespace": "n", "canary": {"gateway": "c", "weight": 12.5}},
            "canary.weight is 12.5: it must be a whole number",
        ),
        (
            "Waypoint",
            {"namespace": "n", "canary": {"gateway": "waypoint"}},
            'canary.gateway is "waypoint": it must be another name than the primary\'s',
        ),
        ("CanaryRoute", {**ROUTE, "port": 80.5, "backends": []}, "port is 80.5: it must be a whole number"),
        ("ChaosRule", ROUTE, "rule is {}: it must be more than nothing"),
        ("ChaosRule", {**ROUTE, "abort": {"percent": 1}}, "abort.status is missing: it must be given"),
        ("Waypoint", {"namespace": "n", "canary": {"weight": 1}}, "canary.gateway is missing: it must be given"),
        ("Waypoint", {}, "namespace is missing: it must be given"),
        ("CanaryRoute", {**ROUTE, "requestHeaders": "x"}, 'request_headers is "x": it must be an object with the'),
        ("CanaryRoute", {**ROUTE, "port": "http"}, 'port is "http": it must be a whole number'),
        (
            "CanaryRoute",
            {**ROUTE, "backends": [{"name": "a"}, {"name": "b", "wieght": 0}]},
            "backends[1].wieght is unknown: it must be weight",
        ),
    ],
)
def test_construct_with_a_bad_argument_raises_one_line(kind: str, inputs: dict[str, Any], said: str) -> None:
    with pytest.raises(InputPropertiesError, match=re.escape(f"{kind}: {said}")) as caught:
        construct(kind, inputs)
    assert len(caught.value.message.splitlines()) == 1
    # None would be right by its type, and ends the SDK's own server with an AttributeError.
    assert caught.value.errors == []
