"""Waits until the waypoint's own Envoy has the configuration that the stack declares.

An accepted object is not yet live: about a tenth of a second passes until istiod has sent it, and requests in between
belong to the old configuration. The config dump of the waypoint says what Envoy really does, on any cluster.
"""

import json
import re
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import access_log
from waypoint_lab.measure.probe import CONCURRENCY, kubectl, send
from waypoint_lab.stages.expectations import COOKIE

Object = dict[str, Any]
LIMIT_SECONDS = 30.0
POLL_SECONDS = 0.1
FAULT = "envoy.filters.http.fault"
RBAC = "envoy.filters.http.rbac"


class NotLive(Exception):
    """The configuration did not become live in time; one line that says what is missing."""


def connection_manager(dump: Object, config: LabConfig) -> Object | None:
    """The HTTP connection manager of the Service's own port in a waypoint's config dump."""
    name = f"inbound-vip|{config.app.port}|http|{config.app.service}.{config.app.namespace}."
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


def serving(routes: list[Object], headers: Mapping[str, str] | None = None, method: str = "GET") -> Object | None:
    """The first of `routes` that takes a request with these headers, as Envoy would choose it.

    Of a route's match only headers are looked at; what cannot be decided here does not match.
    """
    request = {":method": method, **(headers or {})}
    return next((route for route in routes if all(_takes(m, request) for m in _header_matches(route))), None)


def _header_matches(route: Object) -> list[Object]:
    found: list[Object] = route.get("match", {}).get("headers", [])
    return found


def _takes(match: Object, request: Mapping[str, str]) -> bool:
    value = request.get(match["name"].lower())
    text = match.get("string_match", {})
    if value is None:
        found = False
    elif "exact" in text:
        found = text["exact"] == value
    elif "safe_regex" in text:
        found = re.fullmatch(text["safe_regex"]["regex"], value) is not None
    elif "prefix" in text:
        found = value.startswith(text["prefix"])
    else:
        found = bool(match.get("present_match"))
    return found != bool(match.get("invert_match"))


