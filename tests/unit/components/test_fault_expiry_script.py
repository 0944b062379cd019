"""The Job's own program, against an API server of three lines."""

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
        rules = [
            {"fault": {"abort": {}}, "route": [{"destination": {"host": "up.shop"}, "weight": 80}]},
            {"route": [{"destination": {"host": "new.shop"}}]},
        ]
        notes = {f"waypoint-lab/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.item: dict[str, Any] = {"metadata": {"annotations": notes}, "spec": {"http": rules}}

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, float]:
        assert path == "/vs"
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


def test_the_clock_starts_when_the_fault_is_seen_and_its_end_is_written_down(api: Api) -> None:
    assert script.step(SPEC, {}) == 0
    assert api.item["metadata"]["annotations"]["waypoint-lab/fault-until"] == "abc 1970-01-01T00:17:11Z"
    assert faulty(api)


def test_a_restarted_pod_keeps_the_end_that_is_written_down(api: Api) -> None:
    script.step(SPEC, {})
    api.now += 20
    assert script.step(SPEC, {}) == script.POLL_SECONDS
    assert api.writes == 1


def test_the_fault_is_taken_out_at_its_end_and_everything_else_stays(api: Api) -> None:
    script.step(SPEC, {})
    api.now += 31
    assert script.step(SPEC, {}) == 0
    assert not faulty(api)
    assert api.item["spec"]["http"][0]["route"] == [{"destination": {"host": "old.shop"}, "weight": 80}]
    assert api.item["metadata"]["annotations"]["waypoint-lab/fault-expired"] == "abc"


def test_it_stays_a_while_to_take_out_what_a_late_update_writes_once_more(api: Api) -> None:
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


def test_another_fault_on_the_rule_is_left_alone(api: Api) -> None:
    api.item["metadata"]["annotations"]["waypoint-lab/fault"] = "other"
    api.now += 1e6
    assert script.step(SPEC, {}) == script.POLL_SECONDS
    assert faulty(api)


@pytest.mark.parametrize("status", [404, 500, 403])
def test_an_api_server_that_refuses_is_asked_again(api: Api, status: int) -> None:
    api.status = status
    assert script.step(SPEC, {}) in (script.POLL_SECONDS, script.RETRY_SECONDS)
