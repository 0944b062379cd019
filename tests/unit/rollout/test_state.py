"""State of a promotion after each record, its journal and its history."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.cli import history
from waypoint_lab.errors import LockedError
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.state import CanaryStep, Phase, current_state, plan

STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


def lines(*kinds: tuple[str, dict[str, Any]], start: float = 0.0, cohort: str = "") -> list[dict[str, Any]]:
    targets = plan(CanaryStep(start), STEPS, cohort)
    first = {"kind": "start", "from": CanaryStep(start).document(), "steps": [target.document() for target in targets]}
    return [{"promotion": "p", **first}, *({"promotion": "p", "kind": kind, **more} for kind, more in kinds)]


APPLY, PROMOTE = ("apply", {}), ("decision", {"decision": "promote", "why": ""})
PAUSE = ("decision", {"decision": "pause", "why": "w"})
ROLL_BACK = ("decision", {"decision": "roll back", "why": "w"})
END = ("end", {"phase": "RolledBack"})
END_BY_HAND = ("end", {"phase": "RolledBack", **CanaryStep(0).document()})


@pytest.mark.parametrize(
    ("kinds", "good", "now", "said"),
    [
        ((), 0, 0, "Progressing; no step passed, next is 1 %"),
        ((APPLY,), 0, 1, "Progressing; no step passed, applying 1 %"),
        ((APPLY, PROMOTE), 1, 1, "Progressing; 1 % passed, next is 5 %"),
        ((APPLY, PROMOTE, APPLY), 1, 5, "Progressing; 1 % passed, applying 5 %"),
        ((APPLY, PROMOTE, APPLY, PAUSE), 1, 5, "Paused at 5 %; 1 % passed"),
        ((APPLY, PROMOTE, APPLY, PAUSE, APPLY), 1, 5, "Progressing; 1 % passed, applying 5 %"),
        ((APPLY, PROMOTE, APPLY, ROLL_BACK), 1, 5, "RollingBack to 1 % (w)"),
        ((APPLY, PROMOTE, APPLY, ROLL_BACK, END), 1, 1, "RolledBack; at 1 %"),
        ((APPLY, PROMOTE, APPLY, ROLL_BACK, END_BY_HAND), 0, 0, "RolledBack; at 0 %"),
        ((APPLY, PROMOTE) * 5, 100, 100, "Progressing; all steps passed"),
    ],
)
def test_current_state_after_each_record_has_step_and_phase(
    kinds: tuple[Any, ...], good: float, now: float, said: str
) -> None:
    found = current_state(lines(*kinds))
    assert found
    assert (found.last_healthy.weight, found.current.weight) == (good, now)
    assert str(found) == f"p: {said}"


def test_current_state_rollback_after_promotion_targets_the_start() -> None:
    kinds = [*((APPLY, PROMOTE) * 5), ("end", {"phase": "Promoted"}), ("rollback", {"why": "by hand", "passed": 0})]
    found = current_state(lines(*kinds))
    assert found
    assert found.phase is Phase.ROLLING_BACK
    assert found.last_healthy == CanaryStep(0)


def test_current_state_without_journal_is_none() -> None:
    assert current_state([]) is None


def test_current_state_is_not_changed_by_records_of_another_promotion() -> None:
    records = [*lines(APPLY), {"promotion": "m", "kind": "decision", "decision": "roll back", "why": "w"}]
    assert str(current_state(records)) == "p: Progressing; no step passed, applying 1 %"


@pytest.mark.parametrize(
    ("step", "weight", "cohort"),
    [(CanaryStep(12.5), "12.5", None), (CanaryStep(20.0, "a=b"), "20", {"header": "a", "value": "b"})],
)
def test_settings_of_a_step_have_its_weight_and_its_cohort(step: CanaryStep, weight: str, cohort: object) -> None:
    found = step.settings()
    assert (weight, cohort) == (str(found["canary.weight"]), found["canary.cohort"])


def test_changes_of_a_step_that_is_declared_are_none() -> None:
    declared = lab_config("waypoint", "canary", canary={"weight": 20})
    assert CanaryStep(20).changes(declared) == {}
    assert CanaryStep(50).changes(declared) == {"canary.weight": 50}


def test_plan_skips_weights_the_canary_has() -> None:
    assert plan(CanaryStep(5), STEPS, "") == [CanaryStep(20), CanaryStep(50), CanaryStep(100)]
    assert plan(CanaryStep(100), STEPS, "") == []
    assert plan(CanaryStep(5, "a=b"), (20, 100), "") == [CanaryStep(20, "a=b"), CanaryStep(100, "a=b")]


def test_plan_with_cohort_adds_it_first_and_removes_it_last() -> None:
    found = plan(CanaryStep(0), (10, 100), "a=b")
    assert found == [CanaryStep(0, "a=b"), CanaryStep(10, "a=b"), CanaryStep(100, "a=b"), CanaryStep(100)]
    assert plan(CanaryStep(0, "a=b"), (10,), "a=b") == [CanaryStep(10, "a=b"), CanaryStep(10)]
    assert plan(CanaryStep(100), (10, 100), "a=b") == [CanaryStep(100, "a=b")]


def test_journal_skips_a_truncated_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "dev")
    assert journal.records() == []
    journal.append("start", "p")
    with journal.file.open("ab") as file:
        file.write(b'{"kind": "try", "prom')
    journal.append("try", "p")
    assert [record["kind"] for record in journal.records()] == ["start", "try"]


def test_journal_locked_twice_names_the_first_process(tmp_path: Path) -> None:
    with Journal(tmp_path, "dev").locked():
        pass
    with Journal(tmp_path, "dev").locked():
        with pytest.raises(LockedError) as error, Journal(tmp_path, "dev").locked():
            pass
        assert f"stack dev: process {os.getpid()} changes it" in str(error.value)
        with Journal(tmp_path, "other").locked():
            pass
    with Journal(tmp_path, "dev").locked():
        pass


def test_history_promotion_has_a_row_for_each_decision() -> None:
    found = [
        {"at": "2026-01-01T00:00:00.000+00:00", **{"weight": 1.0, "cohort": "", **record}}
        for record in lines(APPLY, PROMOTE)
    ]
    start, _, decision = [history.canary_row(record) for record in found]
    assert start[-1] == "steps 1 %, 5 %, 20 %, 50 %, 100 %"
    assert decision[-2] == "promote"
