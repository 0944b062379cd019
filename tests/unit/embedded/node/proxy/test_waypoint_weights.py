"""Two waypoints of one Service: which weights of its clients' connections they get, and how Envoy draws them."""

from typing import Any

import pytest

from embedded.node.proxy.envoy_config import EnvoyResources
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.snapshot import Snapshot, WaypointWeights, waypoint_weights
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from tests.unit.embedded.node.proxy.settings import SETTINGS

Object = dict[str, Any]
PRIMARY, PLACE = "istio.io/use-waypoint", "istio.io/use-waypoint-namespace"
CANARY, CANARY_PLACE = "istio.io/use-waypoint-canary", "istio.io/use-waypoint-canary-namespace"
WEIGHT = "istio.io/use-waypoint-canary-weight"
AMBIENT = {"istio.io/dataplane-mode": "ambient"}
ONE, TWO = "shop/one", "shop/two"
BOTH = {PRIMARY: "one", CANARY: "two"}
ONLY_ONE: WaypointWeights = ((ONE, 100),)


def meta(name: str, labels: Object | None = None, annotations: Object | None = None, namespace: str = "shop") -> Object:
    given = {"name": name, "namespace": namespace, "uid": f"uid-{name}"}
    return {"metadata": {**given, "labels": labels or {}, "annotations": annotations or {}}}


def gateway(name: str, namespace: str = "shop", scope: str = "service", allowed: str = "All") -> Object:
    listener = {"protocol": "HBONE", "allowedRoutes": {"namespaces": {"from": allowed}}}
    return {
        **meta(name, {"istio.io/waypoint-for": scope}, namespace=namespace),
        "spec": {"listeners": [listener]},
        "status": {"addresses": [{"value": "10.96.0.7"}]},
    }


def weights(
    service: Object | None = None,
    space: Object | None = None,
    *,
    weight: str | None = None,
    of_space: str | None = None,
    gateways: dict[str, Object] | None = None,
) -> WaypointWeights:
    """Those of a Service with these labels in a namespace with those, and the weight of each where it has one."""
    given = {name: {WEIGHT: text} for name, text in (("cart", weight), ("shop", of_space)) if text is not None}
    item = meta("cart", service, given.get("cart"))
    there = gateways if gateways is not None else {ONE: gateway("one"), TWO: gateway("two")}
    return waypoint_weights(Snapshot(namespaces={"shop": meta("shop", space, given.get("shop"))}, gateways=there), item)


def test_waypoint_weights_without_canary_baseline_has_all() -> None:
    assert weights({PRIMARY: "one"}) == ONLY_ONE
    assert weights(space={PRIMARY: "one"}, of_space="30") == ONLY_ONE


def test_waypoint_weights_without_baseline_canary_has_nothing() -> None:
    assert weights({CANARY: "two"}, weight="30") == ()
    assert weights({PRIMARY: "none", CANARY: "two"}, BOTH, weight="30") == ()
    assert weights(BOTH, weight="30", gateways={TWO: gateway("two")}) == ()


@pytest.mark.parametrize(
    ("service", "space", "weight", "of_space"),
    [
        ({}, BOTH, None, "30"),
        (BOTH, {}, "30", None),
        ({CANARY: "two"}, {PRIMARY: "one"}, "30", None),
        ({CANARY: "two"}, {PRIMARY: "one", CANARY: "far"}, None, "30"),
        ({}, BOTH, "30", "42"),
        (BOTH, {PRIMARY: "far", CANARY: "far"}, "30", "42"),
    ],
)
def test_waypoint_weights_service_overrides_inherited_namespace_values(
    service: Object, space: Object, weight: str | None, of_space: str | None
) -> None:
    assert weights(service, space, weight=weight, of_space=of_space) == ((ONE, 70), (TWO, 30))


def test_waypoint_weights_own_baseline_inherits_no_canary() -> None:
    assert weights({PRIMARY: "one"}, BOTH, of_space="30") == ONLY_ONE
    assert weights(BOTH, BOTH, of_space="30") == ((ONE, 100), (TWO, 0))


@pytest.mark.parametrize("name", ["", "none"])
def test_waypoint_weights_service_can_opt_out_of_namespace_canary(name: str) -> None:
    assert weights({CANARY: name}, BOTH, of_space="30") == ONLY_ONE


