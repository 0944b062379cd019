"""Schedules of faults: the file, and the settings of a fault."""

from pathlib import Path

import pytest

from tests.unit.configs import lab_config, of_step
from waypoint_lab.chaos.schedule import step_of
from waypoint_lab.chaos.schedule_file import load
from waypoint_lab.errors import ConfigError

HEALTH = "health: {url: 'http://127.0.0.1:1/'}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults: []\n", "exactly the keys health and faults"),
        ("health: {url: nowhere}\nfaults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 1}}]", "health.url"),
        (HEALTH + "faults: []", "a list of at least one fault"),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5}]", "faults.0.: it has no effect"),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {procent: 1}}]", "did you mean percent"),
        (
            HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5000, abort: {}}]",
            "5000 is not valid",
        ),
        (HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 101}}]", "abort.percent: 101"),
        (
            HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {}}, "
            "{startSeconds: 4, durationSeconds: 5, abort: {}}]",
            "the fault before ends later; use ",
        ),
    ],
)
def test_load_bad_schedule_names_the_entry(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load(file)


def test_step_of_fault_has_expiry_and_keeps_the_canary(tmp_path: Path) -> None:
    file = tmp_path / "schedule.yaml"
    file.write_text(
        HEALTH + "faults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 1.5}, "
        "header: {name: end-user, value: jane}}]"
    )
    (entry,) = load(file).faults
    step = step_of(entry, lab_config("waypoint", "canary"), "now")
    found = of_step(step.on, step.settings)
    assert (found.fault.duration_seconds, found.fault.start) == (35.0, "now")
    assert found.uses_virtual_service
    assert found.fault.header_pair == ("end-user", "jane")
    assert found.stages.on == {"waypoint", "canary", "abort"}
