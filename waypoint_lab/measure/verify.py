"""`lab verify`: measures what is on now, and judges it against what the stack declares."""

import json
import statistics as numbers
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import access_log
from waypoint_lab.measure.probe import Row, group, send
from waypoint_lab.measure.statistics import binomial_interval, median_interval
from waypoint_lab.stages.table import Expect, Measure

CONFIDENCE = 0.999  # a walk judges several shares: at 99 % one walk in twenty would miss by chance


@dataclass(frozen=True)
class Verdict:
    """One expectation, measured. `interval` is that of the measured share, or of the median of a latency in seconds."""

    what: str
    passed: bool
    requests: int
    declared: float
    measured: float
    interval: tuple[float, float]
    observed: dict[str, int]
    why: str = ""


def _seen(row: Row, measure: Measure) -> str:
    if measure is Measure.STATUS:
        return str(row.status) if row.status else row.colour
    if measure is Measure.COLOUR:
        return row.colour if row.status == 200 else str(row.status or row.colour)
    return row.proxied


def scaled(item: Verdict, value: float) -> str:
    """A share as percent, or a latency in seconds."""
    return f"{value:.3f} s" if item.what.endswith(" later") else f"{value:.2%}"


def judge(expect: Expect, rows: list[Row]) -> Verdict:
    """The verdict on `rows`; none at all, or fewer than asked for, is never a pass."""
    short = "" if len(rows) >= expect.requests else f"only {len(rows)} of {expect.requests} requests were made"
    if not rows:
        return Verdict(expect.what, False, 0, expect.share, 0.0, (0.0, 1.0), {}, "no data")
    if expect.measure is Measure.SECONDS:
        times = sorted(row.seconds for row in rows if row.status)
        if not times:
            return Verdict(expect.what, False, len(rows), expect.low, 0.0, (0.0, 0.0), {"0": len(rows)}, "no answer")
        middle = numbers.median(times)
        inside = expect.low <= middle <= expect.high
        # Only answers have a latency: a median over the few that came would hide all those that did not.
        silent = len(rows) - len(times)
        short = short or (f"{silent} of {len(rows)} requests had no answer" if silent else "")
        why = short or ("" if inside else f"the median must lie between {expect.low:g} and {expect.high:g} s")
        seen = Counter(_seen(row, Measure.STATUS) for row in rows)
        spread = median_interval(times, CONFIDENCE)
        ends = (spread.low, spread.high)
        return Verdict(expect.what, inside and not short, len(rows), expect.low, middle, ends, dict(seen), why)
    return _counted(expect, Counter(_seen(row, expect.measure) for row in rows), short)


def _counted(expect: Expect, observed: Counter[str], short: str) -> Verdict:
    """The verdict on a share; `short` says why the sample cannot pass, and is empty where it can."""
    hits, requests = observed.get(expect.value, 0), observed.total()
    interval = binomial_interval(hits, requests, CONFIDENCE)
    # A share of all or nothing has no spread: a single exception is one too many.
    exact = expect.share in (0.0, 1.0)
    holds = hits == round(expect.share * requests) if exact else interval.holds(expect.share)
    why = short or ("" if holds else f"declared {expect.share:.2%}, measured {hits} of {requests}")
    ends = (interval.low, interval.high)
    return Verdict(expect.what, holds and not short, requests, expect.share, hits / requests, ends, dict(observed), why)


def judge_waypoints(expect: Expect, taken: Counter[str], sent: int) -> Verdict:
    """The verdict on which waypoints took `sent` requests, by their logs; what is not logged is no pass."""
    if not taken.total():
        why = "no data: no waypoint has logged these requests; is stages.accessLog on?"
        return Verdict(expect.what, False, 0, expect.share, 0.0, (0.0, 1.0), {}, why)
    short = "" if sent >= expect.requests else f"only {sent} of {expect.requests} requests were made"
    lost = sent - taken.total()
    short = short or (f"{lost} of {sent} requests are in no waypoint's log" if lost > 0 else "")
    return _counted(expect, +taken, short)


def judge_answers(expect: Expect, statuses: Counter[str]) -> Verdict:
    """The verdict on what one waypoint answered with, by its log."""
    if not statuses.total():
        why = f"no data: {expect.through} has logged none of these requests; is stages.accessLog on?"
        return Verdict(expect.what, False, 0, expect.share, 0.0, (0.0, 1.0), {}, why)
    few = statuses.total() < expect.requests
    return _counted(
        expect, statuses, f"only {statuses.total()} requests, at least {expect.requests} are wanted" if few else ""
    )


def measure(config: LabConfig, expects: tuple[Expect, ...]) -> list[Verdict]:
    """Sends what the expectations need, each kind of request once, and judges all. Raises ProbeError."""
    by_log = [item for item in expects if item.measure in (Measure.WAYPOINT, Measure.ANSWERED)]
    found = _measure(config, [item for item in expects if item not in by_log])
    if by_log:
        found |= _by_log(config, by_log)
    return [found[item] for item in expects]


def _by_log(config: LabConfig, expects: list[Expect]) -> dict[Expect, Verdict]:
    """Sends each request on a connection of its own, since connections are what is shared, and asks the waypoints."""
    agent, wanted, began = access_log.agent(), group(max(expects, key=lambda item: item.requests)), time.monotonic()
    workers = _concurrency(config)
    wanted |= {"headers": {**wanted["headers"], "user-agent": agent}, "fresh_workers": workers}
    (rows,) = send(config, [wanted], concurrency=workers)
    answers = access_log.answers(config, agent, len(rows), began)
    taken = access_log.totals(answers)
    return {
        item: judge_answers(item, answers.get(item.through, Counter()))
        if item.measure is Measure.ANSWERED
        else judge_waypoints(item, taken, len(rows))
        for item in expects
    }


def _measure(config: LabConfig, expects: list[Expect]) -> dict[Expect, Verdict]:
    if not expects:
        return {}
    kinds: dict[str, dict[str, Any]] = {}
    for expect in expects:
        wanted = group(expect)
        kind = json.dumps([wanted["method"], wanted["headers"]])
        if kind not in kinds or kinds[kind]["requests"] < wanted["requests"]:
            kinds[kind] = wanted
    answers = dict(zip(kinds, send(config, list(kinds.values()), concurrency=_concurrency(config)), strict=True))
    return {item: judge(item, answers[json.dumps([group(item)["method"], group(item)["headers"]])]) for item in expects}


def _concurrency(config: LabConfig) -> int:
    return 30 if config.stages.delay else 8
