"""Services that a waypoint has and should have; the sync of a canary before it gets its first connection."""

import asyncio
import subprocess
from typing import Any

import pytest

from components._internal import migration
from components._internal.enrollment import expected, share
from components._internal.envoy import active_requests, services
from components._internal.migration import sync_canary
from components._internal.waits import Access, Session
from tests.unit.components.waypoint_cluster import (
    CANARY,
    LISTENERS,
    PRIMARY,
    WEIGHT,
    Namespace,
    Pod,
    busy,
    dump,
    envoy,
    pods,
    recorded_info,
    service,
)

CART, TILL = "cart.shop", "till.shop"
RESTART = "rollout restart deployment/next"
ROLLOUT = "get deployment next --output json"
NEEDED = "(a canary waypoint needs Istio 1.31 or newer)"


@pytest.fixture(autouse=True)
def info(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return recorded_info(monkeypatch)


def test_envoy_services_are_those_of_its_filter_chains() -> None:
    assert services(dump(CART, "reviews.bookinfo-backends", "https://example.com")) == {
        CART,
        "reviews.bookinfo-backends",
    }
    assert services(dump("cart.svc")) == {"cart.svc"}
    assert services({}) == set()


def test_envoy_services_without_a_cluster_do_not_count() -> None:
    half = dump(CART, TILL)
    half["configs"][0]["dynamic_active_clusters"].pop(0)
    assert services(half) == {TILL}


def test_expected_of_a_namespace_leaves_out_services_without_waypoint() -> None:
    items = [
        service("cart"),
        service("till"),
        service("out", {PRIMARY: "none"}),
        service("other", {PRIMARY: "another"}),
        service("same", {PRIMARY: "waypoint"}),  # its own label keeps the namespace's canary away
        service("headless", clusterIP="None"),
        {**service("elsewhere"), "spec": {"type": "ExternalName", "externalName": "x", "ports": [{"port": 80}]}},
        service("names", ports=[{"port": 53, "protocol": "UDP"}]),
        service("waypoint", {"gateway.istio.io/managed": "istio.io-mesh-controller"}),
        service("bare", ports=[{"port": 80}]),
        service("both", ports=[{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]),
        service("portless", ports=None),
    ]
    found = {CART, TILL, "bare.shop", "both.shop"}
    assert found == expected({"items": items}, [])


def test_expected_of_named_services_ignores_their_labels() -> None:
    items = [service("cart"), service("till", {PRIMARY: "another"}), service("mail")]
    items += [service("headless", clusterIP="None")]
    assert expected({"items": items}, ["cart", "till", "headless", "absent"]) == {CART, TILL}


def test_active_requests_counts_services_only() -> None:
    assert active_requests(busy(2, 0, 3)) == 5
    assert active_requests(busy()) == 0
    assert active_requests({}) == 0


def enrolled(labels: dict[str, str] | None, weight: str | None = None) -> dict[str, Any]:
    notes = {"annotations": {WEIGHT: weight}} if weight is not None else {}
    return {"metadata": {"name": "shop", **({"labels": labels} if labels is not None else {}), **notes}}


@pytest.mark.parametrize(
    ("labels", "weight", "first", "second"),
    [
        (None, None, 0, 0),
        ({}, "20", 0, 0),
        ({PRIMARY: "one"}, None, 100, 0),
        ({PRIMARY: "one"}, "20", 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, None, 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, "20", 80, 20),
        ({PRIMARY: "one", CANARY: "two"}, "100", 0, 100),
        ({PRIMARY: "one", CANARY: "two"}, "much", 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, "150", 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, "-5", 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, "+20", 80, 20),
        ({PRIMARY: "one", CANARY: "two"}, "\u0665", 100, 0),
        ({PRIMARY: "one", CANARY: "two"}, "9" * 5000, 100, 0),
        ({PRIMARY: "one", CANARY: "none"}, "20", 100, 0),
        ({PRIMARY: "one", CANARY: "one"}, "20", 100, 0),
        ({PRIMARY: "two", CANARY: "one"}, "30", 30, 70),
        ({PRIMARY: "other", CANARY: "third"}, "20", 0, 0),
    ],
)
def test_share_follows_labels_and_weight(
    labels: dict[str, str] | None, weight: str | None, first: int, second: int
) -> None:
    item = enrolled(labels, weight)
    assert (share(item, "one"), share(item, "two")) == (first, second)


def namespace(*canary: Pod, primary: list[Pod] | None = None) -> Namespace:
    """Two Services whose waypoint knows them, and the Pods of its canary."""
    found = Namespace(waypoint=primary or [Pod("waypoint-1", [{CART, TILL}])], next=list(canary))
    found.services = [service("cart"), service("till")]
    return found


def wait(there: Namespace, names: list[str] | None = None, limit_seconds: float = 5.0) -> None:
    asyncio.run(sync_canary(there.session(limit_seconds), "waypoint", "next", names or []))


def test_sync_canary_with_all_services_looks_once() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]), Pod("next-2", [{CART, TILL, "mail.shop"}]))
    wait(there)
    assert there.commands == [
        "get services --output json",
        pods("waypoint"),
        envoy("waypoint-1", "GET", LISTENERS),
        pods("next"),
        envoy("next-1", "GET", LISTENERS),
        envoy("next-2", "GET", LISTENERS),
        ROLLOUT,
    ]


