"""Answers of the admin interface of a waypoint's Envoy, in the shapes that the guard reads."""

from typing import Any

HOST = "{}.shop.svc.cluster.local"


def cluster(service: str, subset: str = "http", port: int = 80) -> str:
    """Return the name of a cluster of a waypoint."""
    return f"inbound-vip|{port}|{subset}|{HOST.format(service)}"


def dump(service: str, *routes: dict[str, Any]) -> dict[str, Any]:
    """Return a config dump with the routes of one Service."""
    manager = {"route_config": {"name": cluster(service), "virtual_hosts": [{"routes": list(routes)}]}}
    chain = {"name": cluster(service), "filters": [{"typed_config": manager}]}
    return {"configs": [{"dynamic_listeners": [{"active_state": {"listener": {"filter_chains": [chain]}}}]}]}


def to(**weights: int) -> dict[str, Any]:
    """Return a route to Services by weight."""
    clusters = [{"name": cluster(name), "weight": weight} for name, weight in weights.items()]
    return {"route": {"weighted_clusters": {"clusters": clusters}}}


def endpoint(address: str, total: int = 0, success: int = 0, error: int = 0, health: str = "HEALTHY") -> dict[str, Any]:
    """Return an endpoint with its counters; Envoy leaves out a value of 0."""
    values = {"rq_total": total, "rq_success": success, "rq_error": error}
    stats = [{"name": name, **({"value": str(value)} if value else {})} for name, value in values.items()]
    return {"address": address, "stats": stats, "health_status": {"eds_health_status": health}}


def clusters(**services: list[dict[str, Any]]) -> dict[str, Any]:
    """Return clusters with their endpoints."""
    statuses = [{"name": cluster(name), "host_statuses": hosts} for name, hosts in services.items()]
    return {"cluster_statuses": [*statuses, {"name": "xds-grpc", "host_statuses": [endpoint("istiod", 9)]}]}
