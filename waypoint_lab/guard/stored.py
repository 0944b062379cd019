"""Observations as JSON, for a comparison by another process."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from waypoint_lab.errors import GuardError
from waypoint_lab.guard.observation import BrokenRoute, Observation, Series, WaypointState
from waypoint_lab.guard.sampling import LEAST_INTERVALS
from waypoint_lab.measure.endpoint_counters import Destination

VERSION = 2
Latencies = Sequence[Sequence[float]]


def dump(observation: Observation, namespace: str) -> str:
    """Return an observation of a namespace's waypoints as JSON in one line.

    A latency is kept as whole milliseconds with its number, so that the text does not grow with the traffic.
    """
    state = observation.state
    document = {
        "version": VERSION,
        "namespace": namespace,
        "seconds": observation.seconds,
        "series": [[*where, *_series(series)] for where, series in observation.series.items()],
        "answers": observation.answers,
        "rejections": state.rejections,
        "broken": sorted([*route.where, *route[1:]] for route in state.broken),
        "services": sorted(state.services),
        "groups": [sorted(group) for group in state.groups],
        "refused": state.refused,
    }
    return json.dumps(document)


def _series(series: Series) -> tuple[Any, ...]:
    if series.latencies is None:
        return *series[:3], None
    return *series[:3], [Counter(round(1000 * one) for one in times) for times in series.latencies]


def load(text: str) -> tuple[Observation, str]:
    """Return an observation, and the namespace of its waypoints.

    Raises:
        GuardError: The text is not an observation of this version.
    """
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise GuardError(f"observation: it has version {document['version']}, not {VERSION}; observe again")
        if len(document["seconds"]) < LEAST_INTERVALS:
            raise ValueError("too few intervals")
        state = WaypointState(
            document["rejections"],
            frozenset(BrokenRoute(Destination(*route[:3]), *route[3:]) for route in document["broken"]),
            frozenset(Destination(*item) for item in document["services"]),
            [frozenset(Destination(*item) for item in group) for group in document["groups"]],
            document["refused"],
        )
        series = {
            Destination(*item[:3]): Series(item[3], item[4], item[5], _times(item[6])) for item in document["series"]
        }
        return Observation(document["seconds"], series, state, document["answers"]), str(document["namespace"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"it is not one of `lab outcome observe` ({type(error).__name__}); observe again"
        raise GuardError(f"observation: {text}") from None


def _times(latencies: Sequence[Mapping[str, int]] | None) -> Latencies | None:
    if latencies is None:
        return None
    return [[int(one) / 1000 for one, count in times.items() for _ in range(count)] for times in latencies]
