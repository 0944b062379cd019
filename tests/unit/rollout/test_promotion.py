"""A whole promotion, with scripted updates and probes."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from waypoint_lab.cli import canary_rollback
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config import stack_file
from waypoint_lab.errors import KubectlError, ProbeError, PulumiError, RolloutError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.traffic import TrafficReader
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout import promotion, step_analysis
from waypoint_lab.rollout.analysis import StepDecision, Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.promotion import Operator, Promotion
from waypoint_lab.rollout.state import CanaryStep, Phase, current_state
from waypoint_lab.rollout.step_analysis import StepAnalysis

OK, BAD, NONE = Answer(200, seconds=0.01), Answer(503, seconds=0.01), Answer(0, error="x")
RULES = Thresholds(0.02, 0.01, 0.01)
STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


class Scene:
    """A promotion with scripted updates and measurements; records the applied steps."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "Pulumi.dev.yaml"
        on = {"waypoint-lab:stages": {"waypoint": True, "canary": True}, "waypoint-lab:canary": {"weight": 0}}
        self.file.write_text(yaml.safe_dump({"config": on}))
        self.journal = Journal(folder, "dev")
        self.applied: list[str] = []
        self.synced: list[str] = []
        self.said: list[str] = []
        self.failing_ups: dict[str, int] = {}
        self.canary: list[Answer] = []
        self.asked = ""
        self.folder = folder
        scene = self

        class Client:
            def __init__(self, *_args: object) -> None:
                self.answer = scene.canary.pop(0) if scene.canary else OK

            def __enter__(self) -> "Client":
                return self

            def __exit__(self, *_args: object) -> None:
                pass

            def read(self, seconds: float) -> list[tuple[Answer, ...]]:
                if self.answer is NONE:
                    raise ProbeError("the Pod is gone")
                return [(self.answer, OK, OK)] * 50 if seconds else []

        monkeypatch.setattr(step_analysis, "Client", Client)
        monkeypatch.setattr(envoy_config, "wait", lambda config: self.synced.append(str(CanaryStep.declared(config))))
        monkeypatch.setattr(envoy_config, "wait_for_traffic", lambda _config: 0.0)
        monkeypatch.setattr(promotion, "POLL_SECONDS", 0.001)

    def _up(self) -> float:
        config = self.stack().config()
        now = str(CanaryStep.declared(config))
        if self.failing_ups.get(now, 0):
            self.failing_ups[now] -= 1
            raise PulumiError("refused")
        self.applied.append(now)
        return 0.1

    def stack(self) -> PulumiStack:
        found = PulumiStack(self.folder, "dev")
        found.up = self._up  # type: ignore[method-assign]
        found.up_unchecked = self._up  # type: ignore[method-assign]
        return found

    def promotion(self, **more: Any) -> Promotion:
        found = Promotion(self.journal, self.stack(), RULES, Operator(self.said.append, lambda: self.asked, **more))
        found._api_problem = lambda: ""  # type: ignore[method-assign]
        return found

    def promote(self, steps: Sequence[float] = STEPS, **more: Any) -> StepDecision:
        running = self.promotion(**more)
        now = current_state(self.journal.records())
        if not now or now.ended:
            assert running.start(steps, "")
        return running.run()[0]


def set_weight(scene: Scene, weight: float) -> None:
    stack_file.write(scene.file, stack_file.edited(scene.file.read_text(), {"canary.weight": weight}))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_promotion_of_healthy_canary_applies_each_step(scene: Scene) -> None:
    assert scene.promote() is StepDecision.PROMOTE
    assert scene.applied == ["0 %", "1 %", "5 %", "20 %", "50 %", "100 %"]
    found = current_state(scene.journal.records())
    assert found
    assert found.phase is Phase.PROMOTED


def test_start_by_traffic_without_permission_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_reader: TrafficReader) -> None:
        raise KubectlError("the counters cannot be read; grant `list` on pods")

    monkeypatch.setattr(TrafficReader, "read", refused)
    scene.file.write_text(scene.file.read_text().replace("weight: 0", "weight: 0\n    evidence: traffic"))
    with pytest.raises(RolloutError, match=r"^no promotion was started: the counters cannot be read; grant"):
        scene.promote()
    assert (scene.applied, scene.journal.records()) == ([], [])


