"""Wait until Envoy has closed the connections of the listeners that it has replaced."""

import json

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.measure import draining

WAIT = "waiting until Envoy has closed connections of former listeners, 45 s by default: Pod waypoint-1"
LATE = "former listeners still have connections after 0 s; requests on them may fail: Pod waypoint-1"
ACTIVE = {"name": "main_internal", "active_state": {}}


def use(monkeypatch: pytest.MonkeyPatch, *dumps: list[dict[str, object]]) -> list[tuple[str, ...]]:
    """Let the waypoint's Envoy say these listeners, one dump after the other; return the commands."""
    left, commands = list(dumps), list[tuple[str, ...]]()

    def run(_target: object, *arguments: str, **_more: object) -> str:
        commands.append(arguments)
        return json.dumps({"configs": left.pop(0)})

    monkeypatch.setattr(kubectl, "run", run)
    monkeypatch.setattr(kubectl, "items", lambda *_arguments: [{"metadata": {"name": "waypoint-1"}}])
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.001)
    return commands


def waited(*on: str) -> list[str]:
    said: list[str] = []
    draining.wait(lab_config(*on), said.append)
    return said


def test_wait_without_a_draining_listener_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, [ACTIVE])
    assert waited("waypoint") == []


def test_wait_ends_when_no_listener_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    draining_one = {**ACTIVE, "draining_state": {}}
    commands = use(monkeypatch, [ACTIVE, draining_one], [draining_one], [ACTIVE])
    assert waited("waypoint", "accessLog") == [WAIT]
    assert len(commands) == 3


def test_wait_at_its_limit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, [{**ACTIVE, "draining_state": {}}])
    monkeypatch.setattr(draining, "LIMIT_SECONDS", 0.0)
    assert waited("waypoint") == [WAIT, LATE]


def test_wait_without_a_waypoint_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = use(monkeypatch)
    assert waited() == []
    assert commands == []
