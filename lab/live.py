"""Waits until the waypoint's own Envoy has the configuration that the stack declares.

An accepted object is not yet live: about a tenth of a second passes until istiod has sent it, and requests in between
belong to the old configuration. The config dump of the waypoint says what Envoy really does, on any cluster.
"""

import json
import subprocess
import time
from typing import Any

from lab.config import LabConfig
from lab.probe import kubectl, send

Object = dict[str, Any]
LIMIT_SECONDS = 30.0
POLL_SECONDS = 0.1
WAYPOINT = "deploy/waypoint"
FAULT = "envoy.filters.http.fault"
RBAC = "envoy.filters.http.rbac"


class NotLive(Exception):
    """The configuration did not become live in time; one line that says what is missing."""


def connection_manager(dump: Object, config: LabConfig) -> Object | None:
    """The HTTP connection manager of the Service's own port in a waypoint's config dump."""
    name = f"inbound-vip|{config.port}|http|{config.service}.{config.namespace}."
    for part in dump.get("configs", []):
        listeners = [part] if "active_state" in part else part.get("dynamic_listeners", [])
        for listener in listeners:
            for chain in listener.get("active_state", {}).get("listener", {}).get("filter_chains", []):
                for item in chain.get("filters", []):
                    typed: Object = item.get("typed_config", {})
                    if typed.get("route_config", {}).get("name", "").startswith(name):
                        return typed
    return None


def weights(route: Object) -> dict[str, float]:
    """`Service: share of requests` (0 to 1) of one route."""
    action = route.get("route", {})
    clusters = action.get("weighted_clusters", {}).get("clusters") or [{"name": action.get("cluster", ""), "weight": 1}]
    total = sum(item.get("weight", 0) for item in clusters) or 1
    found: dict[str, float] = {}
    for item in clusters:
        service = item["name"].split("|")[-1].split(".")[0]
        found[service] = found.get(service, 0) + item.get("weight", 0) / total
    return {service: share for service, share in found.items() if share}


def _percent(value: Object) -> float:
    scale = {"HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10_000}[value.get("denominator", "HUNDRED")]
    return float(value.get("numerator", 0)) / scale


def problem(config: LabConfig, manager: Object | None) -> str:
    """What the waypoint's Envoy does not have yet (or still has); empty where it does all that `config` declares."""
    if manager is None:
        return f"the waypoint has no listener for {config.service}:{config.port}"
    routes = [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]
    plain, shares = routes[-1], weights(routes[-1])
    stable = shares.get(f"{config.service}-stable", 0.0)
    if abs(stable - (config.canary_weight / 100 if config.on("canary") else 0)) > 1e-6:
        return f"the waypoint sends {stable:.4%} to {config.service}-stable"
    by_header = sum("headers" in route.get("match", {}) for route in routes)
    if by_header != config.on("premium") + bool(config.canary_header):
        return f"the waypoint has {by_header or 'no'} route by header"
    rules = [item for item in manager.get("http_filters", []) if item["name"] == RBAC]
    if bool([item for item in rules if item.get("typed_config", {}).get("rules")]) != config.on("l7Policy"):
        return f"the waypoint has {'an' if rules else 'no'} authorization rule"
    fault = plain.get("typed_per_filter_config", {}).get(FAULT, {})
    here = config.fault_at == "waypoint"
    delay = fault.get("delay", {}).get("fixed_delay", "0s")
    if float(delay.rstrip("s")) != (config.delay_seconds if here and config.on("delay") else 0):
        return f"the waypoint delays by {delay}"
    abort = fault.get("abort", {})
    share = _percent(abort["percentage"]) if abort else 0.0
    if abs(share - (config.fault_percent if here and config.on("abort") else 0)) > 1e-4:
        return f"the waypoint aborts {share:g} %"
    policy = plain.get("route", {}).get("retry_policy", {})
    retries = policy.get("num_retries", 1) if "5xx" in policy.get("retry_on", "") else 0
    if retries != (config.retry_attempts if config.on("retries") else 0):
        return f"the waypoint retries {retries} times on 5xx"
    faulty = not here and (config.on("delay") or config.on("abort"))
    if faulty != any("fault" in service for service in shares):
        return f"the waypoint routes to {', '.join(shares)}"
    return ""


def _manager(config: LabConfig) -> Object | None:
    path = "config_dump?resource=dynamic_listeners"
    command = ("exec", "-n", config.namespace, WAYPOINT, "--", "pilot-agent", "request", "GET", path)
    done = subprocess.run(kubectl(config, *command), capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise NotLive((done.stderr.strip().splitlines() or ["no answer"])[-1])
    return connection_manager(json.loads(done.stdout), config)


def wait(config: LabConfig, limit_seconds: float = LIMIT_SECONDS) -> float:
    """Seconds until the waypoint has all that `config` declares. Raises NotLive after `limit_seconds`."""
    began = time.monotonic()
    while True:
        try:
            missing = problem(config, _manager(config)) if config.on("waypoint") else ""
        except (NotLive, ValueError, subprocess.TimeoutExpired) as error:
            missing = str(error)
        passed = time.monotonic() - began
        if not missing:
            return passed
        if passed > limit_seconds:
            raise NotLive(f"not live after {limit_seconds:.0f} s: {missing}")
        time.sleep(POLL_SECONDS)


def wait_for_traffic(config: LabConfig, limit_seconds: float = LIMIT_SECONDS) -> float:
    """Seconds until the client's requests take the declared way: through the waypoint, or past it.

    A node's proxy goes over to a new waypoint a moment after the label. Raises NotLive, ProbeError.
    """
    wanted = "yes" if config.on("waypoint") else "no"
    group = {"method": "GET", "path": "/reviews/0", "headers": {}, "requests": 8}
    began = time.monotonic()
    while True:
        rows = send(config, [group])[0]
        passed = time.monotonic() - began
        if rows and all(row.proxied == wanted and row.status for row in rows):
            return passed
        if passed > limit_seconds:
            way = "through the waypoint" if wanted == "yes" else "past the waypoint"
            raise NotLive(f"requests do not go {way} after {limit_seconds:.0f} s")
        time.sleep(POLL_SECONDS)
