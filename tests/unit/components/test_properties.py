"""Arguments of any shape: a component renders plain JSON from them, or refuses them in one line."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest.mock import patch

import pulumi
import pytest

from components import (
    CanaryRoute,
    ChaosRule,
    FailClosed,
    L7Policy,
    OutcomeGate,
    OutcomeObservation,
    ServiceTraffic,
    Waypoint,
)
from components._internal import http_route, owners, traffic_parser, virtual_service
from components.canary_route import CanaryRouteArgs
from components.chaos_rule import ChaosRuleArgs
from components.fail_closed import FailClosedArgs
from components.l7_policy import L7PolicyArgs
from components.outcome_gate import OutcomeGateArgs, OutcomeObservationArgs
from components.service_traffic import ServiceTrafficArgs
from components.waypoint import WaypointArgs
from tests.unit import shapes

COMPONENTS: dict[Any, Any] = {
    CanaryRoute: CanaryRouteArgs,
    ChaosRule: ChaosRuleArgs,
    ServiceTraffic: ServiceTrafficArgs,
    L7Policy: L7PolicyArgs,
    FailClosed: FailClosedArgs,
    Waypoint: WaypointArgs,
    OutcomeObservation: OutcomeObservationArgs,
    OutcomeGate: OutcomeGateArgs,
}
CRITERIA = ("header", "cookies", "query", "method", "path", "path_prefix")  # of a cohort
RENDERERS: dict[Any, Callable[[Any], Any]] = {
    CanaryRoute: http_route.spec,
    ChaosRule: virtual_service.spec,
    ServiceTraffic: virtual_service.spec,
}


class Registered(Exception):
    """The component has accepted its arguments."""


def arguments(random: Random, component: Any) -> dict[str, Any]:
    """Return arguments of a component, half of them valid but for their combination."""
    return usable(
        random, component, shapes.arguments(random, COMPONENTS[component], random.choice((0, 0, 0.02, 0.1, 0.3)))
    )


def usable(random: Random, component: Any, args: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with one of both forms of a split where there is any, in most cases."""
    if isinstance(args.get("cohorts"), list) and random.random() < 0.9:
        args = {**args, "cohorts": [one_criterion(random, cohort) for cohort in args["cohorts"]]}
    needed = component is CanaryRoute or "cohorts" in args or {"canary", "weight"} <= args.keys()
    if component in RENDERERS and component is not ChaosRule and needed and "backends" not in args:
        args = {**args, "baseline": "old", "canary": "new", "weight": random.choice((0, 0.1, 20, 100))}
    if "backends" in args and random.random() < 0.9:
        return {name: value for name, value in args.items() if name not in ("baseline", "canary", "weight")}
    return args


def one_criterion(random: Random, cohort: Any) -> Any:
    """Return a cohort with one criterion of those that it has; with a header where it has none."""
    if not isinstance(cohort, dict):
        return cohort
    kept = random.choice([name for name in CRITERIA if name in cohort] or ["header"])
    named = {"header": "x-a", "value": "b"} if kept == "header" else {}
    return {**named, **{name: item for name, item in cohort.items() if name in (kept, *named, "match", "backends")}}


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
def test_component_arguments_of_any_shape_render_or_raise_one_line(component: Any) -> None:
    taken = 0

    def check(random: Random) -> None:
        nonlocal taken
        args = arguments(random, component)
        refused = f"{component.__name__}: nothing"
        try:
            component("t", args)
        except Registered:
            taken += 1
            if component in RENDERERS:
                shape = COMPONENTS[component]
                json.dumps(RENDERERS[component](traffic_parser.parse(component.__name__, "t", args, shape)))
        except pulumi.RunError as error:
            refused = str(error)
        assert refused.startswith(f"{component.__name__}: ")
        assert len(refused.splitlines()) == 1

    with accepted():
        shapes.cases(check)
    assert shapes.CASES / 10 < taken < shapes.CASES, "a part is accepted, and a part is refused"
