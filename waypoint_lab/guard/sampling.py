"""Observe the traffic of waypoints over a time, by the counters of their Envoys."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from waypoint_lab.errors import KubectlError
from waypoint_lab.guard.access_logs import LoggedTraffic
from waypoint_lab.guard.observation import Observation, Series, WaypointState
from waypoint_lab.measure.endpoint_counters import REFUSED, Counts, Destination
from waypoint_lab.waiting import polls

INTERVALS = 30
LEAST_INTERVAL_SECONDS = 0.5
LEAST_INTERVALS = 2  # of fewer counts no variance is known
REPORT_SECONDS = 10.0
UNREADABLE_SECONDS = 20.0  # a Pod that is replaced, or an API server that is busy
QUIET_SECONDS = 2.0
# istiod collects changes for this time at most. Source: istio, PILOT_DEBOUNCE_MAX.
SETTLE_SECONDS = 10.0
POLL_SECONDS = 0.5
Report = Callable[[str], None]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Source:
    """Readers of a namespace's waypoints.

    Attributes:
        counts: Return the requests to each destination since the last call.
        log: Return the requests of the access logs over the last intervals; None where there is no log.
        processed: Return the number of configuration updates that each Pod has processed.
        state: Return the configuration.
    """

    counts: Callable[[], Mapping[Destination, Counts]]
    processed: Callable[[], Mapping[str, object]]
    state: Callable[[], WaypointState]
    log: Callable[[Sequence[float]], LoggedTraffic | None] = lambda _seconds: None


def observe(source: Source, seconds: float, what: str, report: Report) -> Observation:
    """Observe the traffic.

    An interval whose counters cannot be read is joined with the next one. Where the access log cannot be read, latency
    is not measured.

    Args:
        source: The readers.
        seconds: Length of the observation, at least 5; longer where the waypoints answer so slowly.
        what: Word for the lines of progress.
        report: Prints a line of progress.

    Raises:
        KubectlError: The counters cannot be read for UNREADABLE_SECONDS, or the configuration cannot be read.
    """
    length = max(LEAST_INTERVAL_SECONDS, seconds / INTERVALS)
    retried(source.counts)
    began = last = reported = time.monotonic()
    times: list[float] = []
    counted: list[Mapping[Destination, Counts]] = []
    while last - began < seconds or len(times) < LEAST_INTERVALS:
        time.sleep(max(0.0, last + length - time.monotonic()))
        counted.append(retried(source.counts))
        now = time.monotonic()
        times.append(now - last)
        last = now
        if now - reported >= REPORT_SECONDS:
            reported = now
            requests = sum(item.requests for counts in counted for item in counts.values())
            report(f"{what}: {now - began:.0f} of {seconds:g} s, {requests} requests")
    log = _log(source, times, report)
    known = sorted({name for counts in counted for name in counts})
    series = {where: _series(where, counted, log) for where in known}
    return Observation(times, series, retried(source.state), log.answers if log else None)


def _log(source: Source, times: Sequence[float], report: Report) -> LoggedTraffic | None:
    """Return the requests of the access logs; None where there are none, or where the logs cannot be read."""
    try:
        return retried(lambda: source.log(times))
    except KubectlError as error:
        report(f"latency is not measured: {error}")
        return None


def _series(where: Destination, counted: list[Mapping[Destination, Counts]], log: LoggedTraffic | None) -> Series:
    items = [counts.get(where) for counts in counted]
    return Series(
        [item.requests if item else 0 for item in items],
        [item.successes if item else 0 for item in items],
        [item.errors if item else 0 for item in items],
        log.latencies.get(where) if log else None,
    )


def retried(read: Callable[[], Value]) -> Value:
    """Return the value of a reader. Raise KubectlError after UNREADABLE_SECONDS, or at once without the permission."""
    for passed in polls(UNREADABLE_SECONDS, POLL_SECONDS):
        try:
            return read()
        except KubectlError as error:
            if passed >= UNREADABLE_SECONDS or REFUSED in str(error):
                raise
    raise AssertionError("polls yields once after its limit")


def settle(source: Source, report: Report) -> None:
    """Wait until no Envoy has processed an update for QUIET_SECONDS, at most SETTLE_SECONDS and twice as long.

    Args:
        source: The readers.
        report: Prints a line of progress.

    Raises:
        KubectlError: The counters cannot be read.
    """
    report("wait until the waypoints have processed their updates")
    known, since = retried(source.processed), time.monotonic()
    for _ in polls(2 * SETTLE_SECONDS, POLL_SECONDS):
        if (now := retried(source.processed)) != known:
            known, since = now, time.monotonic()
        if time.monotonic() - since >= QUIET_SECONDS:
            return
