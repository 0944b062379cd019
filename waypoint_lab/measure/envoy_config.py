"""Wait until the waypoint's own Envoy has the declared configuration.

An accepted object is not yet in sync: about a tenth of a second passes until istiod has sent it, and requests in
between belong to the old configuration. The config dump of the waypoint shows the active configuration, on any cluster.
"""

import json
import time
from collections.abc import Iterator, Mapping

from waypoint_lab import kubectl
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError, NotSyncedError
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import access_log
from waypoint_lab.measure.client import WORKERS, Endpoint, Group, send
from waypoint_lab.measure.envoy_routes import (
    affinity_cookie,
    connection_manager,
    has_policy,
    header_matches,
    is_affinity,
    narrow,
    percent,
    serving,
    weights,
)
from waypoint_lab.measure.request import merged
from waypoint_lab.stages.fault_outcomes import canary_share, retried
from waypoint_lab.waiting import wait as wait_until

LIMIT_SECONDS = 30.0
DUMP_SECONDS = 20.0
POLL_SECONDS = 0.1
DECLARED = "the declared configuration"  # the expected state, in errors
FAULT = "envoy.filters.http.fault"


def problem(config: LabConfig, manager: Object | None) -> str:
    """Return the first difference between a waypoint's Envoy and the config; empty if it is in sync."""
    if manager is None:
        return f"the waypoint has no listener for {config.app.service}:{config.app.port}"
    routes = _routes(manager)
    plain = _served(config, routes)
    if plain is None:
        return f"the waypoint has no route for {config.app.service}"
    hit = _served(config, routes, dict([config.fault.header_pair] if config.fault.header_pair else []))
    if hit is None:
        return f"the waypoint has no route for the header {config.fault.header_pair}"
    if why := _wrong_shares(config, plain, routes) or _wrong_fault(config, hit) or _wrong_extras(config, plain, routes):
        return why
    if config.fault.header_pair and plain.get("typed_per_filter_config", {}).get(FAULT):
        return "the waypoint's fault is not limited to its header"
    if has_policy(manager, config.l7_policy_name) != config.stages.l7_policy:
        return f"the waypoint {'lacks' if config.stages.l7_policy else 'has'} the policy {config.l7_policy_name}"
    policy = hit.get("route", {}).get("retry_policy", {})
    retries = policy.get("num_retries", 1) if "5xx" in policy.get("retry_on", "") else 0
    if retries != (config.retries.attempts if retried(config) else 0):
        return f"the waypoint retries {retries} times on 5xx"
    return ""


def _served(
    config: LabConfig,
    routes: list[Object],
    headers: Mapping[str, str] | None = None,
    cohort: CohortSettings | None = None,
) -> Object | None:
    """Return the route of the application's request, with more headers or as one of a cohort."""
    request = config.app.request
    method, path, more = request.method, request.path, dict(headers or {})
    if cohort:
        method, path, more = cohort.request(method, path)
    return serving(routes, merged(config, more), method, path)


def _wrong_shares(config: LabConfig, plain: Object, routes: list[Object]) -> str:
    shares = weights(plain)
    canary = shares.get(config.app.canary.service, 0.0)
    if abs(canary - (config.canary.weight / 100 if config.stages.canary else 0)) > 1e-6:
        return f"the waypoint sends {100 * canary:g}% to {config.app.canary.service}"
    if why := _wrong_cohort(config, routes):
        return why
    for name, cohort in config.app.cohorts.items():
        to = weights(_served(config, routes, cohort=cohort) or {})
        backend = config.app.backends.get(name)
        if backend and (backend.service in to) != config.stages.premium:
            return f"the waypoint sends {cohort} to {', '.join(to) or 'nobody'}"
    return ""


def _wrong_cohort(config: LabConfig, routes: list[Object]) -> str:
    """Return the problem if not exactly the cohort goes to the canary alone."""
    canary = {config.app.canary.service: 1.0}
    if config.canary_cohort:
        to = weights(_served(config, routes, cohort=config.canary_cohort) or {})
        return "" if to == canary else f"the waypoint sends {config.canary_cohort} to {', '.join(to) or 'nobody'}"
    others = {":method", config.fault.header_pair[0].lower() if config.fault.header_pair else ""}
    others |= {"cookie"} if config.canary.session_affinity else set()
    for route in routes:
        by_header = {match["name"].lower() for match in header_matches(route)} - others
        if (by_header or narrow(route)) and weights(route) == canary:
            return f"the waypoint has a route for a cohort to {config.app.canary.service}"
    return ""


def _wrong_fault(config: LabConfig, hit: Object) -> str:
    fault = hit.get("typed_per_filter_config", {}).get(FAULT, {})
    here = config.fault.at == "waypoint"
    delay = fault.get("delay", {}).get("fixed_delay", "0s")
    # Rules have whole milliseconds.
    wanted = round(config.fault.delay.seconds * 1000) if here and config.stages.delay else 0
    if round(float(delay.rstrip("s")) * 1000) != wanted:
        return f"the waypoint delays by {delay}"
    abort = fault.get("abort", {})
    share = percent(abort["percentage"]) if abort else 0.0
    if abs(share - (config.fault.abort.percent if here and config.stages.abort else 0)) > 1e-4:
        return f"the waypoint aborts {share:g} %"
    faulty = not here and config.faulty and canary_share(config) < 1
    if faulty != (f"{config.rule_name}-upstream" in weights(hit)):
        return f"the waypoint routes to {', '.join(weights(hit))}"
    return ""


