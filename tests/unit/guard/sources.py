"""A source of counters that the test sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.unit.guard.observations import destination
from waypoint_lab.errors import KubectlError
from waypoint_lab.guard.observation import WaypointState
from waypoint_lab.guard.sampling import Source
from waypoint_lab.measure.endpoint_counters import Counts, Destination


@dataclass
class FakeSource:
    """Readers that return the same rates at each call, until the test changes them."""

    rates: dict[str, Counts] = field(default_factory=dict)
    state: WaypointState = field(default_factory=WaypointState)
    errors: int = 0  # calls that fail
    updates: list[int] = field(default_factory=lambda: [0])
    calls: int = 0

    def counts(self) -> Mapping[Destination, Counts]:
        """Return the requests of one interval."""
        self.calls += 1
        if self.errors:
            self.errors -= 1
            raise KubectlError("kubectl exec: busy")
        return {destination(name): counters for name, counters in self.rates.items()}

    def processed(self) -> dict[str, object]:
        """Return the next number of updates; the last one again and again."""
        return {"pod": self.updates.pop(0) if len(self.updates) > 1 else self.updates[0]}

    def readers(self) -> Source:
        """Return the readers."""
        return Source(self.counts, self.processed, lambda: self.state)


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move the time."""
        self.now += seconds
