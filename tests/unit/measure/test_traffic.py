"""Requests of users by role, from counters and access logs."""

from collections.abc import Callable

import pytest

from tests.unit.configs import lab_config
from tests.unit.measure.waypoint_logs import ADDRESS, REAL
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure import access_log, endpoint_counters, traffic
from waypoint_lab.measure.endpoint_counters import Counts, Destination, EndpointCounters
from waypoint_lab.measure.traffic import LoggedRequest, TrafficReader
from waypoint_lab.measure.unpaired import Outcomes

HOST = "{}.bookinfo-backends.svc.cluster.local"
CANARY, BASELINE = HOST.format("reviews-stable"), HOST.format("reviews-baseline")
CONFIG = lab_config("waypoint", "canary", "accessLog")


def counters(canary: Counts, baseline: Counts, port: int = 9080) -> EndpointCounters:
    others = {Destination(HOST.format("reviews-stable-two"), port): {"a": Counts(9, 9)}}
    found = {Destination(CANARY, port): {"a": canary}, Destination(BASELINE, port): {"b": baseline}}
    return EndpointCounters({"w-1": {**found, **others}})


def started(config: LabConfig = CONFIG) -> TrafficReader:
    """Return a reader that has read the counters for the first time."""
    reader = TrafficReader(config)
    assert reader.read() is None
    return reader


def line(host: str, at: int, status: int = 200, milliseconds: int = 5) -> str:
    text = REAL.replace(HOST.format("reviews"), host).replace("19.543Z", f"{at:06.3f}Z")
    return text.replace(" 200 - ", f" {status} - ").replace(" 440 5 4 ", f" 440 {milliseconds} 4 ")


class Scene:
    """Counters and logs in turn; an error is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counters: list[EndpointCounters | KubectlError] = []
        self.logs: list[list[str]] = []
        monkeypatch.setattr(access_log, "addresses", lambda _config: (ADDRESS,))
        monkeypatch.setattr(access_log, "pod_log", lambda *_args: "\n".join(self.logs.pop(0)))
        monkeypatch.setattr(endpoint_counters, "read", self._read)

    def _read(self, *_args: object) -> EndpointCounters:
        found = self.counters.pop(0)
        if isinstance(found, KubectlError):
            raise found
        return found


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_read_returns_the_new_requests_of_both_backends(scene: Scene) -> None:
    old, new = line(CANARY, 1), line(BASELINE, 2, 503, 40)
    scene.logs = [[old], [old, new, line("other", 3)]]
    scene.counters = [counters(Counts(5, 5), Counts(7, 7)), counters(Counts(9, 8, 1), Counts(10, 8, 0, 2))]
    block = started().read()
    assert block
    assert {"canary": Outcomes(4, 1), "baseline": Outcomes(1, 0)} == block.tries
    assert {"canary": [], "baseline": [LoggedRequest(503, 40, failed=True)]} == block.logged


def test_read_without_access_logs_returns_tries_alone(scene: Scene) -> None:
    scene.counters = [counters(Counts(), Counts()), counters(Counts(2, 2), Counts(), port=80)]
    block = started(lab_config("waypoint", "canary")).read()
    assert block
    assert {"canary": Outcomes(), "baseline": Outcomes()} == block.tries
    assert block.logged is None


def test_read_after_a_failure_has_the_requests_of_both_intervals(scene: Scene) -> None:
    old, new = line(CANARY, 1), line(CANARY, 2)
    scene.logs = [[old], [old, new]]
    scene.counters = [counters(Counts(5, 5), Counts()), KubectlError("busy"), counters(Counts(9, 9), Counts())]
    reader = started()
    assert reader.read() is None
    block = reader.read()
    assert block
    assert block.tries["canary"] == Outcomes(4)
    assert block.logged
    assert block.logged["canary"] == [LoggedRequest(200, 5)]


def test_read_counts_a_request_once_where_the_read_before_was_late(scene: Scene) -> None:
    first, second, third, fourth = (line(CANARY, at) for at in (1, 2, 3, 4))
    # A late read looks back less far than the next one.
    scene.logs = [[], [first, second], [third], [second, third, fourth]]
    scene.counters = [counters(Counts(), Counts())] * 4
    reader = started()
    found = [reader.read() for _ in range(3)]
    assert [len(block.logged["canary"]) for block in found if block and block.logged] == [2, 1, 1]


@pytest.mark.parametrize(("message", "limit"), [("pods is forbidden", 20.0), ("busy", -1.0)])
def test_read_that_fails_for_good_raises(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, message: str, limit: float
) -> None:
    scene.logs = [[]]
    scene.counters = [counters(Counts(), Counts()), KubectlError(message)]
    reader = started()
    monkeypatch.setattr(traffic, "UNREADABLE_SECONDS", limit)
    with pytest.raises(KubectlError, match=message):
        reader.read()


def test_read_without_running_pod_of_the_waypoint_raises(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.logs = [[]]
    scene.counters = [counters(Counts(), Counts()), EndpointCounters({})]
    reader = started()
    monkeypatch.setattr(traffic, "UNREADABLE_SECONDS", -1.0)
    with pytest.raises(KubectlError, match=r"^waypoint bookinfo-backends/waypoint has no running Pod$"):
        reader.read()


BOUND = {"status": {"conditions": [{"type": traffic.BOUND, "lastTransitionTime": "2026-01-02T03:04:05Z"}]}}


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (BOUND, "which serves bookinfo-backends/reviews since 2026-01-02T03:04:05Z; connections that are older do not"),
        ({"status": {"conditions": []}}, "which serves bookinfo-backends/reviews; connections that are older do not"),
        ({}, "which serves bookinfo-backends/reviews; connections that are older do not"),
        (KubectlError("busy"), "which serves bookinfo-backends/reviews; connections that are older do not"),
    ],
)
def test_none_passed_names_the_time_from_which_on_connections_pass(
    monkeypatch: pytest.MonkeyPatch, service: dict[str, object] | KubectlError, said: str
) -> None:
    def get(*_args: object) -> dict[str, object]:
        if isinstance(service, KubectlError):
            raise service
        return service

    monkeypatch.setattr(kubectl, "get", get)
    assert said in traffic.none_passed(CONFIG)


def test_read_without_permission_raises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_limits: object) -> list[Callable[[], None]]:
        raise KubectlError('pods is forbidden: User "ci" cannot list resource "pods"')

    monkeypatch.setattr(kubectl, "items", refused)
    with pytest.raises(KubectlError, match="grant `get` and `list` on pods and `create` on pods/exec there"):
        TrafficReader(lab_config("waypoint", "canary")).read()
