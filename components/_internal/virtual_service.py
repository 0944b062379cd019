"""The HTTP rules of one VirtualService, rendered: which requests, where they go, what is done to them on the way."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import objects

Rule = dict[str, Any]
# Source: RFC 9110, 9.2.1: methods that change nothing may be sent again without asking.
_SAFE_METHODS = "GET|HEAD|OPTIONS"
SAFE = {"method": {"regex": _SAFE_METHODS}}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")


@dataclass(frozen=True)
class Base:
    """Some requests and their way: `match` as a VirtualService has it (empty: all that are left), `route` likewise.

    `faulty` is the way where faults come from a workload upstream; the same as `route` where there is none.
    """

    route: list[Rule]
    match: Rule = field(default_factory=dict)
    faulty: list[Rule] = field(default_factory=list)


@dataclass(frozen=True)
class Treatment:
    """What is done to requests: a fault for those with `headers` (all where empty), retries, and a timeout.

    `policy` has the fields `retries` and `timeout` of a rule; `writes` says whether writes are retried, too. `more` are
    further fields of each rule.
    """

    fault: Rule = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    policy: Rule = field(default_factory=dict)
    writes: bool = False
    more: Rule = field(default_factory=dict)


def destination(host: str, port: int, weight: int | None = None) -> Rule:
    """One entry of a rule's `route`."""
    entry: Rule = {"destination": {"host": host, "port": {"number": port}}}
    return entry if weight is None else {**entry, "weight": weight}


def rules(bases: list[Base], treatment: Treatment) -> list[Rule]:
    """All rules in order: for each base the hit requests first, and of both kinds those that may be retried first."""
    return [rule for base in bases for rule in _of_base(base, treatment)]


def _of_base(base: Base, treatment: Treatment) -> Iterator[Rule]:
    faulty = {**treatment.policy, **treatment.more, "route": base.faulty or base.route}
    if treatment.fault:
        faulty["fault"] = treatment.fault
    plain = {**treatment.policy, **treatment.more, "route": base.route}
    if not treatment.headers:
        yield from _by_method(base.match, faulty, treatment)
        return
    if (both := _both(base.match, treatment.headers)) is not None:
        yield from _by_method(both, faulty, treatment)
    yield from _by_method(base.match, plain, treatment)


def _by_method(match: Rule, rule: Rule, treatment: Treatment) -> Iterator[Rule]:
    if "retries" in rule and not treatment.writes:
        yield {"match": [{**match, **SAFE}], **rule}
        rule = {key: value for key, value in rule.items() if key != "retries"}
    yield {"match": [match], **rule} if match else rule


def _both(match: Rule, headers: Mapping[str, str]) -> Rule | None:
    """`match` with exact `headers` as well; None where no request could match both."""
    known = dict(match.get("headers") or {})
    for header, value in headers.items():
        there = known.get(header) or {"exact": value}
        if there.get("exact", value) != value or not re.fullmatch(there.get("regex", ".*"), value):
            return None
        known[header] = {"exact": value}
    return {**match, "headers": known}


def fault(component: str, delay: Mapping[str, Any] | None, abort: Mapping[str, Any] | None) -> Rule:
    """The field `fault` of a rule; empty where neither is given. Raises RunError for what is out of range."""
    found: Rule = {}
    if delay:
        length = objects.number(component, "seconds of delay", delay["seconds"], 0.001, 3600)
        found["delay"] = {
            "fixedDelay": f"{round(length * 1000)}ms",
            "percentage": _percent(component, "delay", delay),
        }
    if abort:
        status = objects.whole(component, "status of abort", abort["status"], 200, 599)
        found["abort"] = {"httpStatus": status, "percentage": _percent(component, "abort", abort)}
    return found


def _percent(component: str, what: str, given: Mapping[str, Any]) -> dict[str, float]:
    return {"value": objects.number(component, f"percent of {what}", given.get("percent", 100), 0, 100)}


def policy(component: str, retries: Mapping[str, Any] | None, timeout: str | None) -> Rule:
    """The fields `retries` and `timeout` of a rule; raises RunError for what is out of range.

    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRetry
    """
    found: Rule = {}
    if retries:
        found["retries"] = {
            "attempts": objects.whole(component, "attempts of retries", retries["attempts"], 0, 100),
            "retryOn": retries.get("retry_on", "5xx"),
        }
        for name, key in (("per_try_timeout", "perTryTimeout"), ("backoff", "backoff")):
            if name in retries:
                found["retries"][key] = duration(component, f"{name} of retries", retries[name])
    if timeout:
        found["timeout"] = duration(component, "timeout", timeout)
    return found


def duration(component: str, name: str, value: Any) -> str:
    """`value` if it is a duration such as 500ms. Raises RunError."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise objects.refuse(component, name, value, "a duration such as 500ms or 1.5s")
    return value


def no_source(component: str, args: Mapping[str, Any]) -> None:
    """Refuses a blast radius by source workload.

    A waypoint serves all clients with the same routes: istiod drops matches by source labels there, and compares a
    source namespace with the waypoint's own. Source: Istio, waypointInboundRoute and sourceMatchHTTP; issue 51565.
    """
    for name in ("source_labels", "source_namespace"):
        if args.get(name):
            want = "left out: a waypoint does not tell clients apart in its routes (Istio issue 51565); use headers"
            raise objects.refuse(component, name, args[name], want)
