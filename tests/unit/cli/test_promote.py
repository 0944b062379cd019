"""What `lab promote` refuses, asks and prints."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from waypoint_lab.cli import promote
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.rollout.analysis import Verdict
from waypoint_lab.rollout.promotion import PromoteError
from waypoint_lab.rollout.state import Result, Standing, Target, plan
from waypoint_lab.signals import StopRequest

STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


@contextmanager
def arguments(*given: str) -> Iterator[argparse.Namespace]:
    parser = argparse.ArgumentParser()
    promote.add_arguments(parser)
    yield parser.parse_args(given)


ON = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}})


@pytest.mark.parametrize(
    ("given", "config", "said"),
    [
        (("--steps", "5,1"), ON, "--steps is 5,1: it must be rising percentages"),
        ((), LabConfig(), "stages.canary is off: turn it on with"),
    ],
)
def test_bad_input_is_one_line(given: tuple[str, ...], config: LabConfig, said: str) -> None:
    with arguments(*given) as read, pytest.raises(PromoteError) as error:
        promote.chosen(read, config, None)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_header_without_a_value_is_refused() -> None:
    with (
        arguments("--header", "tester") as read,
        pytest.raises(PromoteError, match="--header is tester: it must be NAME=VALUE"),
    ):
        promote.chosen(read, ON, None)


def test_other_steps_beside_a_promotion_that_has_not_ended_are_refused() -> None:
    now = Standing("p", Target(0), tuple(plan(Target(0), STEPS, "")), passed=1)
    with arguments("--steps", "10,100") as read, pytest.raises(PromoteError, match="with other steps has not ended"):
        promote.chosen(read, ON, now)
    with arguments("--steps", "1,5,20,50,100") as read:
        assert promote.chosen(read, ON, now)[0] == STEPS


def test_the_steps_come_from_the_config_where_none_are_given() -> None:
    config = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}, "canary": {"steps": [0.1, 100]}})
    with arguments() as read:
        assert promote.chosen(read, config, None) == ((0.1, 100), "")


def test_no_step_asked_for_is_out_of_range() -> None:
    with pytest.raises(SystemExit), arguments("--margin", "0"):
        pass


def test_promote_says_one_line_where_the_stack_has_no_config(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "waypoint_lab.cli.main",
        "--state",
        str(tmp_path),
        "promote",
        "--stack",
        "no-such-stack",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "lab promote: Pulumi.no-such-stack.yaml: there is no such file; choose a stack that exists\n"


def test_the_result_is_one_json_document() -> None:
    now = Standing("p", Target(0), (Target(1), Target(5)), passed=1, why="w", result=Result.BACK)
    assert json.loads(promote._document(Verdict.BACK, now)) == {
        "verdict": "roll back",
        "promotion": "p",
        "weight": 1.0,
        "passed": [{"weight": 1.0, "cohort": ""}],
        "why": "w",
    }


@pytest.mark.parametrize(
    ("typed", "want"), [("y\n", Verdict.GO), ("what?\nn\n", Verdict.HOLD), ("B\n", Verdict.BACK), ("", Verdict.HOLD)]
)
def test_the_person_is_asked_until_the_answer_is_one_and_silence_is_a_hold(
    monkeypatch: pytest.MonkeyPatch, typed: str, want: Verdict
) -> None:
    out, into = os.pipe()
    os.write(into, typed.encode())
    os.close(into)
    with os.fdopen(out) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        found = promote.Approve(StopRequest())(Target(5))
    assert found is want


def test_ctrl_c_at_the_question_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    asked = StopRequest()
    with os.fdopen(out) as terminal, asked.received():
        monkeypatch.setattr(sys, "stdin", terminal)
        os.kill(os.getpid(), signal.SIGINT)
        assert promote.Approve(asked)(Target(5)) is Verdict.BACK
    os.close(into)
    assert asked() == "SIGINT"
