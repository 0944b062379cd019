"""The reader of counters returns the requests since its last call."""

from collections.abc import Sequence

import pytest

from tests.unit.guard.observations import destination
from waypoint_lab.guard.readers import CounterReader
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import Counts, EndpointCounters

WEB = destination("web")


class NamedWaypoints:
    """Two waypoints of a namespace."""

    target, namespace, names = None, "shop", ("one", "two")


def test_reader_returns_the_requests_since_its_last_call(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = [EndpointCounters({"pod": {WEB: {"a": Counts(total, total)}}}) for total in (5, 8, 8)]
    asked: list[tuple[str, Sequence[str]]] = []

    def read(_target: object, namespace: str, waypoints: Sequence[str]) -> EndpointCounters:
        asked.append((namespace, waypoints))
        return snapshots.pop(0)

    monkeypatch.setattr(endpoint_counters, "read", read)
    reader = CounterReader(NamedWaypoints())  # type: ignore[arg-type]
    assert [reader()[WEB].requests for _ in range(3)] == [5, 3, 0]
    assert asked[0] == ("shop", ("one", "two"))
