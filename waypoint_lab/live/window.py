"""A sliding window of counters and logged requests; it starts again when the configuration changes."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from waypoint_lab.live.envoy_state import place
from waypoint_lab.live.objects import RouteTarget
from waypoint_lab.measure import access_log
from waypoint_lab.measure.endpoint_counters import Counts, EndpointCounters, destination

MOST_LOGGED = 50_000  # lines of a window


@dataclass(frozen=True)
class Logged:
    """A request in an access log.

    Attributes:
        start: Its start by the node's clock, in seconds since 1970.
        at: The arrival of its line by our own clock.
        address: Address of the Service that it was for.
        backend: The backend that answered; None where the waypoint did.
        status: The status; 0 where the client got no answer.
        flags: Envoy's response flags; empty without any.
        seconds: The latency, rounded down to milliseconds.
    """

    start: float
    at: float
    address: str
    backend: RouteTarget | None
    status: int
    flags: str
    seconds: float


def logged(line: str, now: float) -> Iterator[Logged]:
    """Yield the request in a line of a log, if it is one."""
    for one in access_log.requests(line):
        where = destination(one["cluster"]) if one["upstream"] != "-" else None
        yield Logged(
            start=datetime.fromisoformat(one["start"]).timestamp(),
            at=now,
            address=one["local"],
            backend=place(where) if where else None,
            status=int(one["status"]),
            flags="" if one["flags"] == "-" else one["flags"],
            seconds=int(one["milliseconds"]) / 1000,
        )


@dataclass
class Window:
    """The traffic of the last `seconds`.

    Attributes:
        seconds: Greatest length.
        began: Start by our own clock; later than `now - seconds` after a change.
        counts: Tries in the window, by backend.
        totals: Tries since the start, by backend.
    """

    seconds: float
    began: float = 0.0
    _last: EndpointCounters = field(default_factory=lambda: EndpointCounters({}))
    _intervals: deque[tuple[float, Mapping[RouteTarget, Counts]]] = field(default_factory=deque)
    _lines: deque[Logged] = field(default_factory=lambda: deque(maxlen=MOST_LOGGED))
    _offset: float = float("-inf")  # of the node's clock to ours
    totals: dict[RouteTarget, Counts] = field(default_factory=dict)
    active: dict[RouteTarget, int] = field(default_factory=dict)

    def start(self, counters: EndpointCounters, now: float) -> None:
        """Begin the window now: forget the traffic of before."""
        self._add_totals(counters)
        self._last, self.began = EndpointCounters({**self._last.pods, **counters.pods}), now
        self._intervals.clear()

    def baseline(self, counters: EndpointCounters) -> None:
        """Take counters as those of the start: their tries are from before."""
        self._last = EndpointCounters({**self._last.pods, **counters.pods})

    def add(self, counters: EndpointCounters, now: float) -> None:
        """Add the tries since the last call. A Pod that `counters` lacks is compared when it answers again."""
        changes = self._add_totals(counters)
        self._last = EndpointCounters({**self._last.pods, **counters.pods})
        self._intervals.append((now, changes))
        while self._intervals and self._intervals[0][0] <= now - self.seconds:
            self.began = self._intervals.popleft()[0]

    def _add_totals(self, counters: EndpointCounters) -> dict[RouteTarget, Counts]:
        found: dict[RouteTarget, Counts] = {}
        for where, counts in counters.since(self._last).items():
            found[place(where)] = found.get(place(where), Counts()).plus(counts)
        for where_to, counts in found.items():
            self.totals[where_to] = self.totals.get(where_to, Counts()).plus(counts._replace(active=0))
        self.active = _active(counters)
        return found

    def add_line(self, one: Logged) -> None:
        """Add a request of an access log."""
        self._offset = max(self._offset, one.start + one.seconds - one.at)
        self._lines.append(one)

    @property
    def counts(self) -> dict[RouteTarget, Counts]:
        """The tries in the window."""
        found: dict[RouteTarget, Counts] = {}
        for _, changes in self._intervals:
            for where, counts in changes.items():
                found[where] = found.get(where, Counts()).plus(counts)
        return found

    def lines(self, now: float) -> list[Logged]:
        """Return the logged requests that started in the window."""
        began = max(self.began, now - self.seconds)
        while self._lines and self._lines[0].at < now - self.seconds:
            self._lines.popleft()
        return [one for one in self._lines if one.start - self._offset >= began]


def _active(counters: EndpointCounters) -> dict[RouteTarget, int]:
    found: Counter[RouteTarget] = Counter()
    for endpoints in counters.pods.values():
        for where, by_address in endpoints.items():
            found[place(where)] += sum(counts.active for counts in by_address.values())
    return dict(found)
