"""Where a promotion stands that was killed, what its journal keeps, and what its history shows."""

import os
from pathlib import Path
from typing import Any

import pytest

from waypoint_lab.cli import history
from waypoint_lab.rollout.journal import Journal, Locked
from waypoint_lab.rollout.state import Target, plan, standing

STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


def lines(*kinds: tuple[str, dict[str, Any]], start: float = 0.0, cohort: str = "") -> list[dict[str, Any]]:
    targets = plan(Target(start), STEPS, cohort)
    first = {"kind": "start", "from": Target(start).document(), "targets": [target.document() for target in targets]}
    return [{"promotion": "p", **first}, *({"promotion": "p", "kind": kind, **more} for kind, more in kinds)]


TRY, GO = ("try", {}), ("decision", {"verdict": "go on", "why": ""})
HOLD, BACK = ("decision", {"verdict": "hold", "why": "w"}), ("decision", {"verdict": "roll back", "why": "w"})
END = ("end", {"result": "rolled back"})


@pytest.mark.parametrize(
    ("kinds", "good", "now", "said"),
    [
        ((), 0, 0, "no step passed, stopped before 1 %"),
        ((TRY,), 0, 1, "no step passed, was killed while trying 1 %"),
        ((TRY, GO), 1, 1, "1 % passed, stopped before 5 %"),
        ((TRY, GO, TRY), 1, 5, "1 % passed, was killed while trying 5 %"),
        ((TRY, GO, TRY, HOLD), 1, 5, "1 % passed, held at 5 %"),
        ((TRY, GO, TRY, BACK), 1, 5, "on its way back to 1 % (w)"),
        ((TRY, GO, TRY, BACK, END), 1, 1, "rolled back; at 1 %"),
        ((TRY, GO) * 5, 100, 100, "all steps passed"),
    ],
)
def test_wherever_it_was_killed_the_journal_says_where_it_stands(
    kinds: tuple[Any, ...], good: float, now: float, said: str
) -> None:
    found = standing(lines(*kinds))
    assert found
    assert (found.good.weight, found.now.weight) == (good, now)
    assert str(found) == f"p: {said}"


def test_going_back_by_hand_after_the_end_goes_to_where_it_started() -> None:
    kinds = [*((TRY, GO) * 5), ("end", {"result": "promoted"}), ("back", {"why": "by hand", "passed": 0})]
    found = standing(lines(*kinds))
    assert found
    assert found.going_back
    assert found.result is None
    assert found.good == Target(0)


def test_no_journal_is_no_standing() -> None:
    assert standing([]) is None


def test_a_plan_passes_over_what_the_canary_has_already() -> None:
    assert plan(Target(5), STEPS, "") == [Target(20), Target(50), Target(100)]
    assert plan(Target(100), STEPS, "") == []


def test_a_cohort_comes_first_and_is_taken_away_last() -> None:
    assert plan(Target(0), (10, 100), "a=b") == [Target(0, "a=b"), Target(10, "a=b"), Target(100, "a=b"), Target(100)]


def test_a_line_that_a_kill_cut_off_is_passed_over_and_does_not_spoil_the_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "dev")
    assert journal.records() == []
    journal.append("start", "p")
    with journal.file.open("ab") as file:
        file.write(b'{"kind": "try", "prom')
    journal.append("try", "p")
    assert [record["kind"] for record in journal.records()] == ["start", "try"]


def test_a_second_promotion_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    with Journal(tmp_path, "dev").locked():
        with pytest.raises(Locked) as error, Journal(tmp_path, "dev").locked():
            pass
        assert f"another promotion of stack dev runs (process {os.getpid()})" in str(error.value)
        with Journal(tmp_path, "other").locked():
            pass
    with Journal(tmp_path, "dev").locked():
        pass


def test_the_history_is_a_line_for_each_decision() -> None:
    found = [
        {"at": "2026-01-01T00:00:00.000+00:00", **{"weight": 1.0, "cohort": "", **record}} for record in lines(TRY, GO)
    ]
    head, start, decision = history.table(found).splitlines()
    assert head.startswith("at (UTC)")
    assert "to 1 %, 5 %, 20 %, 50 %, 100 %" in start
    assert "go on" in decision
