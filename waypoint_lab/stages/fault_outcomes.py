"""Outcomes of requests under the declared fault, retries and timeouts."""

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.types import seconds

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # as of the components
BACKOFF_SECONDS = 0.025  # Envoy's own base interval
SLACK_SECONDS = 0.5  # latency of a request, beside fault and retries


def hit(config: LabConfig, header: tuple[str, str] | None) -> bool:
    """Check that the fault can hit requests with this header."""
    wanted = config.fault.header_pair
    return wanted is None or (header is not None and (wanted[0].lower(), wanted[1]) == (header[0].lower(), header[1]))


def canary_share(config: LabConfig) -> float:
    """Return the canary's share (0 to 1) of the requests."""
    return config.canary.weight / 100 if config.stages.canary else 0.0


def retried(config: LabConfig) -> bool:
    """Check that the waypoint retries the application's request where the upstream fails."""
    return config.stages.retries and (config.retries.writes or config.app.request.method in SAFE_METHODS)


def longest_seconds(config: LabConfig) -> float:
    """Return the most seconds that delay and retries add to a request, before any limit of the whole request.

    Source: Envoy's router waits a random part of the base interval, doubled from try to try, at most ten times it.
    """
    delay = config.fault.delay.seconds if config.stages.delay else 0.0
    if not retried(config):
        return delay
    attempts, base = config.retries.attempts, seconds(config.retries.backoff) or BACKOFF_SECONDS
    waits = sum(base * min(2.0**number, 10.0) for number in range(attempts))
    if config.fault.at == "waypoint":
        return delay + waits
    return (attempts + 1) * min(delay, config.retries.per_try_seconds) + waits


def never_in_time(config: LabConfig) -> bool:
    """Check that each request times out: only a delay behind the router counts towards limits."""
    limits = [config.retries.per_try_seconds] if retried(config) else []
    limits += [seconds(config.app.request_timeout)] if config.app.request_timeout else []
    slow = config.stages.delay and config.fault.at == "upstream"
    return slow and any(config.fault.delay.seconds >= limit for limit in limits)


def out_of_time(config: LabConfig) -> bool:
    """Check that the limit of a request may end its retries."""
    limit = seconds(config.app.request_timeout)
    return retried(config) and 0 < limit < longest_seconds(config) + SLACK_SECONDS


def failing(config: LabConfig, header: tuple[str, str] | None = None) -> tuple[float, float]:
    """Return the least and the most share of failures (0 to 1) among the requests that the fault can hit.

    They differ where a retry budget, which counts the requests of all clients, or a limit of the request may end the
    retries: between all retries and none, the share depends on the load.
    """
    if not config.stages.abort or not hit(config, header):
        return 0.0, 0.0
    most = config.fault.abort.percent / 100
    if config.fault.at == "waypoint":
        return most, most
    # A failing workload stands in front of the baseline only; the canary's share does not pass it.
    least, behind = most, 1 - canary_share(config)
    if retried(config) and config.fault.abort.status >= 500:
        least = most ** (config.retries.attempts + 1)  # `attempts` are retries: three of them make four tries
        if config.retries.budget_percent is None and not out_of_time(config):
            most = least
    return least * behind, most * behind
