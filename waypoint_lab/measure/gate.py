"""The gate of a canary: measures through the mesh what its route does to requests, and refuses what misses."""

import math
import os
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.traffic_models import Gate, Prometheus
from waypoint_lab.config.weights import shown
from waypoint_lab.measure import envoy_config, prometheus
from waypoint_lab.measure.probe import ProbeError, Row, send
from waypoint_lab.measure.statistics import binomial_interval, quantile_interval
from waypoint_lab.measure.verify import CONFIDENCE, judge
from waypoint_lab.pulumi_cli import SKIP_GATE
from waypoint_lab.stages.expectations import RED, Expect, Measure

POLL_SECONDS = 1.0


class GateMissed(Exception):
    """The traffic is not as declared; one line with declared, measured, interval and sample."""


def record(config: LabConfig) -> dict[str, Any]:
    """What a pass is a pass of: the weights, and the gate's own settings."""
    assert config.canary.gate
    if not wanted():
        return {}  # no pass: the next up finds this out of date, and measures
    return {
        "weight": shown(config.canary.weight),
        "cohort": str(config.canary_cohort or ""),
        "gate": config.canary.gate.document(),
    }


def wanted() -> bool:
    """Whether this up is to be measured: every one but a way back."""
    return not os.environ.get(SKIP_GATE)


def answered(row: Row) -> bool:
    """Whether a request did what its sender wanted: a redirect did, a refusal did not."""
    return 200 <= row.status < 400


def _rate(declared: float, measured: float, requests: int) -> str:
    """Why a success rate misses; rates are 0 to 1. Empty where it does not."""
    if measured >= declared:
        return ""
    ends = binomial_interval(round(measured * requests), requests, CONFIDENCE)
    return (
        f"success rate: declared at least {declared:.2%}, measured {measured:.2%}, "
        f"interval {ends.low:.2%}-{ends.high:.2%}, {requests} requests"
    )


def _slow(declared: float, times: Sequence[float]) -> str:
    """Why a 99th percentile misses; seconds. One without an answer is infinitely slow."""
    ordered = sorted(times)
    measured = ordered[math.ceil(len(ordered) * 0.99) - 1]
    if measured <= declared:
        return ""
    ends = quantile_interval(ordered, 0.99, CONFIDENCE)
    high = "no upper end" if math.isinf(ends.high) else f"{ends.high:.3f} s"
    said = "no answer" if math.isinf(measured) else f"{measured:.3f} s"
    return (
        f"p99: declared at most {declared:g} s, measured {said}, "
        f"interval {ends.low:.3f} s-{high}, {len(ordered)} requests"
    )


def misses(gate: Gate, weight: float, rows: list[Row]) -> list[str]:
    """Why `rows` miss the gate of a canary with `weight` percent; empty where they pass. Few are no pass."""
    if len(rows) < gate.minimum_requests:
        least = f"{gate.minimum_requests} requests in {gate.seconds:g} s"
        return [f"sample: declared at least {least}, measured {len(rows)}: no data is not a pass"]
    found = []
    if gate.success_rate is not None:
        found.append(_rate(gate.success_rate / 100, sum(map(answered, rows)) / len(rows), len(rows)))
    if gate.p99_seconds is not None:
        found.append(_slow(gate.p99_seconds, [row.seconds if row.status else math.inf for row in rows]))
    if gate.share:
        verdict = judge(Expect("share", Measure.COLOUR, RED, weight / 100), rows)
        low, high = verdict.interval
        if not verdict.passed:
            found.append(
                f"share of the canary: declared {verdict.declared:.2%}, measured {verdict.measured:.2%}, "
                f"interval {low:.2%}-{high:.2%}, {verdict.requests} requests"
            )
    return [why for why in found if why]


def prometheus_misses(gate: Gate, source: Prometheus) -> list[str]:
    """The same from Prometheus, asked again until it has seen enough requests, or the gate's time is over."""
    until = time.monotonic() + gate.seconds
    while True:
        try:
            requests = prometheus.number(source.url, source.requests)
            if requests >= gate.minimum_requests:
                return _prometheus_verdict(gate, source, int(requests))
            least = f"{gate.minimum_requests} requests in {gate.seconds:g} s"
            why = f"sample: declared at least {least}, Prometheus has {requests:g}: no data is not a pass"
        except prometheus.NoDataError as error:
            why = str(error)
        except prometheus.PrometheusError as error:
            return [str(error)]
        if time.monotonic() >= until:
            return [why]
        time.sleep(POLL_SECONDS)


def _prometheus_verdict(gate: Gate, source: Prometheus, requests: int) -> list[str]:
    found = []
    if gate.success_rate is not None:
        percent = prometheus.number(source.url, source.success_rate)
        if not 0 <= percent <= 100:
            return [f"{source.success_rate!r} gives {percent:g}: it must give percent, 0 to 100"]
        found.append(_rate(gate.success_rate / 100, percent / 100, requests))
    if gate.p99_seconds is not None:
        slow = prometheus.number(source.url, source.p99)
        if slow > gate.p99_seconds:
            found.append(f"p99: declared at most {gate.p99_seconds:g} s, measured {slow:.3f} s, {requests} requests")
    return [why for why in found if why]


def check(config: LabConfig) -> None:
    """Measures once the route is live. Raises GateMissed with one line where traffic is not as the gate declares."""
    gate = config.canary.gate
    assert gate
    try:
        envoy_config.wait(config)
        envoy_config.wait_for_traffic(config)
        if gate.prometheus:
            found = prometheus_misses(gate, gate.prometheus)
        else:
            group = {"method": "GET", "path": "/reviews/0", "headers": {}, "requests": gate.minimum_requests}
            found = misses(gate, config.canary.weight, send(config, [group], seconds=gate.seconds)[0])
    except (ProbeError, envoy_config.NotLive, subprocess.SubprocessError) as error:
        raise GateMissed(f"{PROJECT}:canary.gate could not measure, and no data is not a pass: {error}") from None
    if found:
        raise GateMissed(f"{PROJECT}:canary.gate at {shown(config.canary.weight)} %: {'; '.join(found)}")