def test_waypoint_weights_canary_namespace_is_that_of_its_label() -> None:
    there = {ONE: gateway("one"), TWO: gateway("two"), "edge/two": gateway("two", "edge")}
    elsewhere = {**BOTH, CANARY_PLACE: "edge"}
    far, near = ((ONE, 70), ("edge/two", 30)), ((ONE, 70), (TWO, 30))
    assert far == weights(elsewhere, weight="30", gateways=there)
    assert far == weights(space=elsewhere, of_space="30", gateways=there)
    assert near == weights({CANARY_PLACE: "edge"}, BOTH, of_space="30", gateways=there)
    assert near == weights({CANARY: "two"}, elsewhere, of_space="30", gateways=there)


def test_waypoint_weights_canary_defaults_to_the_services_namespace() -> None:
    there = {"edge/one": gateway("one", "edge"), TWO: gateway("two")}
    assert weights({**BOTH, PLACE: "edge"}, weight="30", gateways=there) == (("edge/one", 70), (TWO, 30))


def test_waypoint_weights_canary_equal_to_baseline_changes_nothing() -> None:
    assert weights({PRIMARY: "one", CANARY: "one"}, weight="30") == ONLY_ONE
    there = {ONE: gateway("one"), "edge/one": gateway("one", "edge")}
    namesake = {PRIMARY: "one", CANARY: "one", CANARY_PLACE: "edge"}
    assert weights(namesake, weight="30", gateways=there) == ((ONE, 70), ("edge/one", 30))


@pytest.mark.parametrize(
    "canary",
    [
        None,
        gateway("two", scope="workload"),
        {**gateway("two"), "status": {}},
        gateway("two", allowed="None"),
    ],
)
def test_waypoint_weights_unusable_canary_baseline_has_all(canary: Object | None) -> None:
    there = {ONE: gateway("one"), **({TWO: canary} if canary else {})}
    assert weights(BOTH, weight="30", gateways=there) == ONLY_ONE


@pytest.mark.parametrize(
    ("text", "share"), [(None, 0), ("0", 0), ("-0", 0), ("+5", 5), ("007", 7), ("42", 42), ("100", 100)]
)
def test_waypoint_weights_text_is_read_as_go_does(text: str | None, share: int) -> None:
    assert ((ONE, 100 - share), (TWO, share)) == weights(BOTH, weight=text)


@pytest.mark.parametrize(
    "text", ["", "abc", "-1", "101", "12.5", " 5", "5 ", "5\n", "1e1", "1_0", "0x5", "5%", "--5", "\u0665", "9" * 5000]
)
def test_waypoint_weights_invalid_weight_baseline_has_all(text: str) -> None:
    assert weights(BOTH, weight=text) == ONLY_ONE


def pod(name: str, address: str, account: str, labels: Object | None = None) -> Object:
    status = {"podIP": address, "phase": "Running"}
    return {**meta(name, AMBIENT if labels is None else labels), "spec": {"serviceAccountName": account}} | {
        "status": status
    }


def endpoint(service: str, port: int, address: str, namespace: str = "shop") -> Object:
    item = meta(service, {"kubernetes.io/service-name": service}, namespace=namespace)
    ends = [{"addresses": [address], "conditions": {"ready": True}}]
    return {**item, "addressType": "IPv4", "ports": [{"name": "", "port": port}], "endpoints": ends}


