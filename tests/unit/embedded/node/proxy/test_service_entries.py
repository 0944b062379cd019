"""Virtual addresses, ports and endpoints of ServiceEntries."""

from dataclasses import replace
from typing import Any

import pytest

from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.service_entries import ENDPOINTS, hosts, lookup, services_of
from embedded.node.proxy.waypoint_tracker import UNBOUND_SECONDS, WaypointTracker
from tests.unit.embedded.node.proxy.entries import entry, snapshot
from tests.unit.embedded.node.proxy.settings import SETTINGS


@pytest.mark.parametrize(
    ("spec", "addresses"),
    [
        ({}, [("api.example.test", "240.240.0.1")]),
        ({"hosts": ["a.test", "b.test"]}, [("a.test", "240.240.0.1"), ("b.test", "240.240.0.2")]),
        ({"addresses": ["192.0.2.7"]}, [("api.example.test", "192.0.2.7")]),
        ({"addresses": ["2001:db8::1", "192.0.2.0/24"]}, []),
    ],
)
def test_hosts_have_their_own_addresses_or_those_of_istiod(
    spec: dict[str, Any], addresses: list[tuple[str, str]]
) -> None:
    assert addresses == list(hosts(entry(given=("240.240.0.1", "240.240.0.2"), **spec)))


@pytest.mark.parametrize(
    ("spec", "endpoints"),
    [
        ({}, [("10.244.1.9", 8080)]),
        ({"endpoints": [{"address": "10.244.1.9", "ports": {"http": 81}}]}, [("10.244.1.9", 81)]),
        ({"endpoints": [], "resolution": "DNS"}, [("api.example.test", 8080)]),
        (
            {"endpoints": [{"address": "web.shop.svc.cluster.local"}], "resolution": "DNS"},
            [("web.shop.svc.cluster.local", 8080)],
        ),
        ({"endpoints": [], "workloadSelector": {"labels": {"app": "out"}}}, [("10.244.1.3", 8080)]),
        ({"endpoints": []}, []),
        (
            {"endpoints": [{"network": "remote"}, {"address": "10.244.1.9", "network": "remote"}]},
            [("10.244.1.9", 8080)],
        ),
    ],
)
def test_services_of_an_entry_have_its_endpoints(spec: dict[str, Any], endpoints: list[tuple[str, int]]) -> None:
    found = services_of(snapshot(entry(**spec)))
    assert list(found) == ["shop/api.example.test:240.240.0.1"]
    (service,) = found.values()
    assert service["spec"] == {"clusterIP": "240.240.0.1", "ports": [{"name": "http", "port": 80}]}
    assert service[ENDPOINTS] == {80: endpoints}


def test_hosts_status_without_values_has_no_address() -> None:
    given = entry()
    given["status"] = {"addresses": [{"host": "api.example.test"}, {}]}
    assert list(hosts(given)) == []


def test_update_conditions_without_a_type_are_passed_over() -> None:
    given = entry()
    given["status"]["conditions"] = [{"message": "?"}]
    labels = {"istio.io/use-waypoint": "new"}
    tracker = WaypointTracker()
    whole = snapshot(given)
    tracker.update(replace(whole, services=services_of(whole)), 0)
    gateway = {
        "metadata": {"name": "new", "namespace": "shop"},
        "spec": {"listeners": [{"protocol": "HBONE"}]},
        "status": {"addresses": [{"value": "10.96.0.7"}]},
    }
    later = replace(snapshot(given, labels=labels), services=services_of(whole), gateways={"shop/new": gateway})
    assert tracker.update(later, 1) == UNBOUND_SECONDS


def test_lookup_prefers_the_entry_of_the_clients_namespace() -> None:
    both = [entry(), entry(namespace="till", given=("240.240.0.2",))]
    assert lookup(both, "api.example.test", "till") == ["240.240.0.2"]
    assert lookup(both, "api.example.test", "shop") == ["240.240.0.1"]
    assert lookup(both, "other.test", "shop") == []


def cluster_of(**spec: Any) -> dict[str, Any]:
    """Return the cluster without a waypoint behind an entry's port."""
    given = snapshot(entry(**spec))
    services = services_of(given)
    tracker = WaypointTracker()
    whole = replace(given, services=services)
    tracker.update(whole, 0)
    built = resources(whole, SETTINGS, tracker)
    assert built.listeners["shop/api.example.test:240.240.0.1:80"]["address"]["socket_address"]["port_value"] == 80
    return built.clusters["plain|shop/api.example.test:240.240.0.1|80"]


def test_cluster_of_an_entry_with_addresses_is_static() -> None:
    found = cluster_of()
    assert found["type"] == "STATIC"
    (point,) = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert point["endpoint"]["address"] == {"socket_address": {"address": "10.244.1.9", "port_value": 8080}}


def test_cluster_of_an_entry_with_names_asks_the_nodes_dns_server() -> None:
    found = cluster_of(resolution="DNS", endpoints=[])
    assert found["type"] == "STRICT_DNS"
    (resolver,) = found["typed_dns_resolver_config"]["typed_config"]["resolvers"]
    assert resolver == {"socket_address": {"address": "10.244.0.1", "port_value": 53}}