def test_sync_canary_waits_for_every_pod() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]), Pod("next-2", [set(), {CART}, {TILL}, {CART, TILL}]))
    wait(there)
    assert there.commands.count(envoy("next-2", "GET", LISTENERS)) == 4
    assert there.writes() == [], "istiod updated it in time"


def test_sync_canary_ignores_services_of_other_namespaces() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]), primary=[Pod("waypoint-1", [{CART, TILL, "cart.elsewhere"}])])
    wait(there)
    assert there.writes() == []


def test_sync_canary_of_named_services_waits_for_those_alone() -> None:
    there = namespace(Pod("next-1", [{CART}]), primary=[Pod("waypoint-1", [{CART}])])
    wait(there, ["cart"])
    assert there.commands.count(envoy("next-1", "GET", LISTENERS)) == 1


def test_sync_canary_waits_for_the_primary_first() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]), primary=[Pod("waypoint-1", [{CART}, {CART, TILL}])])
    wait(there)
    first, second = [index for index, line in enumerate(there.commands) if line == pods("waypoint")]
    assert pods("next") not in there.commands[first:second]
    assert there.commands[-2:] == [envoy("next-1", "GET", LISTENERS), ROLLOUT]


def test_sync_canary_without_update_restarts_it_once(monkeypatch: pytest.MonkeyPatch, info: list[str]) -> None:
    monkeypatch.setattr(migration, "PATIENCE_SECONDS", 0.0)
    there = namespace(Pod("next-1", [{CART}]))
    anew = [Pod("next-2", [set(), set(), {TILL}, {CART, TILL}])]
    there.then[RESTART] = lambda: there.pods.update(next=anew)
    wait(there)
    assert there.writes() == [RESTART]
    assert there.commands.count(envoy("next-2", "GET", LISTENERS)) == 4
    assert info == [f"waypoint next does not have {TILL}; its Pods are restarted"]


def test_sync_canary_restarts_nothing_before_its_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PATIENCE_SECONDS", 60.0)
    there = namespace(Pod("next-1", [set()]))
    with pytest.raises(RuntimeError, match=r"^waited 0\.3 s: "):
        wait(there, limit_seconds=0.3)
    assert there.writes() == []


def test_sync_canary_of_a_primary_without_services_restarts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "PATIENCE_SECONDS", 0.0)
    there = namespace(Pod("next-1", [{CART, TILL}]), primary=[Pod("waypoint-1", [{CART}])])
    with pytest.raises(RuntimeError) as caught:
        wait(there, limit_seconds=0.05)
    assert str(caught.value) == f"waited 0.05 s: waypoint waypoint does not have {TILL}"
    assert there.writes() == []


def test_sync_canary_waits_for_a_rollout() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]))
    there.rollouts = [(0, 1), (1, 1), (1, 0)]
    wait(there)
    assert there.commands.count(ROLLOUT) == 3
    there.rollouts = [(1, 1)]
    with pytest.raises(RuntimeError, match=r"^waited 0\.05 s: waypoint next: 1 of 1 replicas available, 1 updated$"):
        wait(there, limit_seconds=0.05)


def test_sync_canary_skips_pods_that_end() -> None:
    there = namespace(Pod("next-1", [set()], ending=True), Pod("next-2", [{CART, TILL}]))
    there.pods["waypoint"].append(Pod("waypoint-0", [set()], ending=True))
    wait(there)
    asked = {line.split()[1] for line in there.commands if line.startswith("exec")}
    assert asked == {"waypoint-1", "next-2"}


def test_sync_canary_retries_when_a_pod_ends() -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]))
    there.refused["exec next-1"] = ['Error from server (NotFound): pods "next-1" not found']
    wait(there)
    assert there.commands.count(envoy("next-1", "GET", LISTENERS)) == 2


@pytest.mark.parametrize("knows", [set(), {CART}])
def test_sync_canary_past_the_limit_names_the_missing_services(knows: set[str]) -> None:
    with pytest.raises(RuntimeError) as caught:
        wait(namespace(Pod("next-1", [{CART, TILL}]), Pod("next-2", [knows])), limit_seconds=0.05)
    lacking = ", ".join(sorted({CART, TILL} - knows))
    assert str(caught.value) == f"waited 0.05 s: waypoint next does not have {lacking} {NEEDED}"


@pytest.mark.parametrize("gateway", ["waypoint", "next"])
def test_sync_canary_without_a_running_pod_fails_after_the_limit(gateway: str) -> None:
    there = namespace(Pod("next-1", [{CART, TILL}]))
    there.pods[gateway] = [Pod("last", ending=True)]
    with pytest.raises(RuntimeError) as caught:
        wait(there, limit_seconds=0.02)
    assert str(caught.value) == f"waited 0.02 s: waypoint {gateway} has no running Pod"
    assert there.writes() == []


def test_session_names_cluster_and_namespace() -> None:
    commands: list[list[str]] = []

    def look(command: list[str]) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, '{"items": []}', "")

    asyncio.run(Session(Access("/k", "c"), "shop", 5, look).get("services"))
    want = "kubectl --kubeconfig=/k --context=c --request-timeout=10s get --namespace shop services --output json"
    assert [" ".join(command) for command in commands] == [want]


@pytest.mark.parametrize(
    ("text", "line"), [("a\nforbidden\n", "forbidden"), (" \n", "kubectl failed without a message")]
)
def test_session_error_of_kubectl_is_one_line(text: str, line: str) -> None:
    there = Namespace()
    there.refused["get services"] = [text]
    with pytest.raises(RuntimeError) as caught:
        asyncio.run(there.session().get("services"))
    assert str(caught.value) == line
