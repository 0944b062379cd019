"""A sliding window of counters and logged requests; it starts again when the configuration changes.

All times but those of a node are by the monotonic clock, because the other one may be set while a view is open.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from waypoint_lab.live.envoy_state import place
from waypoint_lab.live.objects import RouteTarget
from waypoint_lab.measure import access_log
from waypoint_lab.measure.endpoint_counters import Counts, EndpointCounters, destination

MOST_LOGGED = 50_000  # lines of a window
LATE_SECONDS = 3.0  # without an answer of a Pod; tries of a longer silence, and longer than the window, do not count


@dataclass(frozen=True)
class Logged:
    """A request in an access log.

    Attributes:
        start: Its start by the node's clock, in seconds since 1970.
        at: The arrival of its line.
        address: Address of the Service that it was for.
        backend: The backend that answered; None where the waypoint did.
        status: The status; 0 where the client got no answer.
        flags: Envoy's response flags; empty without any.
        seconds: The latency, rounded down to milliseconds.
        pod: The Pod of the log.
    """

    start: float
    at: float
    address: str
    backend: RouteTarget | None
    status: int
    flags: str
    seconds: float
    pod: str


def logged(line: str, now: float, pod: str) -> Iterator[Logged]:
    """Yield the request in a line of a Pod's log, if it is one."""
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
            pod=pod,
        )


@dataclass
class Window:
    """The traffic of the last `seconds`.

    Attributes:
        seconds: Greatest length.
        began: Start; later than `now - seconds` after a change.
        counts: Tries in the window, by backend.
        totals: Tries since the start, by backend, without those of a Pod that was silent for longer than the window.
    """

    seconds: float
    began: float = 0.0
    _last: EndpointCounters = field(default_factory=lambda: EndpointCounters({}))
    _intervals: deque[tuple[float, Mapping[RouteTarget, Counts]]] = field(default_factory=deque)
    _lines: deque[Logged] = field(default_factory=lambda: deque(maxlen=MOST_LOGGED))
    _answered: dict[str, float] = field(default_factory=dict)  # time of the last answer, by Pod
    totals: dict[RouteTarget, Counts] = field(default_factory=dict)
    active: dict[RouteTarget, int] = field(default_factory=dict)

    def start(self, counters: EndpointCounters, now: float) -> None:
        """Begin the window now: forget the traffic of before."""
        self._add_totals(counters, now)
        silent = self._answered.keys() - counters.pods.keys()
        self._answered |= dict.fromkeys(silent, float("-inf"))  # their next tries are in part from before
        self.began = now
        self._intervals.clear()

    def baseline(self, counters: EndpointCounters) -> None:
        """Take counters as those of the start: their tries are from before."""
        self._last = EndpointCounters({**self._last.pods, **counters.pods})

    def add(self, counters: EndpointCounters, now: float) -> None:
        """Add the tries since the last call. A Pod that `counters` lacks is compared when it answers again."""
        self._intervals.append((now, self._add_totals(counters, now)))
        while self._intervals and self._intervals[0][0] <= now - self.seconds:
            self.began = self._intervals.popleft()[0]

    def _add_totals(self, counters: EndpointCounters, now: float) -> dict[RouteTarget, Counts]:
        longest = max(LATE_SECONDS, self.seconds)
        late = {one: now - self._answered.get(one, now) > longest for one in counters.pods}
        self.baseline(EndpointCounters({pod: found for pod, found in counters.pods.items() if late[pod]}))
        self._answered |= dict.fromkeys(counters.pods, now)
        found: dict[RouteTarget, Counts] = {}
        for where, counts in counters.since(self._last).items():
            found[place(where)] = found.get(place(where), Counts()).plus(counts)
        for where_to, counts in found.items():
            self.totals[where_to] = self.totals.get(where_to, Counts()).plus(counts._replace(active=0))
        self.active = _active(counters)
        self.baseline(counters)
        return found

    def add_line(self, one: Logged) -> None:
        """Add a request of an access log."""
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
        offsets: dict[str, float] = {}  # of the clock of each Pod's node to ours, which may be set at any time
        for one in self._lines:
            offsets[one.pod] = max(offsets.get(one.pod, float("-inf")), one.start + one.seconds - one.at)
        return [one for one in self._lines if one.start - offsets[one.pod] >= began]

    @property
    def lines_began(self) -> float:
        """Start of the time that the lines are of: later than `began` where they are more than MOST_LOGGED."""
        return max(self.began, self._lines[0].at) if len(self._lines) == self._lines.maxlen else self.began


def _active(counters: EndpointCounters) -> dict[RouteTarget, int]:
    found: Counter[RouteTarget] = Counter()
    for endpoints in counters.pods.values():
        for where, by_address in endpoints.items():
            found[place(where)] += sum(counts.active for counts in by_address.values())
    return dict(found)
