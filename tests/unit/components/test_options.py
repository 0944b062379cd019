"""Options of a component that its resources get."""

from collections.abc import Callable
from typing import Any

import pulumi
import pytest

import components
from tests.unit.components.recording import run

CART: Any = {"namespace": "shop", "service": "cart", "port": 80}
SPLIT: Any = {"baseline": "a", "canary": "b", "weight": 20, "session_affinity": {"backend": "b"}}
FAULT: Any = {"abort": {"status": 503}, "duration": {"seconds": 30}, "fault_at": "upstream", "baseline": "a"}
RETRIES: Any = {"retries": {"attempts": 1, "budget_percent": 10}}
PROTECTED = pulumi.ResourceOptions(protect=True)


@pytest.mark.parametrize(
    ("program", "kept"),
    [
        (
            lambda: components.Waypoint("w", {"namespace": "shop", "replicas": 2, "access_log": True}, PROTECTED),
            {"w-gateway", "w-enrollment"},
        ),
        (lambda: components.CanaryRoute("w", {**CART, **SPLIT}, PROTECTED), {"w-route"}),
        (lambda: components.ChaosRule("w", {**CART, **FAULT, **RETRIES}, PROTECTED), {"w-rule"}),
        (lambda: components.OutcomeObservation("w", {"namespace": "shop", "triggers": ["1"]}, PROTECTED), set[str]()),
        (lambda: components.OutcomeGate("w", {"observation": "{}"}, PROTECTED), set[str]()),
    ],
)
def test_protection_is_not_inherited_by_resources_that_a_setting_replaces(
    program: Callable[[], object], kept: set[str]
) -> None:
    record = run(program)
    assert {name for name in record.kinds() if record.requests[name].protect} == kept
    assert record.kinds().keys() > kept