def test_promotion_of_failing_canary_rolls_back_with_evidence(scene: Scene) -> None:
    scene.canary = [OK, OK, BAD]
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied == scene.synced == ["0 %", "1 %", "5 %", "20 %", "5 %"]
    (bad,) = [record for record in scene.journal.records() if record.get("decision") == "roll back"]
    assert bad["evidence"]["probe"]["failed"] == {"canary": 50, "baseline": 0, "route": 0}
    assert bad["evidence"]["probe"]["canary"]["decision"] == "bad"


def test_promotion_failed_update_or_probe_rolls_back(scene: Scene) -> None:
    scene.failing_ups = {"5 %": 1}
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "1 %"]
    scene.canary = [NONE]
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied[-2:] == ["5 %", "1 %"]


def test_promotion_failed_rollback_is_resumed_by_the_next_run(scene: Scene) -> None:
    scene.canary = [BAD]
    scene.failing_ups = {"0 %": 0}
    running = scene.promotion()
    running.start(STEPS, "")
    scene.failing_ups = {"0 %": 3}
    with pytest.raises(RolloutError, match="cannot roll back to 0 % yet: refused; run `lab canary rollback`"):
        running.run()
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "0 %"]


def test_promotion_without_api_server_waits_for_it(scene: Scene) -> None:
    running = scene.promotion()
    running.start(STEPS, "")
    problems = ["connection refused"] * 5 + [""]
    running._api_problem = lambda: problems.pop(0)  # type: ignore[method-assign]
    scene.canary = [NONE]
    scene.failing_ups = {"0 %": 1}
    assert running.run()[0] is StepDecision.ROLL_BACK
    assert problems == []
    assert sum("waiting up to" in line for line in scene.said) == 1


def test_promotion_stopped_by_a_signal_rolls_back(scene: Scene) -> None:
    running = scene.promotion()
    running.start(STEPS, "")
    scene.asked = "SIGINT"
    assert running.run()[0] is StepDecision.ROLL_BACK
    assert scene.applied[-1] == "0 %"
    assert any("stopped by SIGINT" in line for line in scene.said)


def test_promotion_killed_at_any_journal_line_resumes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    append, state = scene.journal.append, {"left": 0, "after": False}

    class Killed(BaseException):
        pass

    def killed(kind: str, identity: str, **more: Any) -> Any:
        state["left"] -= 1
        if state["left"] == 0 and not state["after"]:
            raise Killed
        done = append(kind, identity, **more)
        if state["left"] == 0:
            raise Killed
        return done

    monkeypatch.setattr(scene.journal, "append", killed)
    steps = STEPS[-2:]
    journal_lines = 1 + 3 * len(steps) + 1
    for point, after in itertools.product(range(1, journal_lines + 1), (False, True)):
        scene.journal.file.unlink(missing_ok=True)
        set_weight(scene, 0)
        state |= {"left": point, "after": after}
        with pytest.raises(Killed):
            scene.promote(steps)
        state["left"] = -1
        begun, found = scene.journal.records(), current_state(scene.journal.records())
        if not found or not found.ended:
            assert scene.promote(steps) is StepDecision.PROMOTE
        assert scene.stack().config().canary.weight == 100
        starts = sum(record["kind"] == "start" for record in scene.journal.records())
        assert starts == 1, "resumed, not started again"
        assert scene.journal.records()[: len(begun)] == begun


def test_promotion_with_a_weight_changed_outside_is_refused(scene: Scene) -> None:
    running = scene.promotion()
    running.start(STEPS, "")
    set_weight(scene, 42)
    with pytest.raises(RolloutError, match="the stack's config declares 42 %, but the promotion is at 0 %"):
        running.run()


