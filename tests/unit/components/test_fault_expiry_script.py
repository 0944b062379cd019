"""The program of the expiry Job, with a small API server."""

import copy
from typing import Any

import pytest

from components._internal import fault_expiry_script as script

SPEC = {"path": "/vs", "fault": "abc", "seconds": 30, "hosts": {"up.shop": "old.shop"}}


class Api:
    """One VirtualService, and a clock."""

    def __init__(self, **annotations: str) -> None:
        self.now = 1000.0
        self.writes = 0
        self.status = 200
        self.refused = 0
        rules = [
            {"fault": {"abort": {}}, "route": [{"destination": {"host": "up.shop"}, "weight": 80}]},
            {"route": [{"destination": {"host": "new.shop"}}]},
        ]
        notes = {f"waypoint-lab/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.item: dict[str, Any] = {"metadata": {"annotations": notes}, "spec": {"http": rules}}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
        assert path == "/vs"
        if method == "PUT" and self.refused:
            return self.refused, {"message": "no"}, self.now
        if method == "PUT" and self.status == 200:
            self.item = copy.deepcopy(body)
            self.writes += 1
        return self.status, copy.deepcopy(self.item) if self.status == 200 else {"message": "no"}, self.now


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    found = Api(fault="abc")
    monkeypatch.setattr(script, "ask", found.ask)
    return found


def faulty(api: Api) -> bool:
    hosts = {entry["destination"]["host"] for rule in api.item["spec"]["http"] for entry in rule["route"]}
    return any("fault" in rule for rule in api.item["spec"]["http"]) or "up.shop" in hosts


def test_step_that_first_sees_the_fault_writes_its_end(api: Api) -> None:
    assert script.step(SPEC, {}) == 0
    assert api.item["metadata"]["annotations"]["waypoint-lab/fault-until"] == "abc 1970-01-01T00:17:11Z"
    assert faulty(api)


def test_step_of_a_restarted_pod_keeps_the_written_end(api: Api) -> None:
    script.step(SPEC, {})
    api.now += 20
    assert script.step(SPEC, {}) == script.POLL_SECONDS
    assert api.writes == 1


def test_step_after_the_end_removes_the_fault_only(api: Api) -> None:
    script.step(SPEC, {})
    api.now += 31
    assert script.step(SPEC, {}) == 0
    assert not faulty(api)
    assert api.item["spec"]["http"][0]["route"] == [{"destination": {"host": "old.shop"}, "weight": 80}]
    assert api.item["metadata"]["annotations"]["waypoint-lab/fault-expired"] == "abc"


def test_step_after_a_late_update_removes_the_fault_again(api: Api) -> None:
    script.step(SPEC, {})
    api.now += 31
    script.step(SPEC, {})
    state: dict[str, float] = {}
    assert script.step(SPEC, state) == script.POLL_SECONDS
    api.item["spec"]["http"][0]["fault"] = {"abort": {}}
    api.item["metadata"]["annotations"]["waypoint-lab/fault-expired"] = ""
    script.step(SPEC, state)
    assert not faulty(api)
    state["gone"] -= script.LINGER_SECONDS
    assert script.step(SPEC, state) is None


def test_step_with_another_fault_changes_nothing(api: Api) -> None:
    api.item["metadata"]["annotations"]["waypoint-lab/fault"] = "other"
    api.now += 1e6
    assert script.step(SPEC, {}) == script.POLL_SECONDS
    assert faulty(api)


@pytest.mark.parametrize("status", [404, 500, 403])
def test_step_with_an_api_server_that_refuses_asks_again(api: Api, status: int) -> None:
    api.status = status
    assert 0 < script.step(SPEC, {}) <= script.MAX_RETRY_SECONDS


def test_step_whose_write_is_refused_backs_off_and_keeps_the_end(api: Api) -> None:
    state: dict[str, float] = {}
    api.refused = 403
    pauses = [script.step(SPEC, state) for _ in range(10)]
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    assert pauses[-1] == script.MAX_RETRY_SECONDS
    api.now += 29
    api.refused = 0
    assert script.step(SPEC, state) == 0
    assert api.item["metadata"]["annotations"]["waypoint-lab/fault-until"] == "abc 1970-01-01T00:17:11Z"


def test_step_after_an_unwritten_end_removes_the_fault(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    state: dict[str, float] = {}
    api.refused = 403
    script.step(SPEC, state)
    api.now += 32
    assert script.step(SPEC, state) > 0
    assert capsys.readouterr().out == "the API server refuses the write: 403 no\n" * 2
    api.refused = 0
    script.step(SPEC, state)
    assert not faulty(api)
    assert capsys.readouterr().out == "the fault has expired\n"
