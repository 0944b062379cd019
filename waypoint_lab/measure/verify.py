"""Measure traffic and judge it against the expectations of a config."""

import math
import statistics as numbers
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import access_log, envoy_config
from waypoint_lab.measure.attribution import check_identities, send
from waypoint_lab.measure.client import PROBE_SECONDS, WORKERS, Answer, Endpoint, Group
from waypoint_lab.measure.statistics import binomial_interval, median_interval, quantiles
from waypoint_lab.stages.expectations import CONFIDENCE, WITH_COOKIE, least_requests
from waypoint_lab.stages.fault_outcomes import longest_seconds
from waypoint_lab.stages.table import Expect, Measure

Requests = tuple[str, str, tuple[tuple[str, str], ...]]  # method, path and headers
DELAYED_WORKERS = 30  # requests at the same time while answers are delayed
UNLOGGED = "no data: no waypoint has logged these requests; is stages.accessLog on, in Istio's text format?"


class Verdict(StrEnum):
    """The verdict of a measurement."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Measurement:
    """One expectation and the traffic that was measured.

    `declared`, `measured` and `interval` are shares (0 to 1), or medians in seconds. Of a range of shares, `declared`
    is the least, and `what` names the most. `why` is empty where it passed. `latency` has the quantiles of all answers,
    in seconds, by name such as `p99`.
    """

    what: str
    verdict: Verdict
    requests: int
    declared: float
    measured: float
    interval: tuple[float, float]
    observed: dict[str, int]
    why: str = ""
    latency: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def passed(self) -> bool:
        """True where the verdict is passed; an inconclusive measurement is no pass."""
        return self.verdict is Verdict.PASSED

    def document(self) -> dict[str, Any]:
        """Return the measurement for JSON."""
        return {**asdict(self), "passed": self.passed}

    def shown(self, value: float) -> str:
        """Return a share as percent, or a latency in seconds, as text."""
        return f"{value:.3f} s" if self.what.endswith(" later") else f"{value:.2%}"


def _no_data(expect: Expect, why: str) -> Measurement:
    declared, ends = (expect.low, (0.0, 0.0)) if expect.measure is Measure.SECONDS else (expect.share, (0.0, 1.0))
    return Measurement(expect.what, Verdict.INCONCLUSIVE, 0, declared, 0.0, ends, {}, why)


def _observed(answer: Answer, expect: Expect) -> str:
    if expect.measure is Measure.PROXIED:
        return "yes" if answer.proxied else "no"
    if expect.measure is Measure.LATE and answer.status:
        return "yes" if answer.seconds >= expect.low else "no"
    if expect.measure is Measure.IDENTITY and answer.succeeded:
        return answer.identity
    return answer.outcome


def judge(expect: Expect, answers: list[Answer]) -> Measurement:
    """Judge one expectation. Too few answers are inconclusive at best."""
    few = "" if len(answers) >= expect.requests else f"only {len(answers)} of {expect.requests} requests were made"
    if not answers:
        return _no_data(expect, "no data")
    if expect.measure is Measure.SECONDS:
        return _judge_latency(expect, answers, few)
    return _judge_share(expect, Counter(_observed(one, expect) for one in answers), few)


def _judge_latency(expect: Expect, answers: list[Answer], few: str) -> Measurement:
    observed = dict(Counter(one.outcome for one in answers))
    times = sorted(one.seconds for one in answers if one.status)
    if not times:
        why = "no answer"
        return Measurement(expect.what, Verdict.FAILED, len(answers), expect.low, 0.0, (0.0, 0.0), observed, why)
    median, spread = numbers.median(times), median_interval(times, CONFIDENCE)
    # Only answers have a latency: a median over them would hide requests without an answer.
    silent = len(answers) - len(times)
    wrong = "" if expect.low <= median <= expect.high else f"the median is outside {expect.low:g} to {expect.high:g} s"
    wrong = wrong or (f"{silent} of {len(answers)} requests had no answer" if silent else "")
    return Measurement(
        expect.what,
        _verdict(wrong, few),
        len(answers),
        expect.low,
        median,
        (spread.low, spread.high),
        observed,
        wrong or few,
    )


def _verdict(wrong: str, inconclusive: str) -> Verdict:
    if wrong:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE if inconclusive else Verdict.PASSED


def _judge_share(expect: Expect, observed: Counter[str], inconclusive: str) -> Measurement:
    """Judge a share. `inconclusive` is the reason why the sample cannot pass, empty if it can."""
    hits = sum(count for value, count in observed.items() if expect.met_by(value))
    requests, share, most = observed.total(), expect.share, max(expect.share, expect.most)
    stated = f"{share:.2%} to {most:.2%}" if most > share else f"{share:.2%}"
    interval = binomial_interval(hits, requests, CONFIDENCE)
    # A share of all or nothing has no spread: a single exception is one too many.
    whole = share == most and share in (0.0, 1.0)
    holds = hits == round(share * requests) if whole else interval.low <= most and share <= interval.high
    others = [f"{value}: {count}" for value, count in observed.most_common() if not expect.met_by(value)]
    rest = f" ({', '.join(others)})" if share == 1.0 and others else ""
    wrong = "" if holds else f"declared {stated}, measured {hits} of {requests}{rest}"
    if 0 < share < 1 and (not hits or (hits == requests and most < 1)):
        # The sample does not distinguish the declared share from 0, or from 1.
        least = f"at least {least_requests(share)} requests are needed"
        inconclusive = inconclusive or f"declared {share:.4%}, measured {hits} of {requests}; {least}"
    ends = (interval.low, interval.high)
    verdict, why = _verdict(wrong, inconclusive), wrong or inconclusive
    return Measurement(expect.what, verdict, requests, share, hits / requests, ends, dict(observed), why)


def judge_waypoints(expect: Expect, taken: Counter[str], sent: int) -> Measurement:
    """Judge the share of a waypoint in `sent` requests, by the waypoints' logs.

    Args:
        expect: The share.
        taken: Number of requests in the log of each waypoint.
        sent: Number of requests; one that is in no log makes the measurement inconclusive.
    """
    if not taken.total():
        return _no_data(expect, UNLOGGED)
    few = "" if sent >= expect.requests else f"only {sent} of {expect.requests} requests were made"
    lost = sent - taken.total()
    return _judge_share(
        expect, +taken, few or (f"{lost} of {sent} requests are in no waypoint's log" if lost > 0 else "")
    )


def judge_answers(expect: Expect, statuses: Counter[str]) -> Measurement:
    """Judge the statuses in the log of one waypoint."""
    if not statuses.total():
        return _no_data(expect, UNLOGGED.replace("no waypoint has logged", f"{expect.through} has logged none of"))
    few = statuses.total() < expect.requests
    why = f"only {statuses.total()} requests, at least {expect.requests} are wanted" if few else ""
    return _judge_share(expect, statuses, why)


def measure(config: LabConfig, expects: tuple[Expect, ...]) -> list[Measurement]:
    """Send the requests that the expectations need, each kind once, and judge all.

    Raises:
        KubectlError: The access logs cannot be read.
        ProbeError: The requests cannot be sent.
    """
    by_log = [one for one in expects if one.measure in (Measure.WAYPOINT, Measure.ANSWERED)]
    found = _by_answers(config, [one for one in expects if one not in by_log])
    if by_log:
        found |= _by_log(config, by_log)
    return [found[one] for one in expects]


def _workers(config: LabConfig) -> int:
    return DELAYED_WORKERS if config.stages.delay else WORKERS


def _limit_seconds(config: LabConfig, groups: list[Group]) -> float:
    """Return the limit of a probe, in which delays and retries have their time, too."""
    turns = sum(math.ceil(one.rounds / one.workers) for one in groups)
    return PROBE_SECONDS + turns * longest_seconds(config)


def _endpoint(expect: Expect) -> Requests:
    """Return the requests that an expectation needs."""
    return expect.method, expect.path, (expect.header,) if expect.header else ()


def _by_answers(config: LabConfig, expects: list[Expect]) -> dict[Expect, Measurement]:
    rounds: Counter[Requests] = Counter()
    for one in expects:
        rounds[_endpoint(one)] = max(rounds[_endpoint(one)], one.requests)
    if not rounds:
        return {}
    cookie = envoy_config.current_cookie(config) if any(one.header == WITH_COOKIE for one in expects) else ""
    groups = [
        Group(
            (Endpoint("", {"cookie": cookie} if WITH_COOKIE in headers else dict(headers), method, path),),
            rounds=count,
            workers=_workers(config),
        )
        for (method, path, headers), count in rounds.items()
    ]
    answers = dict(zip(rounds, send(config, groups, _limit_seconds(config, groups)), strict=True))
    kinds = dict.fromkeys(_endpoint(one) for one in expects if one.measure is Measure.IDENTITY)
    check_identities(config, [answer for kind in kinds for answer in answers[kind]])
    return {one: _with_latency(judge(one, answers[_endpoint(one)]), answers[_endpoint(one)]) for one in expects}


def _with_latency(found: Measurement, answers: list[Answer]) -> Measurement:
    return replace(found, latency=quantiles([one.seconds for one in answers if one.status]))


def _by_log(config: LabConfig, expects: list[Expect]) -> dict[Expect, Measurement]:
    """Send each request on a connection of its own, since waypoints share connections, and read the waypoints' logs."""
    agent, began, workers = access_log.agent(), time.monotonic(), _workers(config)
    method, path, headers = _endpoint(expects[0])
    endpoint = Endpoint(method=method, path=path, headers={**dict(headers), "user-agent": agent})
    rounds = max(one.requests for one in expects)
    groups = [Group((endpoint,), rounds=rounds, workers=workers, fresh_workers=workers)]
    (answers,) = send(config, groups, _limit_seconds(config, groups))
    logged = access_log.answers(config, agent, len(answers), began)
    taken = access_log.totals(logged)
    found = {
        one: judge_answers(one, logged.get(one.through, Counter()))
        if one.measure is Measure.ANSWERED
        else judge_waypoints(one, taken, len(answers))
        for one in expects
    }
    return {one: _with_latency(item, answers) for one, item in found.items()}