def _percent(value: Object) -> float:
    scale = {"HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10_000}[value.get("denominator", "HUNDRED")]
    return float(value.get("numerator", 0)) / scale


def problem(config: LabConfig, manager: Object | None) -> str:
    """What the waypoint's Envoy does not have yet (or still has); empty where it does all that `config` declares."""
    if manager is None:
        return f"the waypoint has no listener for {config.app.service}:{config.app.port}"
    routes = [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]
    plain = serving(routes)
    if plain is None:
        return f"the waypoint has no route for {config.app.service}"
    hit = serving(routes, dict([config.fault.header_pair] if config.fault.header_pair else []))
    if hit is None:
        return f"the waypoint has no route for the header {config.fault.header_pair}"
    if why := _wrong_shares(config, plain, routes) or _wrong_fault(config, hit) or _wrong_extras(config, plain, routes):
        return why
    if config.fault.header_pair and plain.get("typed_per_filter_config", {}).get(FAULT):
        return "the waypoint's fault is not limited to its header"
    rules = [item for item in manager.get("http_filters", []) if item["name"] == RBAC]
    if bool([item for item in rules if item.get("typed_config", {}).get("rules")]) != config.stages.l7_policy:
        return f"the waypoint has {'an' if rules else 'no'} authorization rule"
    policy = hit.get("route", {}).get("retry_policy", {})
    retries = policy.get("num_retries", 1) if "5xx" in policy.get("retry_on", "") else 0
    if retries != (config.retries.attempts if config.stages.retries else 0):
        return f"the waypoint retries {retries} times on 5xx"
    return ""


def _wrong_shares(config: LabConfig, plain: Object, routes: list[Object]) -> str:
    shares = weights(plain)
    canary = shares.get(config.app.backends.canary.service, 0.0)
    if abs(canary - (config.canary.weight / 100 if config.stages.canary else 0)) > 1e-6:
        return f"the waypoint sends {100 * canary:g}% to {config.app.backends.canary.service}"
    if why := _wrong_cohort(config, routes):
        return why
    premium = serving(routes, dict([config.app.premium.pair])) or {}
    if (config.app.backends.premium.service in weights(premium)) != config.stages.premium:
        return f"the waypoint sends {config.app.premium.value} to {', '.join(weights(premium))}"
    return ""


def _wrong_cohort(config: LabConfig, routes: list[Object]) -> str:
    """Whether the users who try the canary are sent there, and nobody else by a header."""
    canary = {config.app.backends.canary.service: 1.0}
    if config.canary_cohort:
        way = weights(serving(routes, dict([config.canary_cohort.pair])) or {})
        return "" if way == canary else f"the waypoint sends {config.canary_cohort} to {', '.join(way) or 'nobody'}"
    others = {":method", config.fault.header_pair[0] if config.fault.header_pair else ""}
    others |= {"cookie"} if config.canary.session_affinity else set()  # who stays on the canary by it
    for route in routes:
        if {match["name"] for match in _header_matches(route)} - others and weights(route) == canary:
            return f"the waypoint has a route by header to {config.app.backends.canary.service}"
    return ""


def _wrong_fault(config: LabConfig, hit: Object) -> str:
    fault = hit.get("typed_per_filter_config", {}).get(FAULT, {})
    here = config.fault.at == "waypoint"
    delay = fault.get("delay", {}).get("fixed_delay", "0s")
    if float(delay.rstrip("s")) != (config.fault.delay.seconds if here and config.stages.delay else 0):
        return f"the waypoint delays by {delay}"
    abort = fault.get("abort", {})
    share = _percent(abort["percentage"]) if abort else 0.0
    if abs(share - (config.fault.abort.percent if here and config.stages.abort else 0)) > 1e-4:
        return f"the waypoint aborts {share:g} %"
    faulty = not here and config.faulty
    if faulty != any(service.endswith("-upstream") for service in weights(hit)):
        return f"the waypoint routes to {', '.join(weights(hit))}"
    return ""


def _wrong_extras(config: LabConfig, plain: Object, routes: list[Object]) -> str:
    copies = plain.get("route", {}).get("request_mirror_policies", [])
    share = _percent(copies[0]["runtime_fraction"]["default_value"]) if copies else 0.0
    if abs(share - config.canary.mirror_percent) > 1e-4:
        return f"the waypoint mirrors {share:g} %"
    for field, wanted in (("request", config.canary.request_headers), ("response", config.canary.response_headers)):
        added = [item["header"] for item in plain.get(f"{field}_headers_to_add", [])]
        if [(item["key"], item["value"]) for item in added] != list(wanted.items()):
            return f"the waypoint changes these headers of {field}s: {[item['key'] for item in added]}"
    if config.canary.session_affinity and config.canary.weight:
        kept = weights(serving(routes, {"cookie": f"{COOKIE}={config.app.backends.canary.service}"}) or {})
        if kept != {config.app.backends.canary.service: 1.0}:
            return f"the waypoint sends users with the cookie to {', '.join(kept) or 'nowhere'}"
    return ""


def _manager(config: LabConfig, waypoint: str) -> Object | None:
    path = "config_dump?resource=dynamic_listeners"
    command = ("exec", "-n", config.app.namespace, f"deploy/{waypoint}", "--", "pilot-agent", "request", "GET", path)
    done = subprocess.run(kubectl(config, *command), capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise NotLive((done.stderr.strip().splitlines() or ["no answer"])[-1])
    return connection_manager(json.loads(done.stdout), config)


def wait(config: LabConfig, limit_seconds: float = LIMIT_SECONDS) -> float:
    """Seconds until the waypoint, or both, have all that `config` declares. Raises NotLive after `limit_seconds`."""
    began = time.monotonic()
    while True:
        try:
            names = config.waypoints if config.stages.waypoint else []
            missing = next(filter(None, (problem(config, _manager(config, name)) for name in names)), "")
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

    A node's proxy goes over to a new waypoint a moment after the label, and to new weights. Raises NotLive, ProbeError.
    """
    wanted = "yes" if config.stages.waypoint else "no"
    idle = {name for name, share in config.waypoints.items() if not share and config.stages.access_log}
    began = time.monotonic()
    while True:
        agent, sent = access_log.agent(), time.monotonic()
        group = {"method": "GET", "path": "/reviews/0", "headers": {"user-agent": agent}, "requests": 8}
        rows = send(config, [{**group, "fresh_workers": CONCURRENCY}])[0]
        through = [row for row in rows if row.proxied == wanted and row.status]
        strays = idle & (+access_log.taken(config, agent, len(rows), sent)).keys() if idle and through else set()
        passed = time.monotonic() - began
        if rows and len(through) == len(rows) and not strays:
            return passed
        if passed > limit_seconds:
            way = "through the waypoint" if wanted == "yes" else "past the waypoint"
            way = f"another way than through {', '.join(sorted(strays))}" if strays else way
            raise NotLive(f"requests do not go {way} after {limit_seconds:.0f} s")
        time.sleep(POLL_SECONDS)
