"""Measure the traffic of a canary, and raise if it misses the thresholds of its gate."""

import math
import os
from collections.abc import Sequence
from typing import Any

from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.traffic_models import GateSettings, PrometheusSettings
from waypoint_lab.config.weights import shown
from waypoint_lab.errors import GateError, KubectlError, NotSyncedError, ProbeError
from waypoint_lab.measure import envoy_config, prometheus
from waypoint_lab.measure.attribution import check_identities, send
from waypoint_lab.measure.client import Answer, Group
from waypoint_lab.measure.statistics import binomial_interval, quantile_interval
from waypoint_lab.measure.verify import judge
from waypoint_lab.pulumi_cli import SKIP_GATE
from waypoint_lab.stages.expectations import CONFIDENCE, MOST_REQUESTS, Expect, Measure, least_requests
from waypoint_lab.waiting import polls

POLL_SECONDS = 1.0


def wanted() -> bool:
    """Return False in the update of a rollback: the gate must not stop it."""
    return not os.environ.get(SKIP_GATE)


def record(config: LabConfig) -> dict[str, Any]:
    """Return the weights and thresholds that a pass is valid for; empty in a rollback.

    The next update finds an empty record out of date, and measures.
    """
    assert config.canary.gate
    if not wanted():
        return {}
    return {
        "weight": shown(config.canary.weight),
        "cohort": str(config.canary_cohort or ""),
        "gate": config.canary.gate.document(),
    }


def _success_rate(declared: float, measured: float, requests: int) -> str:
    """Return the reason why a success rate (0 to 1) fails; empty if it passes."""
    if measured >= declared:
        return ""
    ends = binomial_interval(round(measured * requests), requests, CONFIDENCE)
    return (
        f"success rate: declared at least {declared:.2%}, measured {measured:.2%}, "
        f"interval {ends.low:.2%}-{ends.high:.2%}, {requests} requests"
    )


def _p99(declared: float, times: Sequence[float]) -> str:
    """Return the reason why a 99th percentile in seconds fails; empty if it passes. No answer counts as infinite."""
    ordered = sorted(times)
    measured = ordered[math.ceil(len(ordered) * 0.99) - 1]
    if measured <= declared:
        return ""
    ends = quantile_interval(ordered, 0.99, CONFIDENCE)
    high = "no upper end" if math.isinf(ends.high) else f"{ends.high:.3f} s"
    shown = "no answer" if math.isinf(measured) else f"{measured:.3f} s"
    return (
        f"p99: declared at most {declared:g} s, measured {shown}, "
        f"interval {ends.low:.3f} s-{high}, {len(ordered)} requests"
    )


def failures(config: LabConfig, gate: GateSettings, answers: list[Answer]) -> list[str]:
    """Judge answers by the gate. Return one line for each threshold that fails; too few answers fail as well."""
    if len(answers) < gate.minimum_requests:
        least = f"{gate.minimum_requests} requests in {gate.seconds:g} s"
        return [f"sample: declared at least {least}, measured {len(answers)}: no data is not a pass"]
    found = []
    if gate.success_rate is not None:
        found.append(
            _success_rate(gate.success_rate / 100, sum(one.succeeded for one in answers) / len(answers), len(answers))
        )
    if gate.p99_seconds is not None:
        found.append(_p99(gate.p99_seconds, [one.seconds if one.status else math.inf for one in answers]))
    if gate.share:
        check_identities(config, answers)
        expect = Expect("share", Measure.IDENTITY, config.app.identify.value("canary"), config.canary.weight / 100)
        item = judge(expect, answers)
        if not item.passed:
            found.append(
                f"share of the canary: declared {item.shown(item.declared)}, measured {item.shown(item.measured)}, "
                f"interval {'-'.join(map(item.shown, item.interval))}, {item.requests} requests, {item.verdict}"
            )
    return [why for why in found if why]


def prometheus_failures(gate: GateSettings, source: PrometheusSettings) -> list[str]:
    """Judge the numbers of a Prometheus, once it has seen enough requests or the gate's time is over."""
    why = ""
    for _ in polls(gate.seconds, POLL_SECONDS):
        try:
            requests = prometheus.number(source.url, source.requests)
            if requests >= gate.minimum_requests:
                return _judge_prometheus(gate, source, int(requests))
            least = f"{gate.minimum_requests} requests in {gate.seconds:g} s"
            why = f"sample: declared at least {least}, Prometheus has {requests:g}: no data is not a pass"
        except prometheus.NoDataError as error:
            why = str(error)
        except prometheus.PrometheusError as error:
            return [str(error)]
    return [why]


def _judge_prometheus(gate: GateSettings, source: PrometheusSettings, requests: int) -> list[str]:
    found = []
    if gate.success_rate is not None:
        percent = prometheus.number(source.url, source.success_rate)
        if not 0 <= percent <= 100:
            return [f"{source.success_rate!r} gives {percent:g}: it must give percent, 0 to 100"]
        found.append(_success_rate(gate.success_rate / 100, percent / 100, requests))
    if gate.p99_seconds is not None:
        seconds = prometheus.number(source.url, source.p99)
        if seconds > gate.p99_seconds:
            found.append(f"p99: declared at most {gate.p99_seconds:g} s, measured {seconds:.3f} s, {requests} requests")
    return [why for why in found if why]


def _sample(gate: GateSettings, share: float) -> int:
    """Return the number of requests, large enough to tell a share from none and from all if possible."""
    needed = least_requests(share) if gate.share and 0 < share < 1 else 0
    return max(gate.minimum_requests, min(needed, MOST_REQUESTS))


def check(config: LabConfig) -> None:
    """Measure once the route is in sync.

    Raises:
        GateError: The traffic misses a threshold, or cannot be measured.
    """
    gate, where = config.canary.gate, f"{PROJECT}:canary.gate"
    assert gate
    try:
        envoy_config.wait(config)
        envoy_config.wait_for_traffic(config)
        if gate.prometheus:
            found = prometheus_failures(gate, gate.prometheus)
        else:
            group = Group(rounds=_sample(gate, config.canary.weight / 100))
            found = failures(config, gate, send(config, [group], seconds=gate.seconds)[0])
    except (ProbeError, KubectlError, NotSyncedError) as error:
        raise GateError(f"{where}: not measured, and no data is not a pass: {error}") from None
    if found:
        raise GateError(f"{where} at {shown(config.canary.weight)} %: {'; '.join(found)}")
