"""Measure the traffic of a canary, and raise if it misses the thresholds of its gate."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from waypoint_lab.config.settings import PROJECT, PROMOTION, SKIP_GATE, LabConfig
from waypoint_lab.config.traffic_models import GateSettings, PrometheusSettings, digest
from waypoint_lab.config.weights import shown
from waypoint_lab.errors import GateError, KubectlError, NotSyncedError, ProbeError
from waypoint_lab.measure import envoy_config, prometheus, traffic
from waypoint_lab.measure.attribution import check_identities, send
from waypoint_lab.measure.client import Answer, Group
from waypoint_lab.measure.statistics import binomial_interval, quantile, quantile_interval
from waypoint_lab.measure.unpaired import Outcomes
from waypoint_lab.measure.verify import judge
from waypoint_lab.stages.expectations import CONFIDENCE, MOST_REQUESTS, Expect, Measure, least_requests
from waypoint_lab.waiting import polls

POLL_SECONDS = 1.0
P99_REQUESTS = 100  # to each backend, where the ratio of the two 99th percentiles is judged


def wanted() -> bool:
    """Return False in the update of a rollback: the gate must not stop it."""
    return not os.environ.get(SKIP_GATE)


def _judged_by_promotion(config: LabConfig) -> bool:
    """Return True where a promotion judges the requests of users after this update, and pauses if they are too few."""
    return bool({"traffic", "prometheus"} & {*config.canary.evidence} and os.environ.get(PROMOTION))


def record(config: LabConfig) -> dict[str, Any]:
    """Return the weights and thresholds that a pass is valid for; empty where this update does not measure them all.

    The next update finds an empty record out of date, and measures.
    """
    assert config.canary.gate
    if not wanted() or _judged_by_promotion(config):
        return {}
    return {
        "weight": shown(config.canary.weight),
        "cohort": digest(str(config.canary_cohort)) if config.canary_cohort else "",
        "gate": config.canary.gate.document(),
    }


def share_of(percent: float) -> float:
    """Return percent as a share, 0 to 1, that is the same number as the division of counts which have it."""
    return float(Fraction(str(percent)) / 100)  # 99.9 / 100 is more than 999 / 1000


def _success_rate(declared: float, measured: float, requests: int) -> str:
    """Return the reason why a success rate (0 to 1) fails; empty if it passes."""
    if measured >= declared:
        return ""
    ends = binomial_interval(round(measured * requests), requests, CONFIDENCE)
    return (
        f"success rate: declared at least {declared:.2%}, measured {measured:.2%}, "
        f"interval {ends.low:.2%}-{ends.high:.2%}, {requests} requests"
    )


def _p99(declared: float, times: Sequence[float], answered: float = 1.0) -> str:
    """Return the reason why the 99th percentile of a part of the times fails; empty if it passes.

    Args:
        declared: Most seconds.
        times: Seconds of each request; infinite without an answer.
        answered: Part of the requests that need an answer, 0 to 1; the percentile is that of the fastest ones.
    """
    ordered = sorted(times)
    measured = quantile(ordered, 0.99 * answered)
    if measured <= declared:
        return ""
    ends = quantile_interval(ordered, 0.99 * answered, CONFIDENCE)
    high = "no upper end" if math.isinf(ends.high) else f"{ends.high:.3f} s"
    shown = "no answer" if math.isinf(measured) else f"{measured:.3f} s"
    return (
        f"p99: declared at most {declared:g} s, measured {shown}, "
        f"interval {ends.low:.3f} s-{high}, {len(ordered)} requests"
    )


def failures(config: LabConfig, gate: GateSettings, answers: list[Answer]) -> list[str]:
    """Judge answers by the gate. Return one line for each threshold that fails; too few answers fail as well."""
    if len(answers) < gate.minimum_requests:
        return [f"{_few(gate)}, measured {len(answers)}: no data is not a pass"]
    found = []
    if gate.success_rate is not None:
        found.append(
            _success_rate(
                share_of(gate.success_rate), sum(one.succeeded for one in answers) / len(answers), len(answers)
            )
        )
    if gate.p99_seconds is not None:
        found.append(_p99(gate.p99_seconds, [one.seconds if one.status else math.inf for one in answers]))
    if gate.share:
        check_identities(config, answers)
        canary, share = config.app.identify.value("canary"), config.canary.weight / 100
        expect = Expect("share", Measure.IDENTITY, canary, share, requests=gate.minimum_requests)
        item = judge(expect, answers)
        if not item.passed:
            found.append(
                f"share of the canary: declared {item.shown(item.declared)}, measured {item.shown(item.measured)}, "
                f"interval {'-'.join(map(item.shown, item.interval))}, {item.requests} requests, {item.verdict}"
            )
    return [why for why in found if why]


class PrometheusNumbers(NamedTuple):
    """The numbers of a Prometheus.

    Attributes:
        requests: Number of requests.
        success_rate: 0 to 1; None where no threshold needs it, or there are too few requests.
        p99_seconds: The 99th percentile; None likewise.
    """

    requests: float
    success_rate: float | None = None
    p99_seconds: float | None = None


def prometheus_numbers(gate: GateSettings, source: PrometheusSettings) -> PrometheusNumbers:
    """Ask a Prometheus for all numbers that the gate needs. Raises PrometheusError."""
    requests = prometheus.number(source.url, source.requests)
    if requests < gate.minimum_requests:
        return PrometheusNumbers(requests)
    percent = prometheus.number(source.url, source.success_rate) if gate.success_rate is not None else None
    if percent is not None and not 0 <= percent <= 100:
        raise prometheus.PrometheusError(f"{source.success_rate!r} gives {percent:g}: it must give percent, 0 to 100")
    p99 = prometheus.number(source.url, source.p99) if gate.p99_seconds is not None else None
    return PrometheusNumbers(requests, None if percent is None else share_of(percent), p99)


def judge_prometheus(gate: GateSettings, numbers: PrometheusNumbers) -> list[str]:
    """Judge the numbers of a Prometheus. Return one line for each threshold that fails."""
    found = []
    if gate.success_rate is not None and numbers.success_rate is not None:
        found.append(_success_rate(share_of(gate.success_rate), numbers.success_rate, int(numbers.requests)))
    if gate.p99_seconds is not None and numbers.p99_seconds is not None and numbers.p99_seconds > gate.p99_seconds:
        measured = f"measured {numbers.p99_seconds:.3f} s, {int(numbers.requests)} requests"
        found.append(f"p99: declared at most {gate.p99_seconds:g} s, {measured}")
    return [why for why in found if why]


def prometheus_failures(gate: GateSettings, source: PrometheusSettings) -> list[str]:
    """Judge the numbers of a Prometheus, once it has seen enough requests or the gate's time is over."""
    why = ""
    for _ in polls(gate.seconds, POLL_SECONDS):
        try:
            numbers = prometheus_numbers(gate, source)
            if numbers.requests >= gate.minimum_requests:
                return judge_prometheus(gate, numbers)
            why = f"{_few(gate)}, Prometheus has {numbers.requests:g}: no data is not a pass"
        except prometheus.NoDataError as error:
            why = str(error)
        except prometheus.PrometheusError as error:
            return [str(error)]
    return [why]


