"""Errors, questions and output of `lab canary promote`."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from waypoint_lab import masking
from waypoint_lab.cli import approvals, canary_promote, main, reports
from waypoint_lab.config.settings import PROMOTION, LabConfig
from waypoint_lab.errors import ConfigError, ReportError, RolloutError
from waypoint_lab.rollout.analysis import StepDecision, Thresholds
from waypoint_lab.rollout.promotion import Operator
from waypoint_lab.rollout.state import CanaryStep, Phase, PromotionState, plan
from waypoint_lab.signals import StopRequest

STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


ON = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}})


@pytest.mark.parametrize(
    ("steps", "config", "said"),
    [
        ("5,1", ON, "--steps is 5,1: it must be"),
        (None, LabConfig(), "stages.canary is off; run"),
    ],
)
def test_choose_steps_bad_input_is_one_line(steps: str | None, config: LabConfig, said: str) -> None:
    with pytest.raises(RolloutError) as error:
        canary_promote.choose_steps(config, None, steps, "")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cohort", [{"header": "end-user", "value": "t0ken"}, {"pathPrefix": "/t0ken"}])
def test_secret_cohort_is_refused(monkeypatch: pytest.MonkeyPatch, cohort: dict[str, str]) -> None:
    config = LabConfig.from_mapping({"canary": {"cohort": cohort}})
    canary_promote.refuse_secret_cohort(config)
    name, text = list(cohort.items())[-1]
    monkeypatch.setattr(masking, "_known", {text})
    with pytest.raises(RolloutError, match=rf"^waypoint-lab:canary\.cohort\.{name}: it is secret"):
        canary_promote.refuse_secret_cohort(config)


def test_choose_steps_header_without_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"canary\.cohort"):
        canary_promote.choose_steps(ON, None, None, "tester")


def test_choose_steps_header_name_has_no_case() -> None:
    assert canary_promote.choose_steps(ON, None, "100", "End-User=Jane")[1] == "end-user=Jane"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("header:End-User=a:b", "end-user=a:b"),
        *((text, text) for text in ("cookie:tier=gold", "query:tier=a=b", "method:PUT", "path:/a", "pathPrefix:/a")),
    ],
)
def test_choose_steps_takes_each_kind_of_cohort(given: str, text: str) -> None:
    assert text == canary_promote.choose_steps(ON, None, "100", given)[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cooky:tier=gold", r"canary\.cohort\.cooky: there is no such setting; did you mean cookie\?"),
        ("cookie:tier", r"canary\.cohort: value goes with header, cookie, query; set both or none"),
        ("path:cart", r"canary\.cohort\.path: .cart. is not valid; use empty, or a path that begins with /"),
        ("method:GET", r"canary\.cohort: app\.request is in this cohort, too"),
    ],
)
def test_choose_steps_invalid_cohort_is_one_line(given: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        canary_promote.choose_steps(ON, None, None, given)


def test_promote_cohort_beside_a_header_is_a_usage_error() -> None:
    assert main.main(["canary", "promote", "--cohort", "method:PUT", "--header", "a=b"]) == 2


def test_choose_steps_others_beside_an_open_promotion_are_refused() -> None:
    now = PromotionState("p", CanaryStep(0), tuple(plan(CanaryStep(0), STEPS, "")), passed=1)
    with pytest.raises(RolloutError, match="with other steps has not ended"):
        canary_promote.choose_steps(ON, now, "10,100", "")
    assert canary_promote.choose_steps(ON, now, "1,5,20,50,100", "")[0] == STEPS


def test_choose_steps_default_is_the_config() -> None:
    config = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}, "canary": {"steps": [0.1, 100]}})
    assert canary_promote.choose_steps(config, None, None, "") == ((0.1, 100), "")


def test_promote_margin_out_of_range_is_a_usage_error() -> None:
    assert main.main(["canary", "promote", "--margin", "0"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--approve-file", "a", "--approve-url", "http://b"), "--approve-file and --approve-url exclude each other"),
        (("--approve-url", "ftp://b"), "--approve-url is not an http or https address"),
    ],
)
def test_promote_bad_approval_is_a_usage_error(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["canary", "promote", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_promote_without_a_stack_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--state", str(tmp_path), "canary", "promote", "--stack", "no-such-stack"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lab canary promote: Pulumi.no-such-stack.yaml: there is no such file")
    assert said.count("\n") == 1


def test_document_has_decision_phase_and_steps() -> None:
    now = PromotionState("p", CanaryStep(0), (CanaryStep(1), CanaryStep(5)), passed=1, why="w", phase=Phase.ROLLED_BACK)
    assert canary_promote.document(StepDecision.ROLL_BACK, now) == {
        "decision": "roll back",
        "phase": "RolledBack",
        "promotion": "p",
        "weight": 1.0,
        "passed": [{"weight": 1.0, "cohort": ""}],
        "why": "w",
    }


@pytest.mark.parametrize(
    ("typed", "want"),
    [
        ("y\n", StepDecision.PROMOTE),
        ("what?\nn\n", StepDecision.PAUSE),
        ("B\n", StepDecision.ROLL_BACK),
        ("", StepDecision.PAUSE),
    ],
)
def test_approval_asks_until_answered_and_silence_pauses(
    monkeypatch: pytest.MonkeyPatch, typed: str, want: StepDecision
) -> None:
    out, into = os.pipe()
    os.write(into, typed.encode())
    os.close(into)
    with os.fdopen(out) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        found = approvals.Approval(StopRequest())(CanaryStep(5))
    assert found is want


def test_approval_interrupted_rolls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    asked = StopRequest()
    with os.fdopen(out) as terminal, asked.received():
        monkeypatch.setattr(sys, "stdin", terminal)
        os.kill(os.getpid(), signal.SIGINT)
        assert approvals.Approval(asked)(CanaryStep(5)) is StepDecision.ROLL_BACK
    os.close(into)
    assert asked() == "SIGINT"


PROMOTED = PromotionState("p", CanaryStep(0), (CanaryStep(100),), passed=1, phase=Phase.PROMOTED)


class Promotion:
    """A promotion with one outcome."""

    decision, state, signal = StepDecision.PROMOTE, PROMOTED, ""

    def __init__(self, _journal: object, _stack: object, _thresholds: object, operator: Operator) -> None:
        self._operator = operator

    def start(self, _weights: object, _cohort: str) -> PromotionState | None:
        return self.state

    def run(self) -> tuple[StepDecision, PromotionState]:
        assert isinstance(self._operator.stop_requested, StopRequest)
        self._operator.stop_requested.name = self.signal
        return self.decision, self.state


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Promotion]:
    """Return the class of the promotion that the command runs, for a test to change."""

    class Outcome(Promotion):
        pass

    monkeypatch.setattr(canary_promote, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(canary_promote, "use_target", lambda _state, _config: None)
    monkeypatch.setattr(canary_promote, "Promotion", Outcome)
    stages = "config: {'waypoint-lab:stages': {waypoint: true, canary: true}, 'waypoint-lab:canary': {weight: 100}}\n"
    (tmp_path / "Pulumi.dev.yaml").write_text(stages)
    return Outcome


@pytest.mark.parametrize(
    ("decision", "signal_name", "status"),
    [
        (StepDecision.PROMOTE, "", 0),
        (StepDecision.ROLL_BACK, "", 1),
        (StepDecision.PAUSE, "", 3),
        (StepDecision.ROLL_BACK, "SIGINT", 130),
    ],
)
def test_promote_report_that_cannot_be_written_keeps_the_outcome(
    outcome: type[Promotion],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    decision: StepDecision,
    signal_name: str,
    status: int,
) -> None:
    def fail(*_arguments: object) -> None:
        raise ReportError("chromium: it wrote no picture; add --no-picture")

    outcome.decision, outcome.signal = decision, signal_name
    monkeypatch.setattr(reports.Recording, "write", fail)
    given = ("--json", "--report", str(tmp_path / "report"), "--no-picture")
    assert status == main.main(["canary", "promote", *given])
    captured = capsys.readouterr()
    assert str(decision) == json.loads(captured.out)["decision"]
    outcome_line, report_line = captured.err.splitlines()
    assert outcome_line.startswith(f"promote: {PROMOTED}")
    assert report_line == "report: chromium: it wrote no picture; add --no-picture"


def test_promote_passes_its_limits_and_its_environment_on(
    outcome: type[Promotion], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    make = outcome.__init__
    monkeypatch.setattr(outcome, "__init__", lambda one, *given: seen.extend(given[1:3]) or make(one, *given))
    given = "--margin 3 --error-rate 2 --seconds 10 --requests 700 --limit 150"
    assert main.main(["canary", "promote", *given.split()]) == 0
    stack, limits = seen
    assert limits == Thresholds(0.03, 0.02, 0.02, min_seconds=10, min_rounds=700, limit_seconds=150)
    assert stack._environment == {PROMOTION: "1"}


def test_promote_without_a_step_left_prints_a_document(
    outcome: type[Promotion], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outcome, "start", lambda *_arguments: None)
    assert main.main(["canary", "promote", "--json"]) == 0
    captured = capsys.readouterr()
    why = "the canary has 100 % and no step is above: nothing to do"
    want = {"decision": None, "phase": None, "promotion": None, "weight": 100.0, "passed": [], "why": why}
    assert want == json.loads(captured.out)
    assert captured.err == f"promote: {why}\n"