def test_promotion_approved_step_that_was_taken_back_by_hand_needs_a_new_approval(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def approve(step: CanaryStep) -> StepDecision:
        asked.append(str(step))
        return StepDecision.PROMOTE

    monkeypatch.setattr(StepAnalysis, "run", lambda _analysis: (StepDecision.PAUSE, "inconclusive"))
    for _ in range(2):
        assert scene.promote(approve=approve) is StepDecision.PAUSE
    assert asked == ["1 %"]
    set_weight(scene, 0)
    scene.promote(approve=approve)
    assert asked == ["1 %", "1 %"]


def test_promotion_approval_pauses_or_rolls_back(scene: Scene) -> None:
    answers = [StepDecision.PROMOTE, StepDecision.PAUSE]
    assert scene.promote(approve=lambda _target: answers.pop(0)) is StepDecision.PAUSE
    assert scene.applied == ["0 %", "1 %"]
    assert scene.promote(approve=lambda _target: StepDecision.ROLL_BACK) is StepDecision.ROLL_BACK
    assert scene.applied == ["0 %", "1 %", "1 %"]


def test_promotion_failed_first_update_starts_nothing(scene: Scene) -> None:
    scene.failing_ups = {"0 %": 1}
    with pytest.raises(RolloutError, match="no promotion was started: refused"):
        scene.promote()
    assert scene.journal.records() == []


def test_start_at_100_percent_has_nothing_to_promote(scene: Scene) -> None:
    assert scene.promote() is StepDecision.PROMOTE
    assert scene.promotion().start(STEPS, "") is None


def roll_back_by_hand(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run `lab canary rollback`, and return the newest state in one line."""
    monkeypatch.setattr(canary_rollback, "PROJECT_FOLDER", scene.folder)
    monkeypatch.setattr(canary_rollback, "PulumiStack", lambda _folder, _stack: scene.stack())
    monkeypatch.setattr(canary_rollback, "use_target", lambda _state, _config: None)
    monkeypatch.setattr(promotion.Promotion, "_api_problem", lambda _self: "")
    done = CliRunner().invoke(canary_rollback.rollback, obj=Invocation(scene.folder), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return str(current_state(scene.journal.records())).split(": ")[1]


def test_rollback_by_hand_after_a_rollback_returns_to_the_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.canary = [OK, BAD]
    assert scene.promote() is StepDecision.ROLL_BACK
    assert scene.applied[-1] == "1 %"
    assert roll_back_by_hand(scene, monkeypatch) == "RolledBack; at 0 %"
    assert scene.applied[-1] == "0 %"


def test_rollback_by_hand_after_a_promotion_keeps_a_lower_weight(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    set_weight(scene, 20)
    assert scene.promote() is StepDecision.PROMOTE
    for weight, ends_at in ((5, "5 %"), (100, "20 %")):
        set_weight(scene, weight)
        assert roll_back_by_hand(scene, monkeypatch) == f"RolledBack; at {ends_at}"
        assert scene.applied[-1] == ends_at


def test_rollback_with_a_lower_weight_takes_the_cohort_from_the_canary(scene: Scene) -> None:
    cohort = "end-user=tester"
    steps = [CanaryStep(5, cohort).document()]
    scene.journal.append("start", "p", **{"from": CanaryStep(5).document()}, steps=steps)
    scene.journal.append("apply", "p", **steps[0])
    scene.journal.append("decision", "p", **steps[0], decision="roll back", why="w")
    changes = CanaryStep(2, cohort).changes(scene.stack().config())
    stack_file.write(scene.file, stack_file.edited(scene.file.read_text(), changes))
    running = scene.promotion()
    running.roll_back(running.state())
    assert scene.applied == ["2 %"]
    assert "keeping the lower weight of the stack's config: 2 %" in scene.said


@pytest.mark.parametrize(("weight", "ends_at"), [(0, 0), (1, 1), (42, 5)], ids=["none", "lower", "higher"])
def test_open_rollback_with_a_weight_changed_outside_is_ended_by_hand_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, weight: float, ends_at: float
) -> None:
    steps = [CanaryStep(weight).document() for weight in STEPS]
    scene.journal.append("start", "p", **{"from": CanaryStep(0).document()}, steps=steps)
    for step, decision in zip(steps, ("promote", "promote", "roll back"), strict=False):
        scene.journal.append("apply", "p", **step)
        scene.journal.append("decision", "p", **step, decision=decision, why="w")
    set_weight(scene, weight)
    with pytest.raises(RolloutError, match=f"declares {weight} %, but the promotion is rolling back to 5 %; restore"):
        scene.promote()
    assert scene.applied == []
    assert roll_back_by_hand(scene, monkeypatch) == f"RolledBack; at {ends_at} %"
    assert scene.applied == [f"{ends_at} %"]
