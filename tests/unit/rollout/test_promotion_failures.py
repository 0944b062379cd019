"""Failures of any kind between the update of a step and its rollback."""

import errno
from pathlib import Path

import pytest

from tests.unit.rollout.test_promotion import BAD, RULES, STEPS, Scene
from tests.unit.streams import without_stderr
from waypoint_lab.cli import output
from waypoint_lab.errors import RolloutError
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.promotion import Operator, Promotion
from waypoint_lab.rollout.step_analysis import StepAnalysis


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def refuse(*_arguments: object) -> None:
    raise KeyError("x")


@pytest.mark.parametrize("method", ["run", "document"])
def test_promotion_unexpected_error_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(StepAnalysis, method, refuse)
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "0 %"]
    (why,) = {record["why"] for record in scene.journal.records() if record["kind"] == "decision"}
    assert why.startswith("KeyError at test_promotion_failures.py:")
    assert why.endswith(": 'x'")


def test_promotion_without_a_reader_of_its_reports_rolls_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.canary = [BAD]
    running = Promotion(scene.journal, scene.stack(), RULES, Operator(output.reporter("promote"), lambda: ""))
    running.start(STEPS, "")
    without_stderr(monkeypatch)
    assert running.run()[0] is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "0 %"]


def test_rollback_unexpected_error_is_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.canary = [BAD]
    running = scene.promotion()
    running.start(STEPS, "")
    up, errors = running.stack.up_unchecked, [OSError(errno.EIO, "Input/output error")] * 2

    def flaky() -> float:
        if errors:
            raise errors.pop()
        return up()

    monkeypatch.setattr(running.stack, "up_unchecked", flaky)
    assert running.run()[0] is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "0 %"]


def test_rollback_with_a_broken_stack_file_says_that_nothing_is_rolled_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Promotion(scene.journal, scene.stack(), RULES, Operator(scene.said.append, lambda: ""))
    running.start(STEPS, "")

    def broken(_analysis: StepAnalysis) -> tuple[StepDecision, str]:
        scene.file.write_text("config: [")
        return StepDecision.ROLL_BACK, "bad"

    monkeypatch.setattr(StepAnalysis, "run", broken)
    with pytest.raises(
        RolloutError, match=r"^cannot roll back to 0 % yet: .*; run `lab canary rollback` to try again$"
    ):
        running.run()
