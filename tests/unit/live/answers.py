"""Answers of a cluster, as a live view reads them."""

from typing import Any

from tests.unit.configs import lab_config
from waypoint_lab.config.settings import LabConfig

NAMESPACE = "bookinfo-backends"
IP = "10.96.232.83"
CONFIG: LabConfig = lab_config("waypoint", "accessLog", "canary", canary={"weight": 20})
ROLES = {role: backend.service for role, backend in CONFIG.app.backends.items()}
BASELINE, CANARY = ROLES["baseline"], ROLES["canary"]


def cluster(service: str) -> str:
    """Return the name of an Envoy cluster."""
    return f"inbound-vip|9080|http|{service}.{NAMESPACE}.svc.cluster.local"


def counters(**requests: int) -> dict[str, Any]:
    """Return an answer of `/clusters`: requests to each Service; `_` stands for `-`, and one is an error in ten."""
    statuses = []
    for name, count in requests.items():
        values = {"total": count, "success": count - count // 10, "error": count // 10, "active": 1}
        stats = [{"name": f"rq_{key}", "value": str(value)} for key, value in values.items()]
        host = {"address": {"socket_address": {"address": "10.244.1.1"}}, "stats": stats}
        statuses.append({"name": cluster(name.replace("_", "-")), "host_statuses": [host]})
    return {"cluster_statuses": statuses}


def listeners(*rules: dict[str, int], more: str = "") -> dict[str, Any]:
    """Return a dump of one type: the routes of the Service, with the weight of each backend."""
    routes = [
        {"route": {"weighted_clusters": {"clusters": [{"name": cluster(n), "weight": w} for n, w in rule.items()]}}}
        for rule in rules
    ]
    typed = {"route_config": {"name": cluster("reviews"), "virtual_hosts": [{"routes": routes, "more": more}]}}
    chain = {"filters": [{"typed_config": typed}]}
    return {"configs": [{"active_state": {"listener": {"filter_chains": [chain]}}}]}


def line(service: str, *, start: str = "10:12:19.543", status: int = 200, flags: str = "-", ms: int = 5) -> str:
    """Return a line of the access log; an empty service is an answer of the waypoint itself."""
    upstream = f'"10.244.1.1:9080" {cluster(service)}' if service else '"-" -'
    return (
        f'[2026-11-24T{start}Z] "GET /reviews/0 HTTP/1.1" {status} {flags} via_upstream - "-" 0 440 {ms} 4 "-" "exp" '
        f'"10eec155" "reviews.bookinfo-backends:9080" {upstream} 10.244.1.12:56520 {IP}:9080 10.244.0.1:44332 - default'
    )


def http_route(*weights: tuple[str, int], manager: str = "kubectl", generation: int = 1) -> dict[str, Any]:
    """Return the HTTPRoute of the Service."""
    rule = {"backendRefs": [{"name": name, "port": 9080, "weight": weight} for name, weight in weights]}
    fields = [{"manager": manager, "time": "2026-11-24T10:12:19Z"}]
    return {
        "metadata": {"name": "reviews", "namespace": NAMESPACE, "managedFields": fields, "generation": generation},
        "spec": {"parentRefs": [{"kind": "Service", "name": "reviews", "port": 9080}], "rules": [rule]},
    }


def pod(name: str) -> dict[str, Any]:
    """Return a Pod of the waypoint that runs."""
    status = {"name": "istio-proxy", "state": {"running": {}}, "started": True}
    return {"metadata": {"name": name, "namespace": NAMESPACE}, "status": {"containerStatuses": [status]}}
