"""A Gateway is created once nothing is left of an earlier one of its name."""

import asyncio
import json
import subprocess
from functools import partial
from typing import Any

import pytest

from components._internal import gateway_cleanup, owners, waits
from components._internal.api import ApiReadError
from components._internal.waits import Access, Session
from tests.unit.components.recording import run_hooks


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


FORBIDDEN = 'Error from server (Forbidden): deployments.apps is forbidden: User "jane" cannot list resource'
REFUSED = "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?"


@pytest.mark.parametrize("answer", ['error: the server doesn\'t have a resource type "gateways"', FORBIDDEN])
def test_gateway_cleanup_without_access_passes(answer: str) -> None:
    assert waited(answer) == 1


def test_gateway_cleanup_after_another_error_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    assert waited(REFUSED, [SERVICE], []) == 3


def created(
    monkeypatch: pytest.MonkeyPatch,
    services: list[str] | None,
    labels: dict[str, str],
    manager: str = "kubectl-label",
    errors: list[str] | None = None,
    **gateways: dict[str, Any],
) -> list[str]:
    """Run the hook before a Gateway is created, in a namespace with `labels` and `gateways`; return the commands.

    Each of `errors` is the answer to one of the first commands.
    """
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
        said = errors.pop() if errors else "Error from server (NotFound): not found" if found is None else ""
        return subprocess.CompletedProcess(command, int(bool(said)), json.dumps(found), said)

    monkeypatch.setattr(waits, "run_kubectl", look)
    own = {"name": "waypoint", "namespace": "shop", "annotations": {owners.OWNER: "shop/dev"}}
    wanted = {"istio.io/use-waypoint": "waypoint"}
    make = partial(gateway_cleanup.hook, "w", Access(), 5, services, wanted)
    run_hooks(make, new_inputs={"kind": "Gateway", "metadata": own})
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
THIS_STACK = {"annotations": {owners.OWNER: "shop/dev"}}
DELETED = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def written_beside(monkeypatch: pytest.MonkeyPatch, kind: str, *answers: dict[str, Any] | int) -> list[str]:
    """Run the hook before an object is created; return the paths that it asks, each with the next answer or status."""
    left, asked = [*answers], list[str]()

    def read(_command: list[str], path: str) -> bytes:
        asked.append(path)
        answer = left.pop(0)
        if isinstance(answer, int):
            raise ApiReadError("refused", answer)
        return json.dumps({"metadata": answer}).encode()

    monkeypatch.setattr(waits, "read_api", read)
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    version = "v1" if kind == "ConfigMap" else "gateway.networking.k8s.io/v1"
    meta = {"name": "waypoint", "namespace": "shop", **THIS_STACK}
    make = partial(owners.untaken_hook, "w", Access(), 5)
    run_hooks(make, new_inputs={"apiVersion": version, "kind": kind, "metadata": meta})
    return asked


@pytest.mark.parametrize("there", [{}, OTHER_STACK])
@pytest.mark.parametrize("kind", ["Gateway", "ConfigMap"])
def test_object_of_another_owner_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: str, there: dict[str, Any]
) -> None:
    said = f"^{kind} shop/waypoint: it exists already, and is not of this stack; delete it, or choose another name$"
    for answers in ([there], [0, there]):  # also after an error that passes
        with pytest.raises(RuntimeError, match=said):
            written_beside(monkeypatch, kind, *answers)


@pytest.mark.parametrize("there", [THIS_STACK, {**OTHER_STACK, **DELETED}, 403, 404])
def test_object_of_this_stack_or_that_is_being_deleted_passes(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, Any] | int
) -> None:
    place = "namespaces/shop"
    assert written_beside(monkeypatch, "Gateway", there) == [
        f"/apis/gateway.networking.k8s.io/v1/{place}/gateways/waypoint"
    ]
    assert written_beside(monkeypatch, "ConfigMap", there) == [f"/api/v1/{place}/configmaps/waypoint"]


def test_gateway_for_a_namespace_labelled_by_another_stack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    label, manager = {"istio.io/use-waypoint": "other"}, "pulumi-kubernetes-a1b2c3d4"
    said = (
        "^namespace shop has the label istio.io/use-waypoint for shop/other of stack shop/prod, and this waypoint is "
        "shop/waypoint; remove it from that stack first$"
    )
    for errors in ([], [REFUSED]):  # also after an error that passes
        with pytest.raises(RuntimeError, match=said):
            created(monkeypatch, [], label, manager, errors, other=OTHER_STACK)
    created(monkeypatch, [], label, manager, other=THIS_STACK)
    created(monkeypatch, [], label, manager, other={})  # of a stack that was deployed before
    created(monkeypatch, [], label, manager)
    created(monkeypatch, [], label, manager, [FORBIDDEN], other=OTHER_STACK)
    elsewhere = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "gateways"}
    with pytest.raises(
        RuntimeError, match=r"^namespace shop has the label istio\.io/use-waypoint for gateways/waypoint of"
    ):
        created(monkeypatch, [], elsewhere, manager, waypoint=OTHER_STACK)
