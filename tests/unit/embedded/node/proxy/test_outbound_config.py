"""The node proxy's decisions: from the cluster's objects to Envoy's resources."""

from dataclasses import replace
from typing import Any

import pytest

from embedded.node.proxy.envoy_config import CLOSED, EnvoyResources, ProxySettings
from embedded.node.proxy.outbound_config import resources as build
from embedded.node.proxy.snapshot import Snapshot, endpoints, service_waypoint
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from tests.unit.embedded.node.proxy.settings import SETTINGS

Object = dict[str, Any]
BACK, FRONT = "bookinfo-backends", "bookinfo-frontends"


def meta(name: str, namespace: str | None, labels: dict[str, str] | None = None) -> Object:
    given: Object = {"name": name, "uid": f"uid-{name}", "labels": labels or {}}
    return {**given, "namespace": namespace} if namespace else given


def namespace(name: str, **labels: str) -> Object:
    return {"metadata": meta(name, None, {key.replace("_", "-"): value for key, value in labels.items()})}


def service(labels: dict[str, str] | None = None, address: str = "10.96.0.9") -> Object:
    ports = [{"name": "http", "port": 9080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    return {"metadata": meta("reviews", BACK, labels), "spec": {"clusterIP": address, "ports": ports}}


def endpoint_slice(service: str, port: int, *entries: Object, name: str = "http", family: str = "IPv4") -> Object:
    return {
        "metadata": meta(f"{service}-x", BACK, {"kubernetes.io/service-name": service}),
        "addressType": family,
        "ports": [{"name": name, "port": port}],
        "endpoints": list(entries),
    }


def at(address: str, **conditions: bool) -> Object:
    return {"addresses": [address], "conditions": conditions}


def gateway(labels: dict[str, str] | None = None, allowed: Object | None = None, namespace: str = BACK) -> Object:
    listener = {"name": "mesh", "protocol": "HBONE", "allowedRoutes": {"namespaces": allowed or {"from": "All"}}}
    return {
        "metadata": meta("waypoint", namespace, labels),
        "spec": {"listeners": [listener]},
        "status": {"addresses": [{"value": "10.96.0.77"}]},
    }


def pod(name: str, address: str, labels: dict[str, str] | None = None, **spec: object) -> Object:
    status = {"podIP": address, "phase": "Running"}
    return {"metadata": meta(name, FRONT, labels), "spec": {"serviceAccountName": "shop", **spec}, "status": status}


def snapshot(**changes: Any) -> Snapshot:
    """Productpage calls reviews through a waypoint: the lab once its first stage is on."""
    given: dict[str, Any] = {
        "services": {f"{BACK}/reviews": service()},
        "slices": {
            "a": endpoint_slice("reviews", 9081, at("10.244.1.5", ready=True)),
            "b": endpoint_slice("waypoint", 15008, at("10.244.1.9", ready=True), name="mesh"),
        },
        "pods": {f"{FRONT}/page": pod("page", "10.244.1.2")},
        "namespaces": {
            BACK: {"metadata": meta(BACK, None, {"istio.io/use-waypoint": "waypoint"})},
            FRONT: {"metadata": meta(FRONT, None, {"istio.io/dataplane-mode": "ambient"})},
        },
        "gateways": {f"{BACK}/waypoint": gateway()},
    }
    return Snapshot(**{**given, **changes})


def resources(snapshot: Snapshot, settings: ProxySettings) -> EnvoyResources:
    """Return the configuration of the proxy for this snapshot."""
    tracker = WaypointTracker()
    tracker.update(snapshot, 0)
    return build(snapshot, settings, tracker)


def service_listener(built: EnvoyResources) -> Object:
    (listener,) = (item for name, item in built.listeners.items() if name not in ("pods", "endpoints"))
    return listener


def chains(built: EnvoyResources) -> dict[str, str]:
    """Source prefix of each filter chain to the cluster it leads to."""
    listener = service_listener(built)
    found = {}
    for chain in listener["filter_chains"]:
        (source,) = chain["filter_chain_match"]["source_prefix_ranges"]
        prefix = f"{source['address_prefix']}/{source['prefix_len']}"
        assert prefix not in found, "Envoy refuses a listener that names a source twice"
        found[prefix] = chain["filters"][0]["typed_config"]["cluster"]
    found["rest"] = listener["default_filter_chain"]["filters"][0]["typed_config"]["cluster"]
    return found


def test_resources_node_port_goes_to_the_endpoints() -> None:
    item = service()
    item["spec"]["ports"][0]["nodePort"] = 30080
    listener = resources(snapshot(services={f"{BACK}/reviews": item}), SETTINGS).listeners[f"{BACK}/reviews:9080:node"]
    assert listener["address"] == {"socket_address": {"address": SETTINGS.node_ip, "port_value": 30080}}
    assert listener["filter_chains"] == []
    assert listener["default_filter_chain"]["filters"][0]["typed_config"]["cluster"] == PLAIN


def test_resources_session_affinity_chooses_by_the_address_of_the_client() -> None:
    item = service()
    item["spec"]["sessionAffinity"] = "ClientIP"
    built = resources(snapshot(services={f"{BACK}/reviews": item}), SETTINGS)
    proxy = service_listener(built)["default_filter_chain"]["filters"][0]["typed_config"]
    assert (built.clusters[PLAIN]["lb_policy"], proxy["hash_policy"]) == ("MAGLEV", [{"source_ip": {}}])
    assert "lb_policy" not in resources(snapshot(), SETTINGS).clusters[PLAIN]


HBONE = f"hbone|spiffe://cluster.local/ns/{FRONT}/sa/shop|{BACK}/waypoint"
PLAIN = f"plain|{BACK}/reviews|9080"


def test_resources_enrolled_client_uses_waypoint_with_its_identity() -> None:
    built = resources(snapshot(), SETTINGS)
    assert chains(built)["10.244.1.2/32"] == HBONE
    listener = service_listener(built)
    proxy = next(c for c in listener["filter_chains"] if c["name"].startswith("uid-page"))["filters"][0]["typed_config"]
    assert proxy["tunneling_config"] == {"hostname": "10.96.0.9:9080"}
    tls = built.clusters[HBONE]["transport_socket"]["typed_config"]["common_tls_context"]
    chain = {"filename": f"spiffe://cluster.local/ns/{FRONT}/sa/shop.crt"}
    assert chain == tls["tls_certificates"][0]["certificate_chain"]
    assert tls["alpn_protocols"] == ["h2"]
    assert behind(built, HBONE) == [("10.244.1.9", 15008)]


def behind(built: EnvoyResources, cluster: str) -> list[tuple[str, int]]:
    (locality,) = built.clusters[cluster]["load_assignment"]["endpoints"]
    found = [entry["endpoint"]["address"]["socket_address"] for entry in locality["lb_endpoints"]]
    return [(item["address"], item["port_value"]) for item in found]


def test_resources_with_waypoint_node_is_direct_and_unknown_pod_closed() -> None:
    assert chains(resources(snapshot(), SETTINGS)) == {
        "10.244.0.1/32": PLAIN,
        "10.244.0.0/16": CLOSED,
        "10.244.1.2/32": HBONE,
        "rest": PLAIN,
    }


def test_resources_without_waypoint_all_clients_are_direct() -> None:
    built = resources(snapshot(gateways={}), SETTINGS)
    assert chains(built) == {"rest": PLAIN}
    assert behind(built, PLAIN) == [("10.244.1.5", 9081)]


@pytest.mark.parametrize(
    "client",
    [
        pod("page", "10.244.1.2", {"istio.io/dataplane-mode": "none"}),
        pod("page", "10.244.1.2", {"gateway.networking.k8s.io/gateway-name": "ingress"}),
    ],
)
def test_resources_not_enrolled_client_or_gateway_is_direct(client: Object) -> None:
    assert chains(resources(snapshot(pods={"p": client}), SETTINGS))["10.244.1.2/32"] == PLAIN


def test_resources_client_with_own_label_is_enrolled() -> None:
    own = pod("page", "10.244.1.2", {"istio.io/dataplane-mode": "ambient"})
    spaces = {BACK: {"metadata": meta(BACK, None, {"istio.io/use-waypoint": "waypoint"})}, FRONT: namespace(FRONT)}
    assert chains(resources(snapshot(pods={"p": own}, namespaces=spaces), SETTINGS))["10.244.1.2/32"] == HBONE


def test_clients_duplicate_address_belongs_to_the_running_pod() -> None:
    old = pod("old", "10.244.1.2", serviceAccountName="gone")
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    both = {"a": pod("page", "10.244.1.2"), "b": old}
    assert chains(resources(snapshot(pods=both), SETTINGS))["10.244.1.2/32"] == HBONE


def test_clients_host_network_and_ended_pods_are_left_out() -> None:
    ended = pod("ended", "10.244.1.3")
    ended["status"]["phase"] = "Succeeded"
    pods = {"a": pod("host", "10.244.0.1", hostNetwork=True), "b": ended}
    assert {"10.244.0.1/32", "10.244.0.0/16", "rest"} == chains(resources(snapshot(pods=pods), SETTINGS)).keys()


def test_resources_new_pod_leaves_other_chains_unchanged() -> None:
    before = resources(snapshot(), SETTINGS).listeners[f"{BACK}/reviews:9080"]["filter_chains"]
    more = {f"{FRONT}/page": pod("page", "10.244.1.2"), f"{FRONT}/a": pod("a", "10.244.1.1")}
    after = resources(snapshot(pods=more), SETTINGS).listeners[f"{BACK}/reviews:9080"]["filter_chains"]
    assert len(before) + 1 == len(after)
    assert all(chain in after for chain in before)


def test_resources_changed_endpoints_leave_listeners_unchanged() -> None:
    before, after = resources(snapshot(), SETTINGS), resources(snapshot(slices={}), SETTINGS)
    assert before.listeners == after.listeners
    assert behind(after, HBONE) == []


def test_resources_headless_service_or_udp_port_has_no_listener() -> None:
    headless = resources(snapshot(services={"x": service(address="None")}), SETTINGS)
    assert list(headless.listeners) == ["pods", "endpoints"]
    assert [f"{BACK}/reviews:9080", "pods", "endpoints"] == list(resources(snapshot(), SETTINGS).listeners)


def test_resources_enrolled_clients_reach_pods_with_their_identity() -> None:
    built = resources(snapshot(), SETTINGS)
    listener = built.listeners["pods"]
    assert listener["transparent"] is True
    (chain,) = listener["filter_chains"]
    assert chain["filter_chain_match"]["source_prefix_ranges"] == [{"address_prefix": "10.244.1.2", "prefix_len": 32}]
    proxy = chain["filters"][0]["typed_config"]
    assert proxy["tunneling_config"] == {"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"}
    cluster = built.clusters[proxy["cluster"]]
    assert cluster["original_dst_lb_config"] == {"upstream_port_override": 15008}
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    assert (
        f"spiffe://cluster.local/ns/{FRONT}/sa/shop.crt" == tls["tls_certificates"][0]["certificate_chain"]["filename"]
    )


def test_resources_without_capture_connect_with_the_address_of_the_node() -> None:
    built = resources(snapshot(), replace(SETTINGS, captures=False))
    assert [f"{BACK}/reviews:9080"] == list(built.listeners)
    assert built.listeners[f"{BACK}/reviews:9080"]["listener_filters"] == []
    assert resources(snapshot(), SETTINGS).listeners[f"{BACK}/reviews:9080"]["listener_filters"] != []


def test_service_waypoint_service_label_overrides_namespace() -> None:
    mine = service({"istio.io/use-waypoint": "own"})
    both = {f"{BACK}/waypoint": gateway(), f"{BACK}/own": gateway()}
    assert f"{BACK}/own" == service_waypoint(snapshot(gateways=both), mine)
    assert service_waypoint(snapshot(), mine) is None
    assert service_waypoint(snapshot(), service({"istio.io/use-waypoint": "none"})) is None


def test_service_waypoint_other_namespace_is_used() -> None:
    labels = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shared"}
    found = service_waypoint(snapshot(gateways={"shared/waypoint": gateway(namespace="shared")}), service(labels))
    assert found == "shared/waypoint"


def selected(key: str, operator: str, *values: str) -> Object:
    """Return the allowed namespaces of a listener: those whose label fits."""
    expression = {"key": key, "operator": operator} | ({"values": list(values)} if values else {})
    return {"from": "Selector", "selector": {"matchExpressions": [expression]}}


@pytest.mark.parametrize(
    ("allowed", "tracker"),
    [
        ({"from": "All"}, True),
        ({"from": "Same"}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"istio.io/use-waypoint": "waypoint"}}}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}, False),
        (selected("team", "Exists"), False),
        (selected("team", "DoesNotExist"), True),
        (selected("team", "In", "x"), False),
        (selected("team", "NotIn", "x"), True),
        (selected("istio.io/use-waypoint", "Exists"), True),
        (selected("istio.io/use-waypoint", "DoesNotExist"), False),
        (selected("istio.io/use-waypoint", "In", "x", "waypoint"), True),
        (selected("istio.io/use-waypoint", "NotIn", "x", "waypoint"), False),
    ],
)
def test_service_waypoint_other_namespace_must_allow_the_service(allowed: Object, tracker: bool) -> None:
    labels = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "shared"}
    there = {"shared/waypoint": gateway(allowed=allowed, namespace="shared")}
    assert tracker == (service_waypoint(snapshot(gateways=there), service(labels)) is not None)


