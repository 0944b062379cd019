"""Arguments of any shape: a component renders plain JSON from them, or refuses them in one line.

The environment variable WAYPOINT_LAB_SOAK_CASES sets the number of cases.
"""

import json
import os
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import UnionType
from typing import Any
from unittest.mock import patch

import pulumi
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from components import CanaryRoute, ChaosRule, L7Policy, ServiceTraffic, Waypoint
from components._internal import http_route, owners, traffic_parser, virtual_service
from components.canary_route import CanaryRouteArgs
from components.chaos_rule import ChaosRuleArgs
from components.l7_policy import L7PolicyArgs
from components.service_traffic import ServiceTrafficArgs
from components.waypoint import WaypointArgs

CASES = int(os.environ.get("WAYPOINT_LAB_SOAK_CASES", "200"))
HOSTILE = [
    "",
    " ",
    "%",
    "%REQ(authorization)%",
    "a\r\nb",
    "ü" * 300,
    "²",
    "1e999",
    "(?=a)",
    "(" * 200,
    "a{1001}",
    "\ud800",
]
USUAL = [
    "old",
    "new",
    "cart",
    "GET",
    "/a",
    "*",
    "5xx",
    "1s",
    "1.5s",
    "upstream",
    "services",
    "DENY",
    "RegularExpression",
]
SCALARS = st.one_of(
    st.sampled_from([*HOSTILE, *USUAL]),
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([0, 1, 50, 80, 0.1, 10**400]),
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3), max_leaves=8
)
COMPONENTS: dict[Any, Any] = {
    CanaryRoute: CanaryRouteArgs,
    ChaosRule: ChaosRuleArgs,
    ServiceTraffic: ServiceTrafficArgs,
    L7Policy: L7PolicyArgs,
    Waypoint: WaypointArgs,
}
RENDERERS: dict[Any, Callable[[Any], Any]] = {
    CanaryRoute: http_route.spec,
    ChaosRule: virtual_service.spec,
    ServiceTraffic: virtual_service.spec,
}
VALID = {"namespace": "shop", "service": "cart", "port": 80, "services": ["cart"], "rules": [{"methods": ["GET"]}]}


class Registered(Exception):
    """The component has accepted its arguments."""


def arguments_of(shape: Any) -> st.SearchStrategy[Any]:
    """Return objects with some fields of a TypedDict, most of their own type."""
    required = {name: _field(kind) for name, kind in shape.__annotations__.items() if name in shape.__required_keys__}
    optional = {name: _field(kind) for name, kind in shape.__annotations__.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def _field(kind: Any) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: _typed(kind) if number else ANYTHING)


def _typed(kind: Any) -> st.SearchStrategy[Any]:
    inner = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.NotRequired, typing.Union, UnionType):
        return _typed(inner[0])
    if typing.get_origin(kind) is list:
        return st.lists(_field(inner[0]), max_size=3)
    if typing.get_origin(kind) is dict:
        return st.dictionaries(st.sampled_from(["x-a", "X-A", "Host", "a b", *HOSTILE]), _field(inner[1]), max_size=3)
    if typing.is_typeddict(kind):
        return arguments_of(kind)
    if issubclass(kind, StrEnum):
        return st.sampled_from([str(item) for item in kind])
    usual = {str: [*USUAL, *HOSTILE], bool: [True, False], int: [0, 1, 80, 503], float: [0.1, 1, 50, 99.9999, 3600]}
    return st.sampled_from(usual[kind])


@contextmanager
def accepted() -> Iterator[None]:
    """End a component's constructor where it begins to register."""
    with (
        patch.object(pulumi.ComponentResource, "__init__", side_effect=Registered),
        patch.object(owners, "claim"),
        patch.object(pulumi, "ResourceHook"),
        patch.object(pulumi, "ResourceHookBinding"),
    ):
        yield


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_arguments_of_any_shape_are_rendered_or_refused_in_one_line(component: Any) -> None:
    shape = COMPONENTS[component]
    usual = {name: value for name, value in VALID.items() if name in shape.__annotations__}

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(arguments_of(shape), st.integers(0, 7))
    def check(found: dict[str, Any], kept: int) -> None:
        args = {**found, **usual} if kept else found
        refused = f"{component.__name__}: nothing"
        try:
            with accepted():
                component("t", args)
        except Registered:
            if component in RENDERERS:
                json.dumps(RENDERERS[component](traffic_parser.parse(component.__name__, "t", args, shape)))
        except pulumi.RunError as error:
            refused = str(error)
        assert refused.startswith(f"{component.__name__}: ")
        assert len(refused.splitlines()) == 1

    check()
