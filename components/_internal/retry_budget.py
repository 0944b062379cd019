"""A limit on retries at one moment: without one, retries of a failing workload multiply its load."""

from collections.abc import Mapping
from typing import Any

import pulumi

from . import objects


def checked(component: str, retries: Mapping[str, Any] | None) -> dict[str, Any]:
    """The budget as a DestinationRule has it; empty where none is asked for. Raises RunError for what is out of range.

    Source: https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-RetryBudget
    """
    if not retries or not {"budget_percent", "budget_minimum"} & set(retries):
        return {}
    percent = objects.number(component, "budget_percent of retries", retries.get("budget_percent", 20), 0, 100)
    minimum = objects.whole(component, "budget_minimum of retries", retries.get("budget_minimum", 3), 0, 1000)
    return {"percent": percent, "minRetryConcurrency": minimum}


def build(parent: pulumi.Resource, name: str, namespace: str, host: str, budget: dict[str, Any]) -> None:
    """Registers the DestinationRule of `host` where there is a budget."""
    if budget:
        objects.KubernetesObject(
            f"{name}-budget",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "DestinationRule",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"host": host, "trafficPolicy": {"retryBudget": budget}},
            },
            pulumi.ResourceOptions(parent=parent),
        )
