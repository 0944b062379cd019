"""Parser and validation of faults and retries, from the arguments of a component."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from ..types import Backend, FaultAt, Retries
from . import http_text, objects
from .traffic import FaultSettings

MAX_SECONDS = 3600
IMAGE = "docker.io/library/python:3.13.7-alpine3.22"
# Source: istiod's validation of HTTPRetry.retryOn; HTTP statuses are allowed as well
_RETRY_ON = {
    *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "refused-stream"),
    *("retriable-status-codes", "retriable-headers", "envoy-ratelimited", "http3-post-connect-failure", "cancelled"),
    *("deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
}


def fault(
    component: str, name: str, given: Mapping[str, Any], backends: Sequence[Backend] | None
) -> FaultSettings | None:
    """Return the declared fault; None where there is neither a delay nor an abort. Raises RunError.

    Args:
        component: Name for error messages.
        name: Name of the component, and of its VirtualService.
        given: Arguments of the component, with the types of their TypedDict.
        backends: Backends with traffic; None where the Service itself is the only one.
    """
    delay, abort = given.get("delay") or {}, given.get("abort") or {}
    milliseconds = status = 0
    if delay:
        exact = Decimal(str(objects.number(component, "delay.seconds", delay["seconds"], 0.001, MAX_SECONDS))) * 1000
        if exact != int(exact):
            raise objects.refuse(component, "delay.seconds", delay["seconds"], "a number with at most three decimals")
        milliseconds = int(exact)
    if abort:
        status = objects.whole(component, "abort.status", abort["status"], 200, 599)
    shares = [
        objects.number(component, f"{where}.percent", values.get("percent", 100), 0, 100)
        for where, values in (("delay", delay), ("abort", abort))
    ]
    headers = http_text.exact_headers(component, "fault_headers", given.get("fault_headers", {}))
    at, duration, key, seconds = given.get("fault_at", FaultAt.WAYPOINT), given.get("duration") or {}, "", 0.0
    if duration:
        seconds = objects.number(component, "duration.seconds", duration["seconds"], 1, MAX_SECONDS)
        settings = [milliseconds, status, shares, headers, given.get("headers"), at, seconds]
        key = duration.get("id") or hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        http_text.label(component, "name of the fault's Job", f"{name}-fault-expiry-{key}")
    if not delay and not abort:
        return None
    return FaultSettings(
        delay_milliseconds=milliseconds,
        delay_percent=shares[0],
        abort_status=status,
        abort_percent=shares[1],
        headers=headers,
        baseline=_baseline(component, given, backends) if at is FaultAt.UPSTREAM else "",
        failing=http_text.label(component, "name of the failing Service", f"{name}-upstream")
        if at is FaultAt.UPSTREAM
        else "",
        id=key,
        seconds=seconds,
        expired=bool(key) and duration.get("expired") == key,
        image=duration.get("image", IMAGE),
    )


def _baseline(component: str, given: Mapping[str, Any], backends: Sequence[Backend] | None) -> str:
    name = given.get("baseline", "")
    if name in ("", given["service"]):
        # Requests to the Service itself would match this rule again, in a loop.
        want = f"a Service other than {given['service']}, as plain text, where fault_at is upstream"
        raise objects.refuse(component, "baseline", name, want)
    if backends is not None and name not in [backend["name"] for backend in backends]:
        raise objects.refuse(
            component, "baseline", name, "a backend with a weight above 0: else the fault hits nothing"
        )
    return str(http_text.label(component, "baseline", name))


def retries(component: str, given: Mapping[str, Any]) -> Retries | None:
    """Return the retry policy in the argument `retries`, with durations as Istio takes them. Raises RunError."""
    policy = given.get("retries")
    if not policy:
        return None
    retry_on = policy.get("retry_on", "5xx")
    for word in retry_on.split(","):
        if word not in _RETRY_ON and not re.fullmatch(r"[1-5]\d\d", word):
            raise objects.refuse(
                component, "retries.retry_on", word, f"a status or one of {', '.join(sorted(_RETRY_ON))}"
            )
    found: Retries = {
        "attempts": objects.whole(component, "retries.attempts", policy["attempts"], 0, 100),
        "retry_on": retry_on,
        "writes": policy.get("writes", False),
    }
    if text := policy.get("per_try_timeout"):
        limit = http_text.milliseconds(component, "retries.per_try_timeout", text)
        found["per_try_timeout"] = http_text.duration(limit)
    if text := policy.get("backoff"):
        found["backoff"] = http_text.duration(http_text.milliseconds(component, "retries.backoff", text))
    if {"budget_percent", "budget_minimum"} & policy.keys():
        percent, least = policy.get("budget_percent", 20), policy.get("budget_minimum", 3)
        found["budget_percent"] = objects.number(component, "retries.budget_percent", percent, 0, 100)
        found["budget_minimum"] = objects.whole(component, "retries.budget_minimum", least, 0, 1000)
    return found
