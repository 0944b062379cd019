"""Rules on retries and timeouts."""

from collections.abc import Iterator, Mapping
from typing import Any

from .objects import Findings, Settings, World, seconds, service_of
from .routes import rules_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Of these conditions the service has not seen the request. Source: Envoy, x-envoy-retry-on.
UNSEEN = frozenset({"connect-failure", "refused-stream", "reset-before-request"})
# Source: istiod's default retry policy; it holds where a rule has retries without `retryOn`.
DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"

Rule = Mapping[str, Any]


def retries_within_timeout(world: World, settings: Settings) -> Findings:
    """All tries together end before the caller gives up: else the last tries are for nobody.

    The caller's patience is the rule's own `timeout` and `callerTimeoutSeconds`, whichever is less; 0 means none.
    """
    for item in world.own("VirtualService"):
        for number, rule in enumerate(rules_of(item), 1):
            retries = rule.get("retries") or {}
            tries, each = retries.get("attempts", 0) + 1, seconds(retries.get("perTryTimeout"))
            limits = [limit for limit in (seconds(rule.get("timeout")), settings["callerTimeoutSeconds"]) if limit]
            if tries > 1 and limits and tries * each > min(limits):
                total = f"{tries:g} tries of {each:g} s may take {tries * each:g} s"
                yield item, f"rule {number}: {total}; the caller waits {min(limits):g} s"


def retried_abort(world: World, _settings: Settings) -> Findings:
    """No retries on a rule's own injected abort: they do nothing.

    Source: Envoy's fault filter answers before the router, and retries are the router's; Istio issue 13705.
    """
    for item in world.own("VirtualService"):
        for number, rule in enumerate(rules_of(item), 1):
            if (rule.get("fault") or {}).get("abort") and (rule.get("retries") or {}).get("attempts", 0) > 0:
                yield item, f"rule {number} retries an abort that it injects itself, which is never retried"


def retried_writes(world: World, settings: Settings) -> Findings:
    """Writes are retried at most `maxAttempts` times, unless the request surely was not seen or a budget limits it.

    A rule that does not match only methods that are safe to repeat (GET, HEAD, OPTIONS) retries writes, too. A budget
    is a DestinationRule's `trafficPolicy.retryBudget` on every destination of the rule.
    """
    limit = settings["maxAttempts"]
    for item in world.own("VirtualService"):
        for number, rule in enumerate(rules_of(item), 1):
            retries = rule.get("retries") or {}
            attempts = retries.get("attempts", 0)
            seen = set(str(retries.get("retryOn") or DEFAULT_RETRY_ON).split(",")) - UNSEEN
            if attempts <= limit or not seen or _only_safe(rule):
                continue
            hosts = [service_of(host, item.namespace) or host for host in _destinations(rule)]
            if not hosts or not set(hosts) <= set(_budgets(world)):
                yield item, f"rule {number} repeats writes up to {attempts:g} times, without a budget"


def _only_safe(rule: Rule) -> bool:
    matches = rule.get("match") or []
    methods = [(match.get("method") or {}).get("exact") for match in matches]
    return bool(methods) and set(methods) <= SAFE_METHODS


def _destinations(rule: Rule) -> Iterator[str]:
    for route in rule.get("route") or []:
        yield str((route.get("destination") or {}).get("host"))


def _budgets(world: World) -> Iterator[tuple[str, str] | str]:
    """The Services, or other hosts, whose retries a DestinationRule limits."""
    for item in world.all("DestinationRule"):
        host = str(item.spec.get("host"))
        if (item.spec.get("trafficPolicy") or {}).get("retryBudget"):
            yield service_of(host, item.namespace) or host
