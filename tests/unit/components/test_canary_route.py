import json
from typing import Any

import pulumi
import pytest

from components import CanaryRoute
from tests.unit.components.recording import Recording, run


def route(**args: Any) -> Recording:
    given = {"namespace": "shop", "service": "cart", "port": 80, **args}
    return run(lambda: CanaryRoute("r", given))  # type: ignore[arg-type]


def weights(rule: dict[str, Any]) -> dict[str, int]:
    return {ref["name"]: ref["weight"] for ref in rule["backendRefs"]}


def rules(record: Recording) -> list[Any]:
    return list(record.inputs("r-route")["spec"]["rules"])


@pytest.mark.parametrize(
    ("weight", "want"),
    [(0, {"old": 100}), (20, {"old": 80, "new": 20}), (100, {"new": 100}), (50.0, {"old": 50, "new": 50})],
)
def test_canary_route_with_weight_0_or_100_has_one_backend(weight: float, want: dict[str, int]) -> None:
    (rule,) = rules(route(baseline="old", canary="new", weight=weight))
    assert weights(rule) == want


def test_canary_route_with_backends_keeps_weights_and_ports() -> None:
    backends = [{"name": "a", "weight": 1}, {"name": "b", "weight": 2, "port": 81}, {"name": "c", "weight": 0}]
    (rule,) = rules(route(backends=backends))
    assert [(ref["name"], ref["port"], ref["weight"]) for ref in rule["backendRefs"]] == [("a", 80, 1), ("b", 81, 2)]


def test_canary_route_with_cohorts_has_them_first_in_order() -> None:
    cohorts = [
        {"header": "end-user", "value": "jane", "backends": [{"name": "x"}]},
        {"header": "agent", "value": "curl.*", "match": "RegularExpression", "backends": [{"name": "y"}]},
    ]
    first, second, last = rules(route(backends=[{"name": "a"}], cohorts=cohorts))
    assert first["matches"] == [{"headers": [{"type": "Exact", "name": "end-user", "value": "jane"}]}]
    assert second["matches"] == [{"headers": [{"type": "RegularExpression", "name": "agent", "value": "curl.*"}]}]
    assert "matches" not in last


def test_canary_route_is_bound_to_a_port_and_waited_for() -> None:
    record = route(backends=[{"name": "a"}], limit_seconds=10)
    inputs, timeouts = record.inputs("r-route"), record.requests["r-route"].customTimeouts
    assert (timeouts.create, timeouts.update) == ("10s", "10s")
    assert inputs["spec"]["parentRefs"] == [{"group": "", "kind": "Service", "name": "cart", "port": 80}]
    waits = json.loads(inputs["metadata"]["annotations"]["pulumi.com/waitFor"])
    assert ["Accepted" in waits[0], "ResolvedRefs" in waits[1]] == [True, True]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "backends is null: it must be given, or else baseline, canary and weight all three"),
        ({"baseline": "a", "canary": "b", "weight": 101}, "weight is 101: it must be a number from 0 to 100"),
        (
            {"baseline": "a", "canary": "b", "weight": 0.00001},
            "weight is 1e-05: it must be a number with at most 4 decimals",
        ),
        ({"baseline": "a", "backends": [{"name": "a"}]}, "left out where baseline is given"),
        ({"baseline": "a", "canary": "a", "weight": 5}, "a list of different names"),
        ({"backends": [{"name": "a", "weight": 0}]}, "sum of the weights of backends is 0"),
        (
            {"backends": [{"name": "a", "weight": -1}]},
            "backends.0..weight is -1: it must be a number from 0 to 1000000",
        ),
        ({"backends": [{"name": "a"}], "port": 0}, "port is 0"),
        (
            {"backends": [{"name": "a"}], "cohorts": [{"header": "h", "value": "v", "match": "Like", "backends": []}]},
            "Exact or RegularExpression",
        ),
    ],
)
def test_canary_route_with_a_bad_argument_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        route(**args)
