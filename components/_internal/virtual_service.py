"""Renderer of a Service's traffic in the words of Istio.

Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/ and, on budgets,
https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-RetryBudget
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pulumi

from ..types import Backend
from . import cohorts, http_text, objects
from .traffic import FaultSettings, Traffic

Rule = dict[str, Any]
# Source: RFC 9110, 9.2.1: safe methods may be repeated without asking.
_SAFE = ("GET", "HEAD", "OPTIONS")
SAFE_METHODS = {"method": {"regex": "|".join(_SAFE)}}
# Without a policy, istiod also retries what a backend has answered, such as `unavailable` of gRPC.
# Source: istiod, defaultRetryOn; its number of retries is 2.
_UNSEEN, _UNSEEN_ATTEMPTS = "connect-failure,refused-stream", 2


def host(traffic: Traffic, service: pulumi.Input[str]) -> pulumi.Input[str]:
    """Return the DNS name of a Service beside the routed one."""
    return objects.host(service, traffic.namespace, traffic.domain)


def spec(traffic: Traffic) -> Rule:
    """Return the spec of a VirtualService.

    Every rule matches the declared port only. The waypoint serves other ports of the Service as without rules.
    """
    return {"hosts": [host(traffic, traffic.service)], "http": list(_rules(traffic))}


def retry_budget(traffic: Traffic) -> Rule | None:
    """Return the traffic policy of a DestinationRule that limits concurrent retries; None without a budget."""
    retries = traffic.retries
    if not retries or "budget_percent" not in retries:
        return None
    return {
        "retryBudget": {"percent": retries["budget_percent"], "minRetryConcurrency": retries["budget_minimum"]},
    }


def replaced_backend(traffic: Traffic) -> pulumi.Input[str]:
    """Return the backend whose traffic goes to the failing workload: without a split the Service itself."""
    return traffic.fault.baseline if traffic.fault and traffic.split else traffic.service


def _rules(traffic: Traffic) -> Iterator[Rule]:
    """Yield the rules in order: cohorts first, of each group the requests with the fault first."""
    fault = traffic.fault if traffic.fault and not traffic.fault.expired else None
    for match, route, faulty in _groups(traffic, fault.failing if fault else ""):
        if fault and fault.headers:
            if (both := _both(match, fault.headers)) is not None:
                yield from _by_method(traffic, both, faulty, fault)
            yield from _by_method(traffic, match, route, None)
        else:
            yield from _by_method(traffic, match, faulty, fault)
    if traffic.headers:
        yield _rule(traffic, {}, _route(traffic, traffic.backends))


def _groups(traffic: Traffic, failing: str) -> Iterator[tuple[Rule, list[Rule], list[Rule]]]:
    """Yield match, route, and route through the failing workload of each group of requests."""
    for cohort in traffic.cohorts:
        route = _route(traffic, cohort.backends)
        yield cohorts.virtual_service(cohort), route, route
    if affinity := traffic.affinity:
        route = _route(traffic, [affinity.backend])
        yield {"headers": {"cookie": {"regex": affinity.pattern}}}, route, route
    faulty = _route(traffic, traffic.backends, failing)
    yield _exact(traffic.headers), _route(traffic, traffic.backends), faulty


def _by_method(traffic: Traffic, match: Rule, route: list[Rule], fault: FaultSettings | None) -> Iterator[Rule]:
    """Yield one rule, or two where the policy is that of safe methods only."""
    more: Rule = {"timeout": http_text.duration(traffic.timeout)} if traffic.timeout else {}
    if fault and not fault.failing:
        more["fault"] = _fault(fault)
    retries = traffic.retries
    if retries:
        policy = _retries(retries)
        own = match.get("method", {}).get("exact", "")
        if retries["writes"] or not retries["attempts"] or own in _SAFE:
            more["retries"] = policy
        else:
            if not own:
                yield _rule(traffic, {**match, **SAFE_METHODS}, route, retries=policy, **more)
            more["retries"] = {"attempts": min(_UNSEEN_ATTEMPTS, retries["attempts"]), "retryOn": _UNSEEN}
    yield _rule(traffic, match, route, **more)


def _rule(traffic: Traffic, match: Rule, route: list[Rule], **more: Any) -> Rule:
    if traffic.mirrors:
        more["mirrors"] = [
            {
                "destination": _destination(traffic, mirror["name"], mirror["port"]),
                "percentage": {"value": mirror["percent"]},
            }
            for mirror in traffic.mirrors
        ]
    if traffic.changes:
        more["headers"] = {
            side: {kind: values for kind, values in changes.items() if values}
            for side, changes in traffic.changes.items()
        }
    return {"match": [{**match, "port": traffic.port}], "route": route, **more}


def _route(traffic: Traffic, backends: Sequence[Backend], failing: str = "") -> list[Rule]:
    """Return the destinations; those of the fault's baseline are the failing workload where there is one."""
    affinity, route = traffic.affinity, []
    for backend in backends:
        # Without a split the Service itself is the only backend; its name may be an output.
        replaced = not traffic.split or backend["name"] == replaced_backend(traffic)
        service = failing if failing and replaced else backend["name"]
        entry: Rule = {"destination": _destination(traffic, service, backend["port"])}
        if len(backends) > 1:
            entry["weight"] = backend["weight"]
        if affinity and backends is traffic.backends and backend is affinity.backend:
            entry["headers"] = {"response": {"add": {"set-cookie": affinity.set_cookie}}}
        route.append(entry)
    return route


def _destination(traffic: Traffic, service: pulumi.Input[str], port: int) -> Rule:
    return {"host": host(traffic, service), "port": {"number": port}}


def _exact(headers: Mapping[str, str]) -> Rule:
    return {"headers": {name: {"exact": value} for name, value in headers.items()}} if headers else {}


def _both(match: Rule, headers: Mapping[str, str]) -> Rule | None:
    """Return `match` with exact `headers` as well; None where no request can match both."""
    known = dict(match.get("headers", {}))
    for name, value in headers.items():
        there = known.get(name, {"exact": value})
        pattern = there.get("regex")
        if isinstance(pattern, pulumi.Output):
            return None  # of session affinity: the parser refuses exact headers with its cookie
        if there.get("exact", value) != value or (pattern and not http_text.regex("", name, pattern).fullmatch(value)):
            return None
        known[name] = {"exact": value}
    return {**match, "headers": known}


def _fault(fault: FaultSettings) -> Rule:
    found: Rule = {}
    if fault.delay_milliseconds:
        length, percentage = http_text.duration(fault.delay_milliseconds), {"value": fault.delay_percent}
        found["delay"] = {"fixedDelay": length, "percentage": percentage}
    if fault.abort_status:
        found["abort"] = {"httpStatus": fault.abort_status, "percentage": {"value": fault.abort_percent}}
    return found


def _retries(retries: Mapping[str, Any]) -> Rule:
    if not retries["attempts"]:
        return {"attempts": 0}  # istiod refuses other fields beside it
    names = {"retry_on": "retryOn", "per_try_timeout": "perTryTimeout", "backoff": "backoff"}
    return {"attempts": retries["attempts"], **{key: retries[name] for name, key in names.items() if name in retries}}
