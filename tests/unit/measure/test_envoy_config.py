"""Wait until the client's traffic uses the declared waypoints."""

import json

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import FIRST, MINE, NEXT, Kubectl, Sends, config, line, logged, use
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import NotSyncedError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.client import WORKERS, Answer


@pytest.fixture
def sends(monkeypatch: pytest.MonkeyPatch) -> Sends:
    monkeypatch.setattr(envoy_config, "POLL_SECONDS", 0.001)
    return Sends(monkeypatch, envoy_config)


def wait(given: LabConfig, limit_seconds: float = 5.0) -> None:
    envoy_config.wait_for_traffic(given, limit_seconds)


def test_wait_for_traffic_retries_until_idle_waypoint_gets_no_request(
    monkeypatch: pytest.MonkeyPatch, sends: Sends
) -> None:
    once = {"waypoint": [[line()] * 7, [line()] * 8], "waypoint_next": [[line()], []]}
    use(monkeypatch, **once)
    wait(config(0))
    assert len(sends.groups) == 2
    for (group,) in sends.groups:
        assert (group.rounds, group.workers, group.fresh_workers) == (8, WORKERS, WORKERS)
        assert group.endpoints[0].headers == {"user-agent": MINE}


@pytest.mark.parametrize(("weight", "stray"), [(0, NEXT), (100, FIRST)])
def test_wait_for_traffic_names_the_idle_waypoint_with_requests(
    monkeypatch: pytest.MonkeyPatch, sends: Sends, weight: int, stray: str
) -> None:
    use(monkeypatch, **logged(4, 4))
    with pytest.raises(NotSyncedError) as caught:
        wait(config(weight), limit_seconds=0)
    assert str(caught.value) == (
        f"requests go through the waypoint, and none through {stray}: not within 0 s: {stray} took 4 of them"
    )


def test_wait_for_traffic_ignores_requests_not_yet_logged(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    use(monkeypatch, **logged(0, 0))
    wait(config(0))
    assert len(sends.groups) == 1


@pytest.mark.parametrize(
    "given",
    [
        config(20),
        lab_config("waypoint", waypoint={"canary": {"name": NEXT}}),
        lab_config("waypoint", "accessLog"),
    ],
)
def test_wait_for_traffic_without_logging_idle_waypoint_reads_no_log(
    monkeypatch: pytest.MonkeyPatch, sends: Sends, given: LabConfig
) -> None:
    fake: Kubectl = use(monkeypatch)
    wait(given)
    assert (len(sends.groups), fake.commands) == (1, [])


def test_wait_for_traffic_past_the_waypoint_reads_no_log(monkeypatch: pytest.MonkeyPatch, sends: Sends) -> None:
    fake = use(monkeypatch)
    sends.answer = Answer(200, "none", proxied=False)
    with pytest.raises(
        NotSyncedError, match=r"^requests go through .*: not within 0 s: 8 of 8 requests did not \(200\)$"
    ):
        wait(config(0), limit_seconds=0)
    assert fake.commands == []


def test_wait_for_traffic_without_an_answer_names_its_reason(sends: Sends) -> None:
    sends.answer = Answer(0, error="TimeoutError")
    with pytest.raises(NotSyncedError, match=r"8 of 8 requests did not \(TimeoutError\)$"):
        wait(lab_config("waypoint"), limit_seconds=0)


def test_wait_for_a_waypoint_without_running_pod_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "items", lambda *_args: [])
    with pytest.raises(NotSyncedError, match="waypoint bookinfo-backends/waypoint has no running Pod"):
        envoy_config.wait(lab_config("waypoint"), 0.01)


def test_difference_names_the_pod_and_asks_none_that_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"metadata": {"name": "w-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    asked: list[str] = []
    monkeypatch.setattr(kubectl, "items", lambda *_args: [ends, {"metadata": {"name": "w-1"}}])
    monkeypatch.setattr(
        kubectl, "run", lambda _target, *what, **_limits: asked.append(what[3]) or json.dumps({"configs": []})
    )
    why = "Pod w-1: the waypoint has no listener for reviews:9080"
    assert envoy_config.difference(lab_config("waypoint")) == why
    monkeypatch.setattr(envoy_config, "problem", lambda *_args: "")
    assert envoy_config.difference(lab_config("waypoint")) == ""
    assert asked == ["w-1", "w-1"]
    assert envoy_config.difference(lab_config()) == ""
    assert asked == ["w-1", "w-1"], "without a waypoint nothing is asked"
