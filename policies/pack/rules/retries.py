"""Rules on retries and timeouts."""

import re
from collections.abc import Iterator

from ..fields import Fields, fields, items, number, text
from ..mesh import seconds, service_of
from ..resources import ClusterSnapshot, Parameters, Violations
from .routes import rules_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Conditions under which the service has not seen the request. Source: Envoy, x-envoy-retry-on.
UNSEEN = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
# Source: istiod's default retry policy, used where a rule has retries without `retryOn`.
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"


def retries_within_timeout(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that all tries together end before the caller gives up.

    The caller's limit is the rule's own `timeout` or `callerTimeoutSeconds`, whichever is less; 0 is no limit.
    """
    for item in snapshot.own("VirtualService"):
        for index, rule in enumerate(rules_of(item), 1):
            tries = number(rule, "retries", "attempts") + 1
            each = seconds(text(rule, "retries", "perTryTimeout"))
            limits = [limit for limit in (seconds(text(rule, "timeout")), parameters["callerTimeoutSeconds"]) if limit]
            if tries > 1 and limits and tries * each > min(limits):
                total = f"{tries:g} tries of {each:g} s may take {tries * each:g} s"
                yield item, f"rule {index}: {total}; the caller waits {min(limits):g} s"


def retried_abort(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that no rule retries an abort that it injects itself.

    Source: Envoy's fault filter responds before the router, which retries; Istio issue 13705.
    """
    for item in snapshot.own("VirtualService"):
        for index, rule in enumerate(rules_of(item), 1):
            if fields(rule, "fault", "abort") and number(rule, "retries", "attempts") > 0:
                yield item, f"rule {index} retries an abort that it injects itself, which is never retried"


def retried_writes(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that writes are retried at most `maxAttempts` times, unless the request was not seen or there is a budget.

    A rule that does not match safe methods only (GET, HEAD, OPTIONS) retries writes. A budget is a DestinationRule's
    `trafficPolicy.retryBudget` for every destination of the rule.
    """
    budgets = set(_budgets(snapshot))
    for item in snapshot.own("VirtualService"):
        for index, rule in enumerate(rules_of(item), 1):
            attempts = number(rule, "retries", "attempts")
            conditions = text(rule, "retries", "retryOn", default=DEFAULT_RETRY_ON).split(",")
            seen = {condition.strip() for condition in conditions} - UNSEEN - {""}
            if attempts <= parameters["maxAttempts"] or not seen or _safe_only(rule):
                continue
            hosts = [text(route, "destination", "host") for route in items(rule, "route")]
            services = {service_of(host, item.namespace) or host for host in hosts}
            if not services or not services <= budgets:
                yield item, f"rule {index} repeats writes up to {attempts:g} times, without a budget"


def _safe_only(rule: Fields) -> bool:
    matches = items(rule, "match")
    return bool(matches) and all(_methods(match) and _methods(match) <= SAFE_METHODS for match in matches)


def _methods(match: Fields) -> frozenset[str]:
    """Return the methods that a match names, exactly or as alternatives of a regular expression."""
    if exact := text(match, "method", "exact"):
        return frozenset({exact})
    pattern = text(match, "method", "regex").removeprefix("^").removesuffix("$")
    if grouped := re.fullmatch(r"\((?:\?:)?([A-Z|]*)\)", pattern):
        pattern = grouped.group(1)
    return frozenset(pattern.split("|")) if pattern else frozenset()


def _budgets(snapshot: ClusterSnapshot) -> Iterator[tuple[str, str] | str]:
    """Yield the Services, or other hosts, whose retries a DestinationRule limits."""
    for item in snapshot.all("DestinationRule"):
        if fields(item.spec, "trafficPolicy", "retryBudget"):
            host = text(item.spec, "host")
            yield service_of(host, item.namespace) or host
