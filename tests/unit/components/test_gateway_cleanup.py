"""A Gateway is created once nothing is left of an earlier one of its name."""

import asyncio
import json
import subprocess
from typing import Any
from unittest.mock import patch

import pulumi
import pytest
from pulumi import resource_hooks

from components._internal import gateway_cleanup, owners, waits
from components._internal.waits import Access, Session


def item(kind: str, name: str, uid: str, owner: str = "", owner_uid: str = "") -> dict[str, Any]:
    owners = [{"kind": "Gateway", "name": owner, "uid": owner_uid}] if owner else []
    return {"kind": kind, "metadata": {"name": name, "uid": uid, "ownerReferences": owners}}


DEPLOYMENT = item("Deployment", "waypoint", "d", "waypoint", "old")
SERVICE = item("Service", "waypoint", "s", "waypoint", "old")
ITS_OWN = item("Service", "waypoint", "s", "waypoint", "new")
OTHER = item("Service", "next", "n", "next", "old")
GATEWAY = item("Gateway", "waypoint", "new")


@pytest.mark.parametrize(
    ("items", "left"),
    [
        ([], []),
        ([item("Service", "reviews", "r"), OTHER], []),
        (
            [SERVICE, item("Deployment", "waypoint", "d", "waypoint", "old")],
            ["Service waypoint", "Deployment waypoint"],
        ),
        ([SERVICE, GATEWAY], ["Service waypoint"]),
        ([ITS_OWN, GATEWAY], []),
    ],
)
def test_uncollected_is_what_a_deleted_gateway_owned(items: list[dict[str, Any]], left: list[str]) -> None:
    assert gateway_cleanup.uncollected({"items": items}, "waypoint") == left


def waited(*answers: list[dict[str, Any]] | str, limit_seconds: float = 5.0) -> int:
    """Return the number of queries; each has the next answer, and the last one repeats."""
    asked = 0

    def look(command: list[str]) -> "subprocess.CompletedProcess[str]":
        nonlocal asked
        answer = answers[min(asked, len(answers) - 1)]
        asked += 1
        failed = isinstance(answer, str)
        text = "" if failed else json.dumps({"items": answer})
        return subprocess.CompletedProcess(command, int(failed), text, str(answer))

    asyncio.run(gateway_cleanup.wait(Session(Access(), "shop", limit_seconds, look), "waypoint"))
    return asked


def test_gateway_cleanup_waits_until_all_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    assert waited([SERVICE, OTHER], [SERVICE], [OTHER]) == 3


def test_gateway_cleanup_past_the_limit_names_the_objects() -> None:
    want = "^waited 0 s: Service waypoint of an earlier Gateway waypoint is not collected yet$"
    with pytest.raises(RuntimeError, match=want):
        waited([SERVICE], limit_seconds=0)


def test_gateway_cleanup_without_access_passes() -> None:
    assert waited('error: the server doesn\'t have a resource type "gateways"') == 1


def created(
    monkeypatch: pytest.MonkeyPatch,
    services: list[str] | None,
    labels: dict[str, str],
    manager: str = "kubectl-label",
    **gateways: dict[str, Any],
) -> list[str]:
    """Run the hook before a Gateway is created, in a namespace with `labels` and `gateways`; return the commands."""
    commands: list[str] = []
    fields = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}}
    meta = {"name": "shop", "labels": labels, "managedFields": [{"manager": manager, "fieldsV1": fields}]}
    items = [{"kind": "Gateway", "metadata": {"name": name, "uid": name, **more}} for name, more in gateways.items()]

    def look(command: list[str]) -> "subprocess.CompletedProcess[str]":
        commands.append(" ".join(command))
        enrolled = "--show-managed-fields" in command
        found: Any = {"kind": "Namespace", "metadata": meta} if enrolled else {"items": items}
        if "gateways.gateway.networking.k8s.io" in command:
            found = next((item for item in items if item["metadata"]["name"] == command[-3]), None)
        return subprocess.CompletedProcess(command, int(found is None), json.dumps(found), "not found")

    monkeypatch.setattr(waits, "run_kubectl", look)
    with patch.object(resource_hooks, "register_resource_hook", lambda hook: None):
        hook = gateway_cleanup.hook("w", Access(), 5, services, {"istio.io/use-waypoint": "waypoint"})
    inputs = {"metadata": {"name": "waypoint", "namespace": "shop", "annotations": {owners.OWNER: "shop/dev"}}}
    asyncio.run(hook(pulumi.ResourceHookArgs(urn="u", id="i", name="n", type="t", new_inputs=inputs)))  # type: ignore[arg-type]
    return commands


def test_gateway_for_a_namespace_labelled_by_another_tool_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RuntimeError, match=r"^namespace shop has the label istio.io/use-waypoint=other of "):
        created(monkeypatch, [], {"istio.io/use-waypoint": "other"})
    assert len(created(monkeypatch, [], {"istio.io/use-waypoint": "waypoint"})) == 2


def test_gateway_that_enrolls_nothing_reads_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(created(monkeypatch, None, {"istio.io/use-waypoint": "other"})) == 1


OTHER_STACK = {"annotations": {owners.OWNER: "shop/prod"}}


@pytest.mark.parametrize("there", [{}, OTHER_STACK])
def test_gateway_of_another_owner_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, there: dict[str, Any]) -> None:
    said = "^Gateway shop/waypoint: it exists already, and is not of this stack; delete it, or choose another name$"
    with pytest.raises(RuntimeError, match=said):
        created(monkeypatch, None, {}, waypoint=there)


@pytest.mark.parametrize(
    "there", [{"annotations": {owners.OWNER: "shop/dev"}}, {**OTHER_STACK, "deletionTimestamp": "2026-01-01T00:00:00Z"}]
)
def test_gateway_of_this_stack_or_that_is_being_deleted_passes(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, Any]
) -> None:
    created(monkeypatch, None, {}, waypoint=there, other=OTHER_STACK)


def test_gateway_for_a_namespace_labelled_by_another_stack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    label, manager = {"istio.io/use-waypoint": "other"}, "pulumi-kubernetes-a1b2c3d4"
    said = (
        "^namespace shop has the label istio.io/use-waypoint=other of stack shop/prod, and this waypoint needs "
        "waypoint; remove it from that stack first$"
    )
    with pytest.raises(RuntimeError, match=said):
        created(monkeypatch, [], label, manager, other=OTHER_STACK)
    created(monkeypatch, [], label, manager, other={"annotations": {owners.OWNER: "shop/dev"}})
    created(monkeypatch, [], label, manager, other={})  # of a stack that was deployed before
    created(monkeypatch, [], label, manager)
