"""Counters of endpoints are summed by destination, across Pods and restarts."""

import json
from typing import Any

from tests.unit.guard.envoys import HOST, clusters, endpoint
from waypoint_lab.guard.observation import Destination
from waypoint_lab.guard.readers import CounterReader, Counters

WEB = Destination(HOST.format("web"), 80)


class FakeWaypoints:
    """Waypoints whose Pods answer what the test sets."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}

    def ask(self, _path: str) -> dict[str, str]:
        return {pod: json.dumps(answer) for pod, answer in self.answers.items()}


def reader(**answers: dict[str, Any]) -> tuple[CounterReader, FakeWaypoints]:
    """Return a reader that has read once, and its waypoints."""
    waypoints = FakeWaypoints()
    waypoints.answers = answers
    made = CounterReader(waypoints)  # type: ignore[arg-type]
    made()
    return made, waypoints


def test_counters_of_all_pods_and_endpoints_are_summed() -> None:
    read, waypoints = reader(a=clusters(web=[endpoint("x", 5, 5)]), b=clusters(web=[endpoint("x", 1, 1)]))
    waypoints.answers = {
        "a": clusters(web=[endpoint("x", 8, 7, 1), endpoint("y", 2, 2)]),
        "b": clusters(web=[endpoint("x", 4, 4)]),
    }
    assert {WEB: Counters(8, 7, 1)} == read()


def test_counter_that_fell_is_that_of_a_new_endpoint() -> None:
    read, waypoints = reader(a=clusters(web=[endpoint("x", 50, 50)]))
    waypoints.answers = {"a": clusters(web=[endpoint("x", 3, 2, 1)])}
    assert {WEB: Counters(3, 2, 1)} == read()


def test_endpoint_that_was_away_counts_once() -> None:
    read, waypoints = reader(a=clusters(web=[endpoint("x", 50, 50)]))
    waypoints.answers = {}
    assert read() == {}
    waypoints.answers = {"a": clusters(web=[endpoint("x", 51, 51)])}
    assert {WEB: Counters(1, 1, 0)} == read()
