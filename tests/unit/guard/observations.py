"""Observations with fixed counts."""

from collections.abc import Iterable, Sequence

from waypoint_lab.guard.observation import Observation, Series, WaypointState
from waypoint_lab.measure.endpoint_counters import Destination

INTERVALS = 10


def destination(name: str) -> Destination:
    """Return a port of a Service."""
    return Destination(f"{name}.shop.svc.cluster.local", 80)


def series(requests: int, errors: int = 0, latencies: Sequence[float] | None = None) -> Series:
    """Return requests that are spread evenly over the intervals."""
    counts, failed = (_spread(number) for number in (requests, errors))
    successes = [count - wrong for count, wrong in zip(counts, failed, strict=True)]
    times = None if latencies is None else [latencies[number::INTERVALS] for number in range(INTERVALS)]
    return Series(counts, successes, failed, times)


def _spread(number: int) -> list[int]:
    return [number * (index + 1) // INTERVALS - number * index // INTERVALS for index in range(INTERVALS)]


def observed(groups: Iterable[Iterable[str]] = (), **given: Series | int) -> Observation:
    """Return an observation of 10 seconds; a number stands for requests that all succeed."""
    found = {destination(name): item if isinstance(item, Series) else series(item) for name, item in given.items()}
    members = [frozenset(map(destination, group)) for group in groups]
    return Observation([1.0] * INTERVALS, found, WaypointState(groups=members))
