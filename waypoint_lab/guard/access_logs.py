"""Latencies, and answers that a waypoint gives itself, from the access logs of a namespace's waypoints."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.measure import access_log
from waypoint_lab.measure.endpoint_counters import GATEWAY_LABEL, Destination, destination

SPARE_SECONDS = 5  # kubectl counts whole seconds, by the node's clock


@dataclass(frozen=True)
class LoggedTraffic:
    """Requests in the access logs.

    Attributes:
        latencies: Seconds of the requests to each destination, by interval.
        answers: Number of the requests that reached no endpoint, by status and Envoy's response flags.
    """

    latencies: dict[Destination, list[list[float]]]
    answers: Counter[str]


def parsed(text: str, seconds: Sequence[float]) -> LoggedTraffic | None:
    """Return the newest requests in a log.

    Args:
        text: Lines of all Pods.
        seconds: Lengths of the intervals; the last one ends with the newest line.

    Returns:
        The requests; None where no line is a request.
    """
    lines = [*access_log.requests(text)]
    times = [datetime.fromisoformat(found["start"]).timestamp() for found in lines]
    if not times:
        return None
    ends = list(accumulate(seconds))
    began = max(times) - ends[-1]
    latencies: dict[Destination, list[list[float]]] = defaultdict(lambda: [[] for _ in seconds])
    answers: Counter[str] = Counter()
    for found, start in zip(lines, times, strict=True):
        if start < began:
            continue
        where = destination(found["cluster"])
        if found["upstream"] == "-" or where is None:
            answers[f"{found['status']} {found['flags']}".removesuffix(" -")] += 1
        else:
            interval = next((index for index, end in enumerate(ends) if start - began <= end), len(ends) - 1)
            latencies[where][interval].append(int(found["milliseconds"]) / 1000)
    return LoggedTraffic(dict(latencies), answers)


def read(waypoints: Waypoints, seconds: Sequence[float]) -> LoggedTraffic | None:
    """Return the requests of the last `seconds`; None where the waypoints write no access log.

    Args:
        waypoints: The waypoints.
        seconds: Lengths of the intervals, up to now.

    Raises:
        KubectlError: A log cannot be read.
    """
    return parsed(_text(waypoints, round(sum(seconds)) + SPARE_SECONDS), seconds)


def outcomes(waypoints: Waypoints, since: float) -> list[tuple[float, str]]:
    """Return the start, in seconds since 1970, and the outcome of each request, as text: its destination or answer.

    Args:
        waypoints: The waypoints.
        since: Start of the first request, in seconds since 1970.

    Raises:
        KubectlError: A log cannot be read.
    """
    found = []
    for one in access_log.requests(_text(waypoints, round(time.time() - since) + SPARE_SECONDS)):
        where = destination(one["cluster"])
        failed = "" if one["status"] < "500" else f" {one['status']}"
        answer = f"{one['status']} {one['flags']}".removesuffix(" -")
        text = answer if one["upstream"] == "-" or where is None else f"{where}{failed}"
        found.append((datetime.fromisoformat(one["start"]).timestamp(), text))
    return sorted(one for one in found if one[0] >= since)


def _text(waypoints: Waypoints, since: int) -> str:
    """Return the log of all Pods over the last seconds."""
    selector = f"{GATEWAY_LABEL} in ({','.join(waypoints.names)})"
    return access_log.selected(waypoints.target, waypoints.namespace, selector, since)
