from tests.unit.components.recording import run
from tests.unit.configs import lab_config
from waypoint_lab.program import build


def test_chaos_with_a_fault_header_limits_the_fault_but_not_retries_and_timeout() -> None:
    fault = {"header": {"name": "end-user", "value": "jane"}}
    config = lab_config("waypoint", "abort", "retries", fault=fault, retries={"writes": True})
    record = run(lambda: build.build(config))
    first, last = record.inputs("reviews-fault-rule")["spec"]["http"]
    assert ("fault" in first, "fault" in last) == (True, False)
    assert first["retries"] == last["retries"]
    assert first.get("timeout") == last.get("timeout")
