"""The inbound proxy's state from istiod, its resources, and the mark of the Pods that it serves."""

import asyncio
import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from embedded.node.proxy import capture, inbound_config, messages
from embedded.node.proxy.envoy_process import EnvoyFiles
from embedded.node.proxy.nftables import NetfilterError
from embedded.node.proxy.redirection import REDIRECTION, Redirection
from embedded.node.proxy.snapshot import ClientPod, Snapshot
from embedded.node.proxy.workload_api import ADDRESS, AUTHORIZATION, WorkloadClient, WorkloadState
from tests.unit.embedded.node.proxy.settings import SETTINGS

Object = dict[str, Any]
CART = ClientPod("uid-cart", "10.244.1.2", "shop/cart")
OUTSIDE = ClientPod("uid-outside", "10.244.1.3", None)


def response(kind: str, *items: tuple[str, Any], removed: tuple[str, ...] = ()) -> Any:
    made = messages.DeltaResponse(type_url=kind, nonce="1", removed=removed)
    for name, message in items:
        item = made.resources.add(name=name)
        item.resource.value = message.SerializeToString()
    return made


def workload(namespace: str = "shop", *policies: str, address: str = "10.244.1.2") -> Any:
    found = {"namespace": namespace, "addresses": [ipaddress.ip_address(address).packed]}
    return messages.Address(workload={**found, "authorization_policies": policies})


def policy(scope: int, namespace: str = "shop", **fields: Any) -> Any:
    return messages.Authorization(name="p", namespace=namespace, scope=scope, **fields)


@pytest.fixture
def client() -> Iterator[WorkloadClient]:
    """Return a client whose connection has just been opened."""
    made = WorkloadClient("10.244.0.1", lambda: None)
    made._pending = {ADDRESS, AUTHORIZATION}
    return made


def test_take_both_kinds_makes_the_state_synced(client: WorkloadClient) -> None:
    client.take(response(ADDRESS, ("w", workload()), ("service", messages.Address())))
    assert not client.state.synced
    client.take(response(AUTHORIZATION, ("shop/p", policy(1))))
    assert client.state.synced
    assert (list(client.state.workloads), list(client.state.policies)) == (["w"], ["shop/p"])
    client.take(response(ADDRESS, ("v", workload()), removed=("w",)))
    assert list(client.state.workloads) == ["v"]


def test_take_new_connection_replaces_the_state(client: WorkloadClient) -> None:
    client.take(response(AUTHORIZATION, ("shop/old", policy(1))))
    client._pending = {ADDRESS, AUTHORIZATION}
    client.take(response(AUTHORIZATION, ("shop/new", policy(1))))
    assert list(client.state.policies) == ["shop/new"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (policy(0, "istio-system"), True),
        (policy(1), True),
        (policy(1, "other"), False),
        (policy(2), False),
        (policy(1, dry_run=True), False),
    ],
)
def test_policies_of_scope_decides(client: WorkloadClient, given: Any, expected: bool) -> None:
    client.take(response(ADDRESS, ("w", workload())))
    client.take(response(AUTHORIZATION, ("shop/p", given)))
    assert expected is bool(client.state.policies_of(client.state.workloads["w"]))


def test_policies_of_selector_follows_the_workload(client: WorkloadClient) -> None:
    client.take(response(ADDRESS, ("w", workload("shop", "shop/p", "shop/unknown"))))
    client.take(response(AUTHORIZATION, ("shop/p", policy(2))))
    assert len(client.state.policies_of(client.state.workloads["w"])) == 1


def served(state: WorkloadState) -> set[str]:
    return inbound_config.resources([CART, OUTSIDE], state, SETTINGS)[1]


def test_resources_pod_is_served_once_istiod_knows_it(client: WorkloadClient) -> None:
    assert set() == served(client.state)
    client.take(response(ADDRESS, ("w", workload()), ("o", workload(address="10.244.1.3"))))
    assert set() == served(client.state), "the policies have not arrived"
    client.take(response(AUTHORIZATION))
    assert {"uid-cart"} == served(client.state), "a Pod outside the mesh is not captured"
    client.take(response(ADDRESS, ("w", workload("other"))))
    assert set() == served(client.state), "istiod still has the address's former Pod"


def test_resources_policies_precede_the_connection(client: WorkloadClient) -> None:
    client.take(response(ADDRESS, ("w", workload())))
    client.take(response(AUTHORIZATION, ("shop/p", policy(1, action=1)), ("shop/q", policy(1))))
    (listener,) = inbound_config.resources([CART], client.state, SETTINGS)[0].listeners.values()
    hbone, plain = listener["filter_chains"]
    (manager,) = hbone["filters"]
    names = [item["name"].removeprefix("envoy.filters.") for item in manager["typed_config"]["http_filters"]]
    assert names == ["http.rbac.deny", "http.rbac.allow", "http.router"]
    names = [item["name"].removeprefix("envoy.filters.") for item in plain["filters"]]
    assert names == ["network.rbac.deny", "network.rbac.allow", "network.tcp_proxy"]
    tls = hbone["transport_socket"]["typed_config"]
    assert tls["require_client_certificate"] is True
    certificate = tls["common_tls_context"]["tls_certificates"][0]["certificate_chain"]["filename"]
    assert certificate == "spiffe://cluster.local/ns/shop/sa/cart.crt"
    assert hbone["filter_chain_match"]["destination_port"] == 15008


def pod(uid: str, marked: bool, mode: str = "ambient") -> Object:
    annotations = {REDIRECTION: "enabled"} if marked else {}
    labels = {"istio.io/dataplane-mode": mode}
    return {"metadata": {"name": uid, "namespace": "shop", "uid": uid, "annotations": annotations, "labels": labels}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pod("a", marked=False), {"a": True}),
        (pod("unserved", marked=False), {}),
        (pod("a", marked=True), {}),
        (pod("unserved", marked=True), {}),
        (pod("a", marked=True, mode="none"), {"a": False}),
    ],
)
def test_redirection_marks_served_pods_of_the_mesh(tmp_path: Any, given: Object, expected: dict[str, bool]) -> None:
    redirection = Redirection(None, EnvoyFiles(tmp_path / "proxy"))  # type: ignore[arg-type]
    redirection.update(Snapshot(pods={given["metadata"]["uid"]: given}), {"a"})
    assert expected == {name: wanted for name, (_, wanted) in redirection._wanted.items()}


def test_redirection_without_capture_removes_marks() -> None:
    redirection = Redirection(None, None)  # type: ignore[arg-type]
    given = {"a": pod("a", marked=True), "b": pod("b", marked=False)}
    redirection.update(Snapshot(pods=given), {"a", "b"})
    assert {name: wanted for name, (_, wanted) in redirection._wanted.items()} == {"a": False}


def test_find_problem_of_a_kernel_without_nftables_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def routed(*_argv: str, **_given: str) -> str:
        return ""

    def refuse(_table: Any) -> None:
        raise NetfilterError("nftables: EOPNOTSUPP")

    monkeypatch.setattr(capture, "command", routed)
    monkeypatch.setattr(capture.Table, "apply", refuse)
    monkeypatch.setattr(capture.Path, "write_text", lambda *_: 0)
    assert asyncio.run(capture.find_problem("10.244.0.1", "10.244.0.0/16")) == "nftables: EOPNOTSUPP"
