"""Observations as JSON."""

import json

import pytest

from tests.unit.guard.observations import INTERVALS, destination, observed, series
from tests.unit.guard.test_comparison import with_state
from waypoint_lab.errors import GuardError
from waypoint_lab.guard.observation import BrokenRoute, Observation, WaypointState
from waypoint_lab.guard.stored import dump, load
from waypoint_lab.measure.endpoint_counters import Destination

TIMES = [0.001 * number for number in range(1, 41)]


def full() -> Observation:
    """Return an observation in which every field has a value."""
    state = WaypointState(
        {"pod-1": "no such formatter"},
        frozenset({BrokenRoute(destination("web"), "gone.shop", "unknown", "inbound-vip|80|http|gone.shop", 0.2)}),
        frozenset({destination("web"), Destination("web.shop", 80, "v1")}),
        [frozenset({destination("old"), destination("new")})],
        7,
    )
    seen = with_state(observed(web=series(40, 3, TIMES), old=80, new=20), state)
    return Observation(seen.seconds, seen.series, state, {"503 NC": 4})


def test_load_returns_what_was_dumped() -> None:
    seen = full()
    found, namespace = load(dump(seen, "shop"))
    assert (seen.state, seen.answers, seen.seconds, "shop") == (found.state, found.answers, found.seconds, namespace)
    assert {where: item[:3] for where, item in seen.series.items()} == {
        where: item[:3] for where, item in found.series.items()
    }
    times = found.series[destination("web")].latencies
    assert times is not None
    assert pytest.approx(sorted(one for interval in times for one in interval)) == TIMES
    assert len(times) == INTERVALS
    assert found.series[destination("old")].latencies is None


def test_dump_of_many_requests_stays_small() -> None:
    assert len(dump(observed(web=series(100_000, 0, [0.005] * 100_000)), "shop")) < 2000


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not JSON", json.dumps({"version": 1}), '{"version": 1.5}'])
def test_load_other_text_is_one_line(text: str) -> None:
    with pytest.raises(GuardError, match=r"^observation: it .*; observe again$"):
        load(text)
