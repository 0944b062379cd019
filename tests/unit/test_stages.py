import pytest

from lab.config import LabConfig
from lab.stages import BY_KEY, BY_NAME, STAGES, TOGGLES, Measure, Step, expectations


def config(*on: str, **fields: object) -> LabConfig:
    return LabConfig(stages=frozenset(("waypoint", *on)), **fields)  # type: ignore[arg-type]


def test_the_walk_goes_in_the_order_of_the_lab() -> None:
    walked = [row.name for row in STAGES if row.steps]
    order = ["waypoint", "l7-policy", "canary", "stable", "premium", "delay", "abort", "retries", "cleanup"]
    assert order == walked


def test_the_toggles_are_those_that_a_stack_may_set() -> None:
    assert TOGGLES == ("waypoint", "accessLog", "l7Policy", "canary", "premium", "delay", "abort", "retries")


def test_excluding_goes_both_ways() -> None:
    for row in STAGES:
        for other in row.excludes:
            assert row.key in BY_KEY[other].excludes


@pytest.mark.parametrize("step", [step for row in STAGES for step in row.steps])
def test_every_step_of_the_walk_is_a_config_that_reads_and_expects_something(step: Step) -> None:
    read = LabConfig.from_mapping({"stages": dict.fromkeys(step.on, True), **step.settings})
    assert expectations(read)


def test_three_retries_of_upstream_failures_leave_one_in_sixteen() -> None:
    (failures,) = BY_NAME["retries"].expects(config("abort", "retries", fault_at="upstream"))
    assert (failures.measure, failures.value, failures.share) == (Measure.STATUS, "503", 0.0625)


def test_retries_of_an_abort_in_the_same_rule_leave_all_failures() -> None:
    (failures,) = BY_NAME["retries"].expects(config("abort", "retries", fault_at="waypoint"))
    assert failures.share == 0.5


def test_a_premium_group_in_front_of_a_canary_keeps_the_weights_of_the_others() -> None:
    shares = {(item.value, item.header): item.share for item in expectations(config("canary", "premium"))}
    assert shares["black", ("end-user", "premium-user")] == 1.0
    assert shares["red", None] == 0.2


def test_a_stack_with_nothing_on_expects_no_waypoint_in_the_way() -> None:
    assert "no" in {item.value for item in expectations(LabConfig())}


def test_a_delay_that_outlasts_every_try_is_expected_as_a_timeout() -> None:
    seen = expectations(config("delay", "retries", fault_at="upstream", delay_seconds=2.0))
    assert [item.value for item in seen] == ["504"]