def built(weight: str | None, place: str = "shop") -> EnvoyResources:
    """Three clients in the mesh, two of one account, and one outside; without a canary where `weight` is None."""
    labels = {PRIMARY: "one", **({CANARY: "two", CANARY_PLACE: place} if weight is not None else {})}
    cart = meta("cart", labels, {WEIGHT: weight} if weight is not None else {})
    snapshot = Snapshot(
        services={"shop/cart": {**cart, "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}}},
        slices={
            "a": endpoint("cart", 8080, "10.244.1.20"),
            "b": endpoint("one", 15008, "10.244.1.31"),
            "c": endpoint("two", 15008, "10.244.1.32", place),
        },
        pods={
            "p": pod("page", "10.244.1.2", "page"),
            "q": pod("again", "10.244.1.3", "page"),
            "r": pod("till", "10.244.1.4", "till"),
            "s": pod("outside", "10.244.1.5", "page", {}),
        },
        namespaces={"shop": meta("shop")},
        gateways={ONE: gateway("one"), f"{place}/two": gateway("two", place)},
    )
    tracker = WaypointTracker()
    tracker.update(snapshot, 0)
    return resources(snapshot, SETTINGS, tracker)


def hbone(account: str, waypoint: str) -> str:
    return f"hbone|spiffe://cluster.local/ns/shop/sa/{account}|{waypoint}"


def chains(found: EnvoyResources) -> dict[str, Object]:
    """The filter chains by the address that each is for."""
    listener = found.listeners["shop/cart:80"]
    sources = [item["filter_chain_match"]["source_prefix_ranges"][0] for item in listener["filter_chains"]]
    assert len({item["name"] for item in listener["filter_chains"]}) == len(sources), "Envoy wants names of their own"
    return {item["address_prefix"]: chain for item, chain in zip(sources, listener["filter_chains"], strict=True)} | {
        "rest": listener["default_filter_chain"]
    }


def proxied(chain: Object) -> Object:
    return dict(chain["filters"][0]["typed_config"])


INSIDE = {"10.244.1.2": "page", "10.244.1.3": "page", "10.244.1.4": "till"}


def test_resources_two_waypoints_are_weighted_clusters() -> None:
    found = chains(built("20"))
    for address, account in INSIDE.items():
        drawn = [{"name": hbone(account, ONE), "weight": 80}, {"name": hbone(account, TWO), "weight": 20}]
        assert {"clusters": drawn} == proxied(found[address])["weighted_clusters"]
        assert "cluster" not in proxied(found[address])
        assert proxied(found[address])["tunneling_config"] == {"hostname": "10.96.0.9:80"}


def test_resources_canary_at_0_percent_equals_no_canary() -> None:
    assert built(None) == built("0")
    assert proxied(chains(built("0"))["10.244.1.4"])["cluster"] == hbone("till", ONE)


def test_resources_canary_at_100_percent_is_the_only_waypoint() -> None:
    found = built("100")
    for address, account in INSIDE.items():
        assert hbone(account, TWO) == proxied(chains(found)[address])["cluster"]
        assert "weighted_clusters" not in proxied(chains(found)[address])
    assert not [name for name in found.clusters if name.endswith(f"|{ONE}")]


@pytest.mark.parametrize("weight", ["20", "100"])
def test_resources_canary_leaves_other_clients_unchanged(weight: str) -> None:
    before, after = chains(built(None)), chains(built(weight))
    others = before.keys() - INSIDE.keys()
    assert others == {"10.244.0.1", "10.244.0.0", "10.244.1.5", "rest"}
    assert {name: before[name] for name in others} == {name: after[name] for name in others}
    assert before.keys() == after.keys()


def test_resources_account_has_one_cluster_per_waypoint() -> None:
    found = built("20")
    tunnels = [hbone(account, waypoint) for account in ("page", "till") for waypoint in (ONE, TWO)]
    assert sorted(["closed", "plain|shop/cart|80", *tunnels]) == sorted(
        name for name in found.clusters if not name.startswith("pods|")
    )
    for chain in (chains(found)[address] for address in INSIDE):
        names = [item["name"] for item in proxied(chain)["weighted_clusters"]["clusters"]]
        assert sorted(set(names)) == sorted(names)


def test_resources_canary_in_other_namespace_has_its_own_identity() -> None:
    cluster = built("20", "edge").clusters[hbone("till", "edge/two")]
    (end,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert end["endpoint"]["address"]["socket_address"] == {"address": "10.244.1.32", "port_value": 15008}
    tls = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    (wanted,) = tls["validation_context"]["match_typed_subject_alt_names"]
    assert wanted["matcher"] == {"prefix": "spiffe://cluster.local/ns/edge/sa/"}
    assert tls["tls_certificates"][0]["private_key"] == {"filename": "spiffe://cluster.local/ns/shop/sa/till.key"}


def test_waypoint_weights_empty_label_names_no_waypoint() -> None:
    assert weights({PRIMARY: ""}, BOTH, weight="30") == ()