def _wrong_extras(config: LabConfig, plain: Object, routes: list[Object]) -> str:
    copies = plain.get("route", {}).get("request_mirror_policies", [])
    share = percent(copies[0]["runtime_fraction"]["default_value"]) if copies else 0.0
    if abs(share - config.canary.mirror_percent) > 1e-4:
        return f"the waypoint mirrors {share:g} %"
    for field, wanted in (("request", config.canary.request_headers), ("response", config.canary.response_headers)):
        headers = [item["header"] for item in plain.get(f"{field}_headers_to_add", [])]
        added = [header for header in headers if not is_affinity(header)]
        # In Envoy's format of header values, two percent signs are one.
        found = {item["key"].lower(): item["value"].replace("%%", "%") for item in added}
        if found != {name.lower(): value for name, value in wanted.items()}:
            return f"the waypoint adds these headers to each {field}: {', '.join(found) or 'none'}"
    if config.canary.session_affinity and config.canary.weight:
        cookie = affinity_cookie(plain)
        kept = weights(_served(config, routes, {"cookie": cookie}) or {}) if cookie else {}
        if kept != {config.app.canary.service: 1.0}:
            return f"the waypoint sends users with the cookie to {', '.join(kept) or 'nowhere'}"
    return ""


def _dumps(config: LabConfig, waypoint: str) -> Iterator[tuple[str, Object]]:
    """Yield the name of each running Pod of a waypoint, and the listeners of its Envoy."""
    space, path = config.waypoint_namespace, "config_dump?resource=dynamic_listeners"
    chosen = ("--selector", f"{access_log.GATEWAY_LABEL}={waypoint}", "--field-selector=status.phase=Running")
    found = kubectl.items(config.target, "pods", "--namespace", space, *chosen)
    names = [item["metadata"]["name"] for item in found if not item["metadata"].get("deletionTimestamp")]
    if not names:
        raise KubectlError(f"waypoint {space}/{waypoint} has no running Pod")
    for name in names:
        where = ("exec", "--namespace", space, name, "--", "pilot-agent", "request", "GET", path)
        yield name, json.loads(kubectl.run(config.target, *where, limit_seconds=DUMP_SECONDS))


def _routes(manager: Object) -> list[Object]:
    return [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]


def _rejection(dump: Object) -> str:
    """Return what Envoy says of listeners that it rejected, as the end of a line; empty where it rejected none."""
    from components._internal import envoy  # it imports the Pulumi SDK; only a failure pays for that

    rejected = envoy.rejection({"configs": [{"dynamic_listeners": dump["configs"]}]})
    return f"; it rejected: {rejected}" if rejected else ""


def current_cookie(config: LabConfig) -> str:
    """Return the cookie of session affinity, as NAME=VALUE; its value has the identity of the rollout.

    Raises:
        KubectlError: The waypoint cannot be asked.
    """
    with kubectl.readable("config dump of Envoy"):
        manager = next((connection_manager(dump, config) for _, dump in _dumps(config, config.waypoint.name)), None)
        return affinity_cookie(_served(config, _routes(manager)) or {}) if manager else ""


def difference(config: LabConfig) -> str:
    """Return the first difference of a waypoint's Pod from the config, or why it cannot be asked; empty in sync."""
    try:
        with kubectl.readable("config dump of Envoy"):
            names = config.waypoints if config.stages.waypoint else []
            for pod, dump in (found for name in names for found in _dumps(config, name)):
                if why := problem(config, connection_manager(dump, config)):
                    return f"Pod {pod}: {why}{_rejection(dump)}"
        return ""
    except KubectlError as error:
        return str(error)


def wait(config: LabConfig, limit_seconds: float = LIMIT_SECONDS) -> float:
    """Wait until each Pod of each waypoint has all that the config declares.

    Args:
        config: The declared configuration.
        limit_seconds: Limit of the wait.

    Returns:
        The seconds that it took.

    Raises:
        NotSyncedError: A waypoint is not in sync within the limit; the message has the first difference.
    """
    return wait_until(lambda: difference(config), DECLARED, limit_seconds, POLL_SECONDS, NotSyncedError)


def wait_for_traffic(config: LabConfig, limit_seconds: float = LIMIT_SECONDS) -> float:
    """Wait until the client's requests go through the waypoint, or past it, as declared.

    A node's proxy applies a new waypoint, and new weights, some time after the label changed.

    Args:
        config: The declared configuration.
        limit_seconds: Limit of the wait.

    Returns:
        The seconds that it took.

    Raises:
        KubectlError: An access log cannot be read.
        NotSyncedError: Requests still take another path at the limit.
        ProbeError: The requests cannot be sent.
    """
    wanted = config.stages.waypoint
    idle = {name for name, share in config.waypoints.items() if not share and config.stages.access_log}

    def difference() -> str:
        agent, began = access_log.agent(), time.monotonic()
        endpoint = Endpoint(headers={"user-agent": agent})
        (answers,) = send(config, [Group((endpoint,), rounds=WORKERS, fresh_workers=WORKERS)])
        right = [one for one in answers if one.status and one.proxied == wanted]
        if not answers or len(right) < len(answers):
            seen = ", ".join(sorted({one.outcome for one in answers if one not in right})) or "none was sent"
            return f"{len(answers) - len(right)} of {len(answers)} requests did not ({seen})"
        if not idle:
            return ""
        taken = +access_log.totals(access_log.answers(config, agent, len(answers), began))
        return ", ".join(f"{name} took {taken[name]} of them" for name in sorted(idle & taken.keys()))

    what = f"requests go {'through' if wanted else 'past'} the waypoint"
    if idle:
        what += f", and none through {', '.join(sorted(idle))}"
    return wait_until(difference, what, limit_seconds, POLL_SECONDS, NotSyncedError)
