"""Traffic of a namespace's waypoints in consecutive intervals, and the state of the waypoints at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from waypoint_lab.measure.endpoint_counters import Destination


class BrokenRoute(NamedTuple):
    """A route that cannot answer.

    Attributes:
        where: The Service whose requests it takes.
        backend: Host that it sends them to; empty where it sends them nowhere.
        why: The reason.
        cluster: Name of Envoy's cluster for that backend; empty where there is none.
        share: Share of the route's requests, 0 to 1.
    """

    where: Destination
    backend: str
    why: str
    cluster: str = ""
    share: float = 1.0


class Series(NamedTuple):
    """Requests to one destination, an item for each interval."""

    requests: Sequence[int] = ()
    successes: Sequence[int] = ()
    errors: Sequence[int] = ()
    latencies: Sequence[Sequence[float]] | None = None  # seconds; None where they are not measured

    @property
    def completed(self) -> list[int]:
        """Requests that have ended, by interval."""
        return [success + error for success, error in zip(self.successes, self.errors, strict=True)]


@dataclass(frozen=True)
class WaypointState:
    """Configuration of the waypoints.

    Attributes:
        rejections: Envoy's message for the configuration that it rejects, by Pod.
        broken: Routes that cannot answer.
        services: Ports of Services that the waypoints serve.
        groups: Destinations that routes choose between, one set for each connected group.
        refused: Requests that authorization policies have refused since the start of each Pod, in all.
    """

    rejections: Mapping[str, str] = field(default_factory=dict)
    broken: frozenset[BrokenRoute] = frozenset()
    services: frozenset[Destination] = frozenset()
    groups: Sequence[frozenset[Destination]] = ()
    refused: int = 0


@dataclass(frozen=True)
class Observation:
    """Traffic over a time.

    Attributes:
        seconds: Length of each interval.
        series: The requests to each destination.
        state: Configuration of the waypoints at the end.
        answers: Requests that reached no endpoint, by the waypoint's own answer; None where no access log is written.
    """

    seconds: Sequence[float]
    series: Mapping[Destination, Series]
    state: WaypointState = WaypointState()
    answers: Mapping[str, int] | None = None

    def of(self, destination: Destination) -> Series:
        """Return the requests to a destination; zeros where it had none."""
        zeros = (0,) * len(self.seconds)
        return self.series.get(destination) or Series(zeros, zeros, zeros)

    def total(self, group: frozenset[Destination]) -> list[int]:
        """Return the requests to a group of destinations, by interval."""
        return [sum(counts) for counts in zip(*(self.of(item).requests for item in group), strict=True)]