@pytest.mark.parametrize("kind", ["workload", "none"])
def test_service_waypoint_not_for_services_is_ignored(kind: str) -> None:
    assert (
        service_waypoint(snapshot(gateways={f"{BACK}/waypoint": gateway({"istio.io/waypoint-for": kind})}), service())
        is None
    )


@pytest.mark.parametrize("kind", ["service", "all"])
def test_service_waypoint_for_services_or_all_is_used(kind: str) -> None:
    there = {f"{BACK}/waypoint": gateway({"istio.io/waypoint-for": kind})}
    assert f"{BACK}/waypoint" == service_waypoint(snapshot(gateways=there), service())


def test_service_waypoint_without_address_is_ignored() -> None:
    there = gateway()
    del there["status"]
    assert service_waypoint(snapshot(gateways={f"{BACK}/waypoint": there}), service()) is None


def test_endpoints_terminating_are_used_only_without_ready_ones() -> None:
    ending = at("10.244.1.6", ready=False, serving=True, terminating=True)
    starting = at("10.244.1.7", ready=False, serving=False)
    both = Snapshot(slices={"a": endpoint_slice("reviews", 1, at("10.244.1.5", ready=True), ending, starting)})
    one = Snapshot(slices={"a": endpoint_slice("reviews", 1, ending, starting)})
    addresses = [
        [
            entry["endpoint"]["address"]["socket_address"]["address"]
            for entry in endpoints(item, f"{BACK}/reviews", "http")
        ]
        for item in (both, one)
    ]
    assert addresses == [["10.244.1.5"], ["10.244.1.6"]]


def test_endpoints_ipv6_is_left_out() -> None:
    six = Snapshot(slices={"a": endpoint_slice("reviews", 1, at("fd00::1", ready=True), family="IPv6")})
    assert endpoints(six, f"{BACK}/reviews", "http") == []