def traffic_failures(config: LabConfig, gate: GateSettings) -> list[str]:
    """Judge the requests of users to canary and baseline, once enough have ended or the gate's time is over.

    Raises:
        KubectlError: The waypoints cannot be read.
    """
    reader = traffic.TrafficReader(config)
    tries, logged = Outcomes(), {role: list[traffic.LoggedRequest]() for role in traffic.ROLES}
    p99_ratio = gate.p99_ratio if 0 < config.canary.weight < 100 else None  # both backends get requests
    timed = gate.p99_seconds is not None or p99_ratio is not None
    for _ in polls(gate.seconds, POLL_SECONDS):
        if block := reader.read():
            for role in traffic.ROLES:
                tries = tries.plus(block.tries[role])
                logged[role] += (block.logged or {}).get(role, [])
        sample = min(tries.requests, sum(map(len, logged.values()))) if timed else tries.requests
        if sample >= gate.minimum_requests and (p99_ratio is None or _least(logged) >= P99_REQUESTS):
            break
    else:
        most = f"measured {sample} of users"
        if sample >= gate.minimum_requests:
            few = f"measured {_least(logged)} of users to one backend, of at least {P99_REQUESTS}"
            most = f"{few} (to the baseline, with an answer)"
        if not tries.requests:
            most = f"{most} ({traffic.none_passed(config)})"
        return [f"{_few(gate)}, {most}: no data is not a pass"]
    found = []
    if gate.success_rate is not None:
        measured = (tries.requests - tries.failed) / tries.requests
        found.append(_success_rate(share_of(gate.success_rate), measured, tries.requests))
    seconds = {role: [one.seconds for one in requests] for role, requests in logged.items()}
    if gate.p99_seconds is not None:
        found.append(_p99(gate.p99_seconds, [one for times in seconds.values() for one in times]))
    if p99_ratio is not None:
        answered = max(sum(map(math.isfinite, times)) / len(times) for times in seconds.values())
        p99 = quantile(filter(math.isfinite, seconds["baseline"]), 0.99)
        limit = round(p99_ratio * max(p99, 0.001), 9)  # without floating-point noise
        found.append(_p99(limit, seconds["canary"], answered))
    return [why for why in found if why]


def _least(logged: Mapping[str, Sequence[traffic.LoggedRequest]]) -> int:
    """Return the smaller number: requests to the canary, or those to the baseline that have an answer."""
    return min(len(logged["canary"]), sum(bool(one.status) for one in logged["baseline"]))


def _few(gate: GateSettings) -> str:
    return f"sample: declared at least {gate.minimum_requests} requests in {gate.seconds:g} s"


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
    later = _judged_by_promotion(config)
    try:
        envoy_config.wait(config)
        began = time.monotonic()
        found: list[str] = []
        if "probe" in config.canary.evidence:
            envoy_config.wait_for_traffic(config)
            group = Group(rounds=_sample(gate, config.canary.weight / 100))
            found += failures(config, gate, send(config, [group], seconds=gate.seconds)[0])
        if "traffic" in config.canary.evidence and not found and not later:
            found += traffic_failures(config, gate)
        if gate.prometheus and not found and not later:
            prometheus.wait_for_window(config, gate.prometheus, record(config), began)
            found += prometheus_failures(gate, gate.prometheus)
    except (ProbeError, KubectlError, NotSyncedError) as error:
        raise GateError(f"{where}: not measured, and no data is not a pass: {error}") from None
    if found:
        raise GateError(f"{where} at {shown(config.canary.weight)} %: {'; '.join(found)}")
