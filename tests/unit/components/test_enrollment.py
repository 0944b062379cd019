"""Labels of an enrollment: the waypoints that they name, and labels that another tool has set."""

from typing import Any

import pytest

from components._internal import enrollment
from components._internal.enrollment import CANARY, PRIMARY

HOME = "istio.io/use-waypoint-namespace"


def item(kind: str, labels: dict[str, str], manager: str = "") -> dict[str, Any]:
    place = {"namespace": "shop"} if kind == "Service" else {}
    fields = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}}
    managed = [{"manager": "other"}, {"manager": manager, "fieldsV1": fields}] if manager else []
    return {"kind": kind, "metadata": {"name": "cart", "labels": labels, "managedFields": managed, **place}}


@pytest.mark.parametrize(
    ("service", "namespace", "found"),
    [
        ({}, {}, set()),
        ({}, {PRIMARY: "one"}, {("shop", "one")}),
        ({}, {PRIMARY: "one", CANARY: "two"}, {("shop", "one"), ("shop", "two")}),
        ({PRIMARY: "none"}, {PRIMARY: "one"}, set()),
        ({PRIMARY: "three"}, {PRIMARY: "one", CANARY: "two"}, {("shop", "three")}),
        ({PRIMARY: "one", CANARY: "none"}, {}, {("shop", "one")}),
        ({}, {PRIMARY: "one", HOME: "mesh"}, {("mesh", "one")}),
        (
            {},
            {PRIMARY: "one", HOME: "mesh", CANARY: "two", enrollment.CANARY_HOME: "mesh"},
            {("mesh", "one"), ("mesh", "two")},
        ),
        ({}, {PRIMARY: "one", HOME: "mesh", CANARY: "two"}, {("mesh", "one"), ("shop", "two")}),
    ],
)
def test_waypoints_of_a_service_follow_its_or_namespace_labels(
    service: dict[str, str], namespace: dict[str, str], found: set[tuple[str, str]]
) -> None:
    assert enrollment.waypoints(item("Service", service), item("Namespace", namespace)) == found


def test_conflict_with_another_tool_is_one_line_with_the_fix() -> None:
    found = enrollment.conflict([item("Namespace", {PRIMARY: "other"}, "kubectl-label")], {PRIMARY: "waypoint"}, "shop")
    assert found == (
        "namespace cart has the label istio.io/use-waypoint=other of kubectl-label, and this waypoint needs waypoint; "
        "remove it: kubectl label namespace cart istio.io/use-waypoint-"
    )
    found = enrollment.conflict([item("Service", {PRIMARY: "none"}, "kubectl-label")], {PRIMARY: "waypoint"}, "shop")
    assert found.endswith("kubectl label service cart --namespace shop istio.io/use-waypoint-")


@pytest.mark.parametrize(
    ("labels", "manager"),
    [
        ({PRIMARY: "waypoint"}, "kubectl-label"),
        ({PRIMARY: "before"}, "pulumi-kubernetes-a1b2c3d4"),
        ({CANARY: "none", HOME: "shop"}, "kubectl-label"),
        ({CANARY: "before", HOME: "before"}, "pulumi-kubernetes-a1b2c3d4"),
        ({"app": "cart"}, "kubectl-label"),
        ({}, ""),
    ],
)
def test_conflict_with_same_value_or_own_label_is_none(labels: dict[str, str], manager: str) -> None:
    assert enrollment.conflict([item("Namespace", labels, manager)], {PRIMARY: "waypoint"}, "shop") == ""


def test_conflict_of_the_waypoints_namespace_is_found_too() -> None:
    given = [item("Namespace", {PRIMARY: "waypoint", HOME: "other"}, "kubectl-label")]
    found = enrollment.conflict(given, {PRIMARY: "waypoint", HOME: "mesh"}, "mesh")
    assert found.startswith("namespace cart has the label istio.io/use-waypoint-namespace=other of kubectl-label")


@pytest.mark.parametrize(
    ("label", "need"), [(HOME, "shop"), (CANARY, "none"), ("istio.io/use-waypoint-canary-namespace", "shop")]
)
def test_conflict_of_a_label_that_is_left_over_is_found_too(label: str, need: str) -> None:
    given = [item("Namespace", {PRIMARY: "waypoint", label: "other"}, "kubectl-label")]
    assert enrollment.conflict(given, {PRIMARY: "waypoint"}, "shop") == (
        f"namespace cart has the label {label}=other of kubectl-label, and this waypoint needs {need}; "
        f"remove it: kubectl label namespace cart {label}-"
    )


def test_grouped_returns_services_by_namespace() -> None:
    assert enrollment.grouped([], "mesh") == {"mesh": []}
    assert enrollment.grouped(["cart", "shop/till", "shop/web"], "mesh") == {"mesh": ["cart"], "shop": ["till", "web"]}
    assert enrollment.grouped(["shop/", "mesh/"], "mesh") == {"shop": [], "mesh": []}
