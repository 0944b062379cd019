"""Answers of the admin interface of a waypoint's Envoy."""

from typing import Any

import pytest

from components._internal import envoy
from components._internal.envoy import Updates

STATS = """cluster_manager.cds.update_rejected: 0
cluster_manager.cds.update_success: 7
listener_manager.lds.update_rejected: 2
listener_manager.lds.update_success: 9
"""


def test_updates_rejected_ones_count_as_processed() -> None:
    assert Updates(processed=11, rejected=2) == envoy.updates(STATS)


def test_updates_of_metrics_are_those_of_the_admin_interface() -> None:
    names = (line.split(": ") for line in STATS.splitlines())
    lines = [(f"envoy_{name.replace('.', '_')}", value) for name, value in names]
    metrics = "".join(f"# TYPE {name} counter\n{name}{{}} {value}\n" for name, value in lines)
    assert envoy.updates(STATS) == envoy.updates(metrics)


@pytest.mark.parametrize(
    "name", ["cluster.xds-grpc;.upstream_rq_active:", 'envoy_cluster_upstream_rq_active{cluster_name="xds-grpc"}']
)
@pytest.mark.parametrize(("active", "connected"), [(0, False), (1, True)])
def test_updates_without_stream_are_not_connected(name: str, active: int, connected: bool) -> None:
    assert envoy.updates(f"{name} {active}\n").connected is connected


def test_updates_absent_counters_are_zero() -> None:
    assert Updates() == envoy.updates("")


def route(
    name: str,
    value: str,
    config: str = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/shop~80~cart.shop.svc",
) -> Any:
    metadata = {"filter_metadata": {"istio": {"config": config}}}
    return {"match": {"prefix": "/"}, "metadata": metadata, "name": name, "value": value}


def dump(active: list[Any], rejected: list[Any] | None, details: str = "no\n  such command") -> dict[str, Any]:
    def listener(routes: list[Any]) -> dict[str, Any]:
        return {"filter_chains": [{"filters": [{"route_config": {"virtual_hosts": [{"routes": routes}]}}]}]}

    state: dict[str, Any] = {"active_state": {"listener": listener(active)}}
    if rejected is not None:
        state["error_state"] = {"failed_configuration": listener(rejected), "details": details}
    return {"configs": [{"@type": "bootstrap"}, {"dynamic_listeners": [{}, state]}]}


def test_rejection_without_error_state_is_empty() -> None:
    assert envoy.rejection(dump([route("a", "1")], None)) == ""


def test_rejection_names_message_and_the_objects_that_differ() -> None:
    other = route("b", "1", "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/till")
    same = route("c", "1", "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/mail")
    rejected = [route("a", "50%"), {**other, "value": "%"}, same]
    found = envoy.rejection(dump([route("a", "1"), other, same], rejected))
    assert found == "no such command (changed since the last accepted one: shop/till, the routes of cart.shop.svc)"


def test_rejection_without_routes_has_only_the_message() -> None:
    assert envoy.rejection(dump([], [])) == "no such command"


@pytest.mark.parametrize("kind", ["dynamic_active_clusters", "dynamic_warming_clusters", "dynamic_route_configs"])
def test_rejection_of_clusters_and_routes_is_found(kind: str) -> None:
    found = {"configs": [{kind: [{"error_state": {"details": "bad cluster"}}]}]}
    assert envoy.rejection(found) == "bad cluster"
