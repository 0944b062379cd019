"""Waypoints of workloads: connections of enrolled Pods to the addresses of Pods."""

from typing import Any

import pytest

from embedded.node.proxy import messages
from embedded.node.proxy.envoy_config import CLOSED, EnvoyResources
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.snapshot import Snapshot
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from embedded.node.proxy.workload_api import ADDRESS, AUTHORIZATION, WorkloadClient
from tests.unit.embedded.node.proxy.settings import SETTINGS
from tests.unit.embedded.node.proxy.test_outbound_config import BACK, FRONT, behind, pod, snapshot

Object = dict[str, Any]
CLIENT, SERVER, GATEWAY = "10.244.1.2", "10.244.1.5", "10.244.1.9"
HBONE = f"hbone|spiffe://cluster.local/ns/{FRONT}/sa/shop|{BACK}/waypoint"
DIRECT = f"pods|spiffe://cluster.local/ns/{FRONT}/sa/shop"


def place(**changes: Any) -> Snapshot:
    """Return the cluster of the other tests with a server, and a Pod of the waypoint."""
    outside = {"istio.io/dataplane-mode": "none"}
    gateway = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
    pods = {
        "client": pod("page", CLIENT),
        "server": pod("server", SERVER, outside),
        "gateway": pod("gateway", GATEWAY, gateway),
    }
    return snapshot(**{"pods": pods, **changes})


def built(waypoints: dict[str, str], given: Snapshot | None = None) -> EnvoyResources:
    """Return the configuration of the proxy for the waypoints of Pods."""
    given, tracker = given or place(), WaypointTracker()
    tracker.update(given, 0)
    return resources(given, SETTINGS, tracker, waypoints)


def chains(made: EnvoyResources, listener: str = "pods") -> dict[tuple[str, str], Object]:
    """Return the proxies of a listener by client and destination; the destination is empty for all."""
    found = {}
    for chain in made.listeners[listener]["filter_chains"]:
        match = chain["filter_chain_match"]
        (source,) = match["source_prefix_ranges"]
        (wanted,) = match.get("prefix_ranges", [{"address_prefix": "", "prefix_len": 32}])
        assert (source["prefix_len"], wanted["prefix_len"]) == (32, 32)
        found[source["address_prefix"], wanted["address_prefix"]] = chain["filters"][0]["typed_config"]
    return found


def test_resources_pod_with_waypoint_is_reached_through_it() -> None:
    made = built({SERVER: f"{BACK}/waypoint"})
    found = chains(made)
    assert {key: each["cluster"] for key, each in found.items()} == {(CLIENT, ""): DIRECT, (CLIENT, SERVER): HBONE}
    assert found[CLIENT, SERVER]["tunneling_config"] == {"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"}
    assert behind(made, HBONE) == [(GATEWAY, 15008)]
    peers = made.clusters[HBONE]["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
    (san,) = peers["match_typed_subject_alt_names"]
    assert {"prefix": f"spiffe://cluster.local/ns/{BACK}/sa/"} == san["matcher"]


def test_resources_pod_chosen_for_a_service_is_reached_without_its_waypoint() -> None:
    found = chains(built({SERVER: f"{BACK}/waypoint"}), "endpoints")
    assert {key: each["cluster"] for key, each in found.items()} == {(CLIENT, ""): DIRECT}


def test_resources_pod_of_the_waypoint_is_no_client_of_it() -> None:
    assert not any(client == GATEWAY for client, _ in chains(built({SERVER: f"{BACK}/waypoint"})))


def test_resources_waypoint_by_address_is_that_of_its_service() -> None:
    service = {"metadata": {"name": "waypoint", "namespace": BACK}, "spec": {"clusterIP": "10.96.0.77"}}
    given = place(services={f"{BACK}/waypoint": service})
    assert chains(built({SERVER: "10.96.0.77"}, given))[CLIENT, SERVER]["cluster"] == HBONE


def test_resources_waypoint_that_is_gone_refuses_connections() -> None:
    proxy = chains(built({SERVER: "10.96.0.78"}))[CLIENT, SERVER]
    assert (proxy["cluster"], "tunneling_config" in proxy) == (CLOSED, False)
    absent = built({SERVER: f"{BACK}/gone"})
    assert behind(absent, chains(absent)[CLIENT, SERVER]["cluster"]) == []


def test_resources_waypoint_of_an_unknown_address_is_left_out() -> None:
    assert {(CLIENT, "")} == chains(built({"10.244.7.7": f"{BACK}/waypoint"})).keys()


def test_resources_new_waypoint_leaves_other_chains_unchanged() -> None:
    before = built({}).listeners["pods"]["filter_chains"]
    after = built({SERVER: f"{BACK}/waypoint"}).listeners["pods"]["filter_chains"]
    assert (1, before) == (len(after) - len(before), after[: len(before)])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        (
            {"hostname": {"namespace": BACK, "hostname": f"waypoint.{BACK}.svc.cluster.local"}},
            {SERVER: f"{BACK}/waypoint"},
        ),
        ({"address": {"address": bytes([10, 96, 0, 77])}}, {SERVER: "10.96.0.77"}),
    ],
)
def test_take_workload_keeps_its_waypoint(given: Object, expected: dict[str, str]) -> None:
    client = WorkloadClient("10.244.0.1", lambda: None)
    client._pending = {ADDRESS, AUTHORIZATION}
    fields = {"namespace": FRONT, "addresses": [bytes([10, 244, 1, 5])], **({"waypoint": given} if given else {})}
    response = messages.DeltaResponse(type_url=ADDRESS, nonce="1")
    response.resources.add(name="w").resource.value = messages.Address(workload=fields).SerializeToString()
    client.take(response)
    assert expected == client.state.waypoints()


def test_take_workload_reads_the_fields_of_istiod() -> None:
    # Workload of pkg/workloadapi: waypoint is field 8, hostname field 1 of GatewayAddress, hbone_mtls_port field 3.
    host = b"\x0a\x01b\x12\x03w.b"
    gateway = b"\x0a" + bytes([len(host)]) + host + b"\x18\xa0\x75"
    workload = b"\x12\x01b\x1a\x04\x0a\xf4\x01\x05\x42" + bytes([len(gateway)]) + gateway
    client = WorkloadClient("10.244.0.1", lambda: None)
    response = messages.DeltaResponse(type_url=ADDRESS, nonce="1")
    response.resources.add(name="w").resource.value = b"\x0a" + bytes([len(workload)]) + workload
    client.take(response)
    assert client.state.waypoints() == {SERVER: "b/w"}
