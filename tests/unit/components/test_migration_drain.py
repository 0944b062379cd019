"""The drain of a waypoint: its connections first, its Pods then, and not while it gets new ones."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pulumi
import pytest

from components._internal import waits
from components._internal.migration import before_labels, drain, hook, sync, sync_canary
from components._internal.waits import Access
from tests.unit.components.recording import run_hooks
from tests.unit.components.waypoint_cluster import (
    CANARY,
    DRAIN,
    PRIMARY,
    REQUESTS,
    WEIGHT,
    Namespace,
    Pod,
    deployments,
    envoy,
    pods,
    recorded_info,
    service,
)

SCALE = "scale deployment/old --replicas=0"


@pytest.fixture(autouse=True)
def info(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return recorded_info(monkeypatch)


def enrolled(weight: int = 100, name: str = "shop") -> dict[str, Any]:
    """The namespace, or a Service, whose connections go from `old` to `new` by as many percent."""
    labels = {PRIMARY: "old", CANARY: "new"}
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": {WEIGHT: str(weight)}}}


def namespace(*old: Pod) -> Namespace:
    """The Pods of `old`, which are gone as soon as its Deployment is scaled to none."""
    there = Namespace(old=list(old), new=[Pod("new-1")])
    there.then[SCALE] = lambda: there.pods.pop("old")
    return there


def go(there: Namespace, *objects: dict[str, Any], limit_seconds: float = 5.0) -> None:
    asyncio.run(drain(there.session(limit_seconds), "old", objects or [enrolled()]))


def test_drain_without_pods_does_nothing(info: list[str]) -> None:
    there = namespace()
    go(there, enrolled(0))
    assert there.commands == [pods("old")]
    assert info == []


def test_drain_ends_connections_before_pods(info: list[str]) -> None:
    there = namespace(Pod("old-1"))
    go(there)
    assert there.commands == [
        pods("old"),
        pods("old"),
        envoy("old-1", "POST", DRAIN),
        envoy("old-1", "GET", REQUESTS),
        "get gateways.gateway.networking.k8s.io --field-selector=metadata.name=old --output json",
        SCALE,
        pods("old"),
    ]
    assert info == ["waypoint old: its open connections are drained, then its Pods end"]


def test_drain_asks_each_pod_once_and_waits_for_requests() -> None:
    there = namespace(Pod("old-1", active=[2, 1, 0]), Pod("old-2", active=[0, 0, 3, 0]))
    go(there)
    assert sorted(there.writes()[:2]) == [envoy("old-1", "POST", DRAIN), envoy("old-2", "POST", DRAIN)]
    assert there.writes()[2:] == [SCALE]
    for pod in ("old-1", "old-2"):
        assert there.commands[: there.commands.index(SCALE)].count(envoy(pod, "GET", REQUESTS)) == 4


def test_drain_includes_a_pod_that_starts_meanwhile() -> None:
    there = namespace(Pod("old-1", active=[1, 1, 0]))
    later = Pod("old-2")
    there.then[envoy("old-1", "GET", REQUESTS)] = lambda: there.pods["old"].__setitem__(slice(1, None), [later])
    go(there)
    assert there.writes() == [envoy("old-1", "POST", DRAIN), envoy("old-2", "POST", DRAIN), SCALE]


def test_drain_retries_a_pod_before_any_pod_ends() -> None:
    there = namespace(Pod("old-1"))
    there.refused[envoy("old-1", "POST", DRAIN)] = ["error: unable to upgrade connection"]
    go(there)
    assert there.writes() == [envoy("old-1", "POST", DRAIN), envoy("old-1", "POST", DRAIN), SCALE]


def test_drain_only_waits_for_pods_that_end_already() -> None:
    there = namespace(Pod("old-1", ending=True))
    go(there)
    assert there.writes() == [SCALE]
    assert there.commands[-1] == pods("old")


def test_drain_waits_until_the_pods_are_gone() -> None:
    last = Pod("old-1")
    there = namespace(last)
    there.then[SCALE] = lambda: last.end(looks=3)
    go(there)
    assert there.commands[there.commands.index(SCALE) + 1 :] == [pods("old")] * 4


@pytest.mark.parametrize(
    ("objects", "left"),
    [
        ([enrolled(0)], 100),
        ([enrolled(99)], 1),
        ([enrolled(100, "cart"), enrolled(80, "till"), enrolled(90, "mail")], 20),
    ],
)
def test_drain_of_a_waypoint_with_a_share_is_refused(objects: list[dict[str, Any]], left: int) -> None:
    there = namespace(Pod("old-1"))
    with pytest.raises(RuntimeError) as caught:
        go(there, *objects)
    assert str(caught.value) == (
        f"waypoint old still gets {left} % of the new connections, so requests would be lost: bring it to 0 first by "
        "the canary's weight (100 for a canary that takes over, 0 for one that is removed)"
    )
    assert there.commands == [pods("old"), deployments("old")]


def test_drain_of_a_canary_with_a_share_is_refused() -> None:
    there = Namespace(new=[Pod("new-1")])
    with pytest.raises(RuntimeError, match=r"^waypoint new still gets 5 % of the new connections"):
        asyncio.run(drain(there.session(), "new", [enrolled(5)]))


def test_drain_of_a_waypoint_that_is_not_ready_ignores_its_share(info: list[str]) -> None:
    there = namespace(Pod("old-1"))
    there.ready = False
    go(there, enrolled(0))
    assert there.commands[:2] == [pods("old"), deployments("old")]
    assert there.writes() == [envoy("old-1", "POST", DRAIN), SCALE]
    assert len(info) == 1


def test_drain_past_the_limit_counts_active_requests() -> None:
    there = namespace(Pod("old-1", active=[2]), Pod("old-2", active=[1]))
    with pytest.raises(RuntimeError) as caught:
        go(there, limit_seconds=0.05)
    assert str(caught.value) == "waited 0.05 s: 3 requests through waypoint old are still active"
    assert SCALE not in there.commands, "its Pods go on serving them"


def test_drain_past_the_limit_names_the_pods() -> None:
    last = [Pod("old-1"), Pod("old-2")]
    there = namespace(*last)
    there.then[SCALE] = lambda: [*map(Pod.end, last)]
    with pytest.raises(RuntimeError, match=r"^waited 0\.05 s: waypoint old has not ended: old-1, old-2$"):
        go(there, limit_seconds=0.05)


def test_drain_past_the_limit_gives_the_last_error() -> None:
    there = namespace(Pod("old-1"))
    there.refused["exec"] = ["forbidden"] * 1000
    with pytest.raises(RuntimeError, match=r"^waited 0\.05 s: forbidden$"):
        go(there, limit_seconds=0.05)
    assert SCALE not in there.commands


def test_drain_of_a_deployment_that_cannot_be_scaled_gives_the_error() -> None:
    there = namespace(Pod("old-1"))
    there.refused[SCALE] = ["Error from server (Forbidden): no"]
    with pytest.raises(RuntimeError, match=r"^Error from server \(Forbidden\): no$"):
        go(there)


# The hooks.


def hooked(
    monkeypatch: pytest.MonkeyPatch, there: Namespace, make: Callable[[], pulumi.ResourceHook], **inputs: Any
) -> None:
    """Runs the hook that `make` makes as the engine does, in a namespace with those kubectl answers."""
    monkeypatch.setattr(waits, "run_kubectl", there)
    run_hooks(make, **inputs)


def labelled(**labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "shop", "labels": {f"istio.io/use-{k.replace('_', '-')}": v for k, v in labels.items()}}
    }


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        (labelled(waypoint="old", waypoint_canary="new"), labelled(waypoint="new"), ["old"]),
        (labelled(waypoint="new", waypoint_canary="old"), labelled(waypoint="new"), ["old"]),
        (labelled(waypoint="old"), labelled(waypoint="new"), ["old"]),
        (labelled(waypoint="old", waypoint_canary="new"), labelled(), ["new", "old"]),
        (labelled(waypoint="old", waypoint_canary="new"), labelled(waypoint="new", waypoint_canary="old"), []),
        (None, labelled(waypoint="new"), []),
    ],
)
def test_before_labels_drains_waypoints_that_they_name_no_more(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, Any] | None, after: dict[str, Any], gone: list[str]
) -> None:
    there = Namespace(old=[Pod("old-1")], new=[Pod("new-1")])
    there.ready = False
    there.objects = {f"service/{name}": enrolled(100, name) for name in ("cart", "till")}
    for name in ("old", "new"):
        there.then[f"scale deployment/{name}"] = lambda name=name: there.pods.pop(name)  # type: ignore[misc]
    services = ["cart", "till"]
    inputs = {"old_inputs": before, "new_inputs": after}
    hooked(monkeypatch, there, lambda: before_labels("w-drain", Access(), "shop", services, 5), **inputs)
    assert [line for line in there.commands if line.startswith("scale")] == [
        f"scale deployment/{name} --replicas=0" for name in gone
    ]
    asked = ["get service/cart service/till --show-managed-fields --output json"]
    assert [line for line in there.commands if line.startswith("get service")] == asked * (1 + len(gone))


def test_before_labels_of_a_waypoint_with_a_share_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    there = namespace(Pod("old-1"))
    there.objects = {"namespace/shop": enrolled(50)}
    inputs = {"old_inputs": labelled(waypoint="old", waypoint_canary="new"), "new_inputs": labelled(waypoint="new")}
    with pytest.raises(RuntimeError, match=r"^waypoint old still gets 50 % "):
        hooked(monkeypatch, there, lambda: before_labels("w-drain", Access(), "shop", [], 5), **inputs)
    assert there.writes() == []


def test_before_labels_of_a_waypoint_that_a_service_names_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    there = namespace(Pod("old-1"))
    there.objects = {"namespace/shop": enrolled(100)}
    there.services = [service("cart"), service("till", {PRIMARY: "old"}), service("mail", {PRIMARY: "none"})]
    inputs = {"old_inputs": labelled(waypoint="old", waypoint_canary="new"), "new_inputs": labelled(waypoint="new")}
    with pytest.raises(RuntimeError) as caught:
        hooked(monkeypatch, there, lambda: before_labels("w-drain", Access(), "shop", [], 5), **inputs)
    assert str(caught.value) == (
        "waypoint old is still that of shop/till, by a label istio.io/use-waypoint of the Service's own; remove it: "
        "kubectl label service till --namespace shop istio.io/use-waypoint-"
    )
    assert there.writes() == []


def test_before_labels_of_a_canary_warns_of_a_service_that_does_not_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi, "warn", said.append)
    there = Namespace(old=[Pod("old-1")], new=[Pod("new-1")])
    there.objects = {"namespace/shop": enrolled(0)}
    there.services = [service("cart"), service("till", {PRIMARY: "old"}), service("mail", {PRIMARY: "another"})]
    inputs = {"old_inputs": labelled(waypoint="old"), "new_inputs": labelled(waypoint="old", waypoint_canary="new")}
    hooked(monkeypatch, there, lambda: before_labels("w", Access(), "shop", [], 5), **inputs)
    assert said == [
        "waypoint new gets no connections to shop/till, by a label istio.io/use-waypoint of the Service's own; remove "
        "it: kubectl label service till --namespace shop istio.io/use-waypoint-"
    ]


@pytest.mark.parametrize("before", [labelled(waypoint="new"), labelled(waypoint="old", waypoint_canary="new"), None])
@pytest.mark.parametrize("left", [100, 1])
def test_before_labels_with_the_weight_of_another_canary_fails(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, Any] | None, left: int
) -> None:
    there = Namespace(old=[Pod("old-1")], new=[Pod("new-1")], third=[Pod("third-1")])
    there.objects = {"namespace/shop": enrolled(left)}
    inputs = {"old_inputs": before, "new_inputs": labelled(waypoint="new", waypoint_canary="third")}
    with pytest.raises(RuntimeError) as caught:
        hooked(monkeypatch, there, lambda: before_labels("w", Access(), "shop", [], 5), **inputs)
    assert str(caught.value) == (
        f"waypoint third would get {left} % of the new connections before it has the Services, because shop still "
        "has the weight of the canary before: remove that first, by an update without a canary"
    )
    assert there.writes() == []


@pytest.mark.parametrize("left", ["0", "101", "many", ""])
def test_before_labels_without_an_effective_weight_passes(monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    there = Namespace(old=[Pod("old-1")])
    there.objects = {
        "namespace/shop": {
            "kind": "Namespace",
            "metadata": {"name": "shop", "annotations": {WEIGHT: left} if left else {}},
        }
    }
    inputs = {
        "old_inputs": labelled(waypoint="old"),
        "new_inputs": labelled(waypoint="old", waypoint_canary="new"),
    }
    hooked(monkeypatch, there, lambda: before_labels("w", Access(), "shop", [], 5), **inputs)
    assert set(there.commands) == {
        "get namespace/shop --show-managed-fields --output json",
        "get services --output json",
    }


def test_before_weight_waits_for_the_enrolled_services(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Namespace(old=[Pod("old-1", [{"cart.shop"}])], new=[Pod("new-1", [set(), {"cart.shop"}])])
    there.services = [service("cart"), service("till")]
    both = partial(sync_canary, primary="old", canary="new", places=["cart"])
    hooked(monkeypatch, there, lambda: hook("w-weight", Access(), "shop", 5, both), **{"new_inputs": labelled()})
    assert [line.split()[1] for line in there.commands if line.startswith("exec")] == ["old-1", "new-1"] * 2


def test_after_labels_waits_for_the_enrolled_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Namespace(old=[Pod("old-1", [set(), {"cart.shop"}]), Pod("old-2", [{"cart.shop", "till.shop"}])])
    there.services = [service("cart"), service("till")]
    inputs = {"new_inputs": labelled()}
    synced = partial(sync, gateway="old")
    cart = partial(synced, places=["cart"])
    hooked(monkeypatch, there, lambda: hook("w-synced", Access(), "shop", 5, cart), **inputs)
    assert [line.split()[1] for line in there.commands if line.startswith("exec")].count("old-1") == 2
    assert there.writes() == []
    with pytest.raises(RuntimeError, match=r"^namespace shop: waited 0.02 s: waypoint old does not have till.shop$"):
        hooked(monkeypatch, there, lambda: hook("w-synced", Access(), "shop", 0.02, synced), **inputs)


@pytest.mark.parametrize("kind", ["create", "update"])
def test_before_labels_with_a_label_of_another_tool_fails(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    there = Namespace(old=[Pod("old-1")])
    fields = {"f:metadata": {"f:labels": {f"f:{PRIMARY}": {}}}}
    managed = [{"manager": "kubectl-label", "fieldsV1": fields}]
    meta = {"name": "shop", "labels": {PRIMARY: "by-hand"}, "managedFields": managed}
    there.objects = {"namespace/shop": {"kind": "Namespace", "metadata": meta}}
    inputs = {
        "old_inputs": labelled(waypoint="old") if kind == "update" else None,
        "new_inputs": labelled(waypoint="new"),
    }
    with pytest.raises(RuntimeError, match=r"kubectl label namespace shop istio.io/use-waypoint-$"):
        hooked(monkeypatch, there, lambda: before_labels("w-drain", Access(), "shop", [], 5), **inputs)
    assert there.writes() == []
