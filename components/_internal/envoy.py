"""Readers of the admin interface of a waypoint's Envoy: Services, requests, updates by istiod and their rejections."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

Object = Mapping[str, Any]
DUMP = "config_dump"
REQUESTS = "clusters?format=json"
# Source: istio, pilot/cmd/pilot-agent/status/util/stats.go, which decides by these whether a proxy is ready.
FILTER = "^((cluster_manager.cds|listener_manager.lds).update_(success|rejected)|cluster.xds-grpc.*upstream_rq_active)$"
UPDATES = f"stats?filter={FILTER}"
DRAIN = "drain_listeners?graceful&skip_exit"
_SERVICE = re.compile(r"inbound-vip\|.*\|([^|.]+)\.([^|.]+)\.svc\.[^|]*")
METRICS_PORT = 15090  # of each proxy's Pod; it serves `METRICS` and no other path of the admin interface
METRICS = "stats/prometheus"


class Updates(NamedTuple):
    """Updates by istiod that an Envoy has processed, rejected ones included: of listeners, with their routes."""

    processed: int = 0
    rejected: int = 0  # of listeners and of clusters
    connected: bool = True  # to istiod, through the agent in the Pod


def updates(stats: str) -> Updates:
    """Return the counters of `UPDATES`, as the admin interface prints them, in its own format or as metrics."""

    def counter(name: str, absent: int = 0) -> int:
        found = re.search(rf"{name}\S* (\d+)$", stats, re.MULTILINE)  # a dot of the name is `_` in a metric
        return int(found[1]) if found else absent

    rejected = counter("listener_manager.lds.update_rejected")
    return Updates(
        counter("listener_manager.lds.update_success") + rejected,
        rejected + counter("cluster_manager.cds.update_rejected"),
        counter("upstream_rq_active", absent=1) > 0,
    )


def services(dump: Object) -> set[str]:
    """Return the Services, as `name.namespace`, that have both a filter chain and a cluster in a `DUMP`.

    istiod can send a canary the listeners of Services whose clusters it does not send.
    """
    clusters = {item.get("cluster", {}).get("name") for item in _items(dump, "dynamic_active_clusters")}
    chains = {name for item in _items(dump, "dynamic_listeners") for name in _chains(item.get("active_state", {}))}
    return {f"{found[1]}.{found[2]}" for name in chains & clusters if (found := _SERVICE.match(name))}


def active_requests(clusters: Object) -> int:
    """Return the number of requests to Services that wait for an answer.

    Source: Envoy, admin interface, /clusters?format=json.
    """
    return sum(
        int(stat.get("value", 0))
        for item in clusters.get("cluster_statuses", [])
        if item["name"].startswith("inbound-vip|")
        for host in item.get("host_statuses", [])
        for stat in host.get("stats", [])
        if stat["name"] == "rq_active"
    )


def rejection(dump: Object) -> str:
    """Return Envoy's message for the configuration that it rejected last, in one line; empty where it rejected none.

    Objects are named whose routes or policies differ between the rejected and the active configuration.
    Source: Envoy, admin interface, UpdateFailureState.
    """
    for kind in ("dynamic_listeners", "dynamic_active_clusters", "dynamic_warming_clusters", "dynamic_route_configs"):
        for item in _items(dump, kind):
            if state := item.get("error_state"):
                message = " ".join(str(state.get("details", "no message")).split())
                objects = sorted(_changed(item.get("active_state", {}).get("listener"), state))
                return f"{message} (changed since the last accepted one: {', '.join(objects)})" if objects else message
    return ""


def _changed(active: Any, state: Object) -> set[str]:
    """Return the VirtualServices of routes that only the rejected configuration has; a host for an HTTPRoute's."""
    kept = {json.dumps(route, sort_keys=True) for route in _routes(active)}
    found = set()
    for route in _routes(state.get("failed_configuration")):
        config = str(route["metadata"].get("filter_metadata", {}).get("istio", {}).get("config", ""))
        if config and json.dumps(route, sort_keys=True) not in kept:
            _, namespace, _, name = config.rsplit("/", 3)
            # istiod merges the HTTPRoutes of one Service and port.
            found.add(f"the routes of {name.split('~')[2]}" if name.count("~") == 2 else f"{namespace}/{name}")
    return found


def _routes(item: Any) -> Iterator[dict[str, Any]]:
    """Yield all routes below `item` that have metadata."""
    if isinstance(item, dict):
        if "match" in item and isinstance(item.get("metadata"), dict):
            yield item
        else:
            for value in item.values():
                yield from _routes(value)
    elif isinstance(item, list):
        for value in item:
            yield from _routes(value)


def _items(dump: Object, field: str) -> Iterator[Object]:
    """Yield the entries of a field of all sections of a dump; a dump of one resource type lists them bare."""
    for section in dump.get("configs", []):
        yield from section.get(field, [])


def _chains(state: Object) -> Iterator[str]:
    for chain in state.get("listener", {}).get("filter_chains", []):
        yield str(chain.get("name", ""))
