"""Type check of arguments."""

from typing import Any

import pulumi
import pytest

import components
from components import types
from components._internal import arguments
from components.canary_route import CanaryRouteArgs
from tests.unit.components.recording import run

ROUTE: dict[str, Any] = {"namespace": "n", "service": "s", "port": 80}


def test_read_with_right_types_returns_plain_python_values() -> None:
    cohort = {"header": "h", "value": "v", "match": "RegularExpression", "backends": [{"name": "b", "weight": 2.0}]}
    found = arguments.read("C", {**ROUTE, "port": 80.0, "cohorts": (cohort,), "timeout": None}, CanaryRouteArgs)
    assert found["port"] == 80
    assert type(found["port"]) is int
    assert found["cohorts"][0]["match"] is types.HeaderMatch.REGEX
    assert "timeout" not in found


def test_read_with_an_output_keeps_it_only_for_inputs() -> None:
    def program() -> None:
        output = pulumi.Output.from_input("n")
        found = arguments.read("C", {**ROUTE, "namespace": output}, CanaryRouteArgs)
        assert isinstance(found["namespace"], pulumi.Output)
        with pytest.raises(pulumi.RunError, match=r"^C: port is an output: it must be known when the program runs"):
            arguments.read("C", {**ROUTE, "port": output}, CanaryRouteArgs)

    run(program)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "args is []: it must be an object with the fields of CanaryRouteArgs"),
        ({"service": "s", "port": 1}, "namespace is missing: it must be given"),
        ({**ROUTE, "weigth": 1}, "weigth is unknown: it must be weight"),
        ({**ROUTE, "port": True}, "port is true: it must be a whole number"),
        ({**ROUTE, "port": "80"}, 'port is "80": it must be a whole number'),
        ({**ROUTE, "weight": float("nan")}, "weight is NaN: it must be a number"),
        ({**ROUTE, "namespace": 7}, "namespace is 7: it must be text"),
        ({**ROUTE, "backends": {"name": "a"}}, "backends is .*: it must be a list of objects with the fields of Back"),
        ({**ROUTE, "backends": "ab"}, 'backends is "ab": it must be a list of objects'),
        ({**ROUTE, "backends": ["a"]}, r'backends\[0\] is "a": it must be an object with the fields of Backend'),
        ({**ROUTE, "backends": [{"weight": 1}]}, r"backends\[0\]\.name is missing"),
        ({**ROUTE, "request_headers": {"remove": "x-a"}}, 'request_headers.remove is "x-a": it must be a list of text'),
        ({**ROUTE, "request_headers": {"set": ["x"]}}, "request_headers.set is .*: it must be an object whose values"),
        ({**ROUTE, "request_headers": {"set": {"x": 1}}}, "request_headers.set.x is 1: it must be text"),
        (
            {**ROUTE, "cohorts": [{"header": "h", "value": "v", "match": "Like", "backends": []}]},
            r'cohorts\[0\].match is "Like": it must be Exact or RegularExpression',
        ),
    ],
)
def test_read_with_a_wrong_type_names_the_field_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said.replace("[]", r"\[\]")) as caught:
        arguments.read("C", given, CanaryRouteArgs)
    assert len(str(caught.value).splitlines()) == 1


POLICY = {"namespace": "n", "services": ["s"], "rules": [{"methods": ["GET"]}]}
FAIL_CLOSED = {"namespace": "n", "labels": {"app": "a"}}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (components.L7Policy, POLICY),
        (components.FailClosed, FAIL_CLOSED),
        (components.CanaryRoute, {**ROUTE, "backends": [{"name": "b"}]}),
        (components.ChaosRule, {**ROUTE, "timeout": "1s"}),
        (components.ServiceTraffic, {**ROUTE, "backends": [{"name": "b"}]}),
    ],
)
def test_component_with_a_bad_name_or_limit_is_refused(kind: Any, given: dict[str, Any]) -> None:
    for name in ("deny_deletes", "Deny deletes"):
        with pytest.raises(pulumi.RunError, match=f'^{kind.__name__}: name is "{name}": it must be a DNS name'):
            run(lambda name=name: kind(name, given))
    with pytest.raises(pulumi.RunError, match=f"^{kind.__name__}: limit_seconds is 0: it must be a number from 1 to"):
        run(lambda: kind("r", {**given, "limit_seconds": 0}))
