"""Promotions without a cluster: what decides, where a killed one stands, what an edit leaves alone."""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import history, live, promote, promotion, updates
from lab.arms import Answer, Round
from lab.config import ConfigError, LabConfig
from lab.evidence import Evidence, Rules, Verdict
from lab.journal import Journal, Locked
from lab.probe import ProbeError
from lab.promotion import PromoteError, Promotion, Ways
from lab.standing import Result, Target, plan, standing
from lab.updates import UpdateError, Updates

OK, BAD, SLOW, NONE = Answer(200, "red", 0.01), Answer(503, "red", 0.01), Answer(200, "red", 3.0), Answer(0, "x", 5.0)
RULES = Rules(0.02, 0.01, 0.01)
STEPS = (1.0, 5.0, 20.0, 50.0, 100.0)


def fed(rules: Rules, rounds: int, canary: Answer = OK, baseline: Answer = OK, users: Answer = OK) -> Evidence:
    evidence = Evidence(rules)
    for number in range(rounds):
        evidence.add(Round(float(number), (canary, baseline, users)))
    return evidence


def verdict(evidence: Evidence, seconds: float = 1.0) -> Verdict | None:
    found = evidence.verdict(seconds)
    return found[0] if found else None


# What a step's measurement decides.


def test_a_canary_that_does_not_fail_goes_on() -> None:
    assert verdict(fed(RULES, 500)) is Verdict.GO


@pytest.mark.parametrize("answer", [BAD, NONE])
def test_a_canary_that_fails_rolls_back_with_the_figures_in_the_line(answer: Answer) -> None:
    found = fed(RULES, 30, canary=answer).verdict(1.0)
    assert found
    assert found[0] is Verdict.BACK
    assert found[1].startswith("30 of 30 requests of the canary failed, 0 of as many of the baseline: evidence ")


def test_what_only_fails_on_the_route_rolls_back_too() -> None:
    found = fed(RULES, 30, users=BAD).verdict(1.0)
    assert found
    assert found[0] is Verdict.BACK
    assert "requests through the route failed" in found[1]


def test_a_failure_that_the_baseline_shares_is_a_hold_and_never_a_pass() -> None:
    found = fed(RULES, 1000, BAD, BAD, BAD).verdict(1.0)
    assert found
    assert found[0] is Verdict.HOLD
    assert "less than 90.0% is never a pass" in found[1]


def test_a_slow_answer_counts_as_failed_where_the_gate_has_a_limit() -> None:
    assert verdict(fed(RULES, 500, canary=SLOW)) is Verdict.GO
    assert verdict(fed(Rules(0.02, 0.01, 0.01, slow_seconds=1.0), 30, canary=SLOW)) is Verdict.BACK


def test_no_data_is_measured_on_and_then_held() -> None:
    assert verdict(fed(RULES, 0)) is None
    assert verdict(fed(RULES, 0), RULES.most_seconds) is Verdict.HOLD
    assert verdict(fed(RULES, 10), RULES.most_seconds) is Verdict.HOLD


def test_a_step_is_measured_as_long_and_as_often_as_asked_for() -> None:
    longer = Rules(0.02, 0.01, 0.01, least_seconds=60, least_rounds=600)
    assert verdict(fed(longer, 599), 61) is None
    assert verdict(fed(longer, 600), 59) is None
    assert verdict(fed(longer, 600), 61) is Verdict.GO
    assert verdict(fed(longer, 30, canary=BAD), 1) is Verdict.BACK, "a bad one is not waited for"


# Where a promotion stands.


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


# The journal.


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


# The stack's file.

FILE = """# mine
config:
  waypoint-lab:canaryWeight: 20  # a fifth
  waypoint-lab:stages:
    waypoint: true
  other:key: {a: 1}
encryptionsalt: v1:abc
"""


def test_an_edit_changes_its_own_line_and_no_other() -> None:
    changed = updates.edited(FILE, {"canaryWeight": "0.1", "canaryCohort": "a=b"})
    assert set(FILE.splitlines()) - set(changed.splitlines()) == {"  waypoint-lab:canaryWeight: 20  # a fifth"}
    assert set(changed.splitlines()) - set(FILE.splitlines()) == {
        '  waypoint-lab:canaryWeight: "0.1"',
        '  waypoint-lab:canaryCohort: "a=b"',
    }


@pytest.mark.parametrize("text", ["", "{}\n", "config: {waypoint-lab:canaryWeight: 5, other:key: 1}\n", "config:\n"])
def test_a_file_written_in_another_way_keeps_its_settings(text: str) -> None:
    before = (yaml.safe_load(text) or {}).get("config") or {}
    after = yaml.safe_load(updates.edited(text, {"canaryWeight": "7"}))["config"]
    assert after == {**before, "waypoint-lab:canaryWeight": "7"}


def test_a_write_replaces_the_file_at_once_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("old")
    file.chmod(0o640)
    updates.write(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


# Pulumi.

LOCKED = (
    "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or delete the "
    "lock file with `pulumi cancel`.\n  file:///x.json: created by me@{host} (pid {pid}) at 2026-01-01T00:00:00Z"
)


def pulumi(folder: Path, monkeypatch: pytest.MonkeyPatch, lock_of: str, host: str = "$(hostname)") -> Path:
    """A stand-in that is locked until `pulumi cancel`; returns the file with its calls."""
    (folder / "Pulumi.dev.yaml").write_text(FILE.replace("waypoint: true", "waypoint: true\n    canary: true"))
    text = LOCKED.replace("`", "").replace("{host}", host).replace("{pid}", lock_of)
    calls = folder / "calls"
    (folder / "locked").touch()
    (folder / "pulumi").write_text(
        f'#!/bin/sh\necho "$1" >> {calls}\n[ "$1" != cancel ] || rm {folder}/locked\n'
        f'[ ! -e {folder}/locked ] || {{ echo "{text}"; exit 255; }}\n'
    )
    (folder / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(updates, "LOCK_SECONDS", 0.3)
    return calls


def test_a_lock_whose_process_is_gone_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    calls = pulumi(tmp_path, monkeypatch, str(gone.pid))
    Updates(tmp_path, "dev").back()
    assert calls.read_text().split() == ["up", "cancel", "up"]


def test_a_lock_whose_process_lives_is_waited_for_and_never_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = pulumi(tmp_path, monkeypatch, str(os.getpid()))
    monkeypatch.setattr(updates, "_is_pulumi", lambda _pid: True)
    with pytest.raises(UpdateError, match="the stack is currently locked"):
        Updates(tmp_path, "dev").back()
    assert "cancel" not in calls.read_text().split()


def test_a_lock_of_another_machine_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pulumi(tmp_path, monkeypatch, "1", host="elsewhere")
    with pytest.raises(UpdateError, match="the stack is currently locked"):
        Updates(tmp_path, "dev").back()
    assert calls.read_text().split() == ["up"]


def test_the_line_that_says_why_an_up_failed_is_found() -> None:
    output = 'warning: x\n    error: update failed\n  error: before hook "g" failed: gate at 5 %: share\n'
    assert updates.said(output) == 'before hook "g" failed: gate at 5 %: share'
    assert updates.said("") == "no message"


# The walk, with a Pulumi and a stream that say what the test wants.


class Scene:
    """A promotion whose ups and measurements are lists; what is applied is remembered."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "Pulumi.dev.yaml"
        on = {"waypoint-lab:stages": {"waypoint": True, "canary": True}, "waypoint-lab:canaryWeight": "0"}
        self.file.write_text(yaml.safe_dump({"config": on}))
        self.journal = Journal(folder, "dev")
        self.applied: list[str] = []
        self.said: list[str] = []
        self.failing_ups: dict[str, int] = {}
        self.canary: list[Answer] = []
        self.asked = ""
        self.folder = folder
        scene = self

        class Stream:
            def __init__(self, *_args: object) -> None:
                self.answer = scene.canary.pop(0) if scene.canary else OK

            def __enter__(self) -> "Stream":
                return self

            def __exit__(self, *_args: object) -> None:
                pass

            def read(self, _seconds: float) -> list[Round]:
                if self.answer is NONE:
                    raise ProbeError("the Pod is gone")
                return [Round(0.0, (self.answer, OK, OK))] * 50

        monkeypatch.setattr(promotion, "Stream", Stream)
        monkeypatch.setattr(live, "wait", lambda _config: 0.0)
        monkeypatch.setattr(live, "wait_for_traffic", lambda _config: 0.0)
        monkeypatch.setattr(promotion, "POLL_SECONDS", 0.001)

    def _up(self, _weight: float = 0) -> float:
        config = self.updates().config()
        now = str(Target(config.canary_weight, config.canary_cohort))
        if self.failing_ups.get(now, 0):
            self.failing_ups[now] -= 1
            raise UpdateError("refused")
        self.applied.append(now)
        return 0.1

    def updates(self) -> Updates:
        found = Updates(self.folder, "dev")
        found.forward = self._up  # type: ignore[method-assign]
        found.back = self._up  # type: ignore[method-assign]
        return found

    def promotion(self, **more: Any) -> Promotion:
        found = Promotion(self.journal, self.updates(), RULES, Ways(self.said.append, lambda: self.asked, **more))
        found._api_problem = lambda: ""  # type: ignore[method-assign]
        return found

    def walk(self, **more: Any) -> Verdict:
        walking = self.promotion(**more)
        now = standing(self.journal.records())
        if not now or now.result:
            assert walking.begin(STEPS, "")
        return walking.walk()[0]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_healthy_canary_is_applied_step_by_step_to_the_end(scene: Scene) -> None:
    assert scene.walk() is Verdict.GO
    assert scene.applied == ["0 %", "1 %", "5 %", "20 %", "50 %", "100 %"]
    found = standing(scene.journal.records())
    assert found
    assert found.result is Result.PROMOTED


def test_a_bad_canary_goes_back_to_the_last_good_weight_with_the_evidence_kept(scene: Scene) -> None:
    scene.canary = [OK, OK, BAD]
    assert scene.walk() is Verdict.BACK
    assert scene.applied == ["0 %", "1 %", "5 %", "20 %", "5 %"]
    (bad,) = [record for record in scene.journal.records() if record.get("verdict") == "roll back"]
    assert bad["evidence"]["failed"] == {"canary": 50, "baseline": 0, "users": 0}
    assert bad["evidence"]["canary"]["decision"] == "bad"


def test_an_up_that_fails_and_a_measurement_that_breaks_off_go_back(scene: Scene) -> None:
    scene.failing_ups = {"5 %": 1}
    assert scene.walk() is Verdict.BACK
    assert scene.applied == ["0 %", "1 %", "1 %"]
    scene.canary = [NONE]
    assert scene.walk() is Verdict.BACK
    assert scene.applied[-2:] == ["5 %", "1 %"]


def test_a_way_back_that_fails_is_tried_again_and_then_left_to_the_next_run(scene: Scene) -> None:
    scene.canary = [BAD]
    scene.failing_ups = {"0 %": 0}
    walking = scene.promotion()
    walking.begin(STEPS, "")
    scene.failing_ups = {"0 %": 3}
    with pytest.raises(PromoteError, match="cannot go back to 0 % yet: refused; run `lab promote` again"):
        walking.walk()
    assert scene.walk() is Verdict.BACK
    assert scene.applied == ["0 %", "1 %", "0 %"]


def test_a_lost_api_server_is_waited_for(scene: Scene) -> None:
    walking = scene.promotion()
    walking.begin(STEPS, "")
    problems = ["connection refused"] * 5 + [""]
    walking._api_problem = lambda: problems.pop(0)  # type: ignore[method-assign]
    scene.canary = [NONE]
    scene.failing_ups = {"0 %": 1}
    assert walking.walk()[0] is Verdict.BACK
    assert problems == []
    assert sum("waiting up to" in line for line in scene.said) == 1


def test_told_to_stop_it_goes_back(scene: Scene) -> None:
    walking = scene.promotion()
    walking.begin(STEPS, "")
    scene.asked = "SIGINT"
    assert walking.walk()[0] is Verdict.BACK
    assert scene.applied[-1] == "0 %"
    assert any("told to stop by SIGINT" in line for line in scene.said)


def test_it_can_be_killed_before_and_after_every_line_of_the_journal_and_ends_right(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    lines_of_a_walk = 1 + 3 * len(STEPS) + 1
    for point, after in itertools.product(range(1, lines_of_a_walk + 1), (False, True)):
        scene.journal.file.unlink(missing_ok=True)
        updates.write(scene.file, updates.edited(scene.file.read_text(), {"canaryWeight": "0"}))
        state |= {"left": point, "after": after}
        with pytest.raises(Killed):
            scene.walk()
        state["left"] = -1
        begun, found = scene.journal.records(), standing(scene.journal.records())
        if not found or not found.result:
            assert scene.walk() is Verdict.GO
        assert scene.updates().config().canary_weight == 100
        starts = sum(record["kind"] == "start" for record in scene.journal.records())
        assert starts == 1, "gone on with, not begun anew"
        assert scene.journal.records()[: len(begun)] == begun


def test_a_weight_that_somebody_else_has_moved_is_not_overwritten(scene: Scene) -> None:
    walking = scene.promotion()
    walking.begin(STEPS, "")
    updates.write(scene.file, updates.edited(scene.file.read_text(), {"canaryWeight": "42"}))
    with pytest.raises(PromoteError, match="the stack's config says 42 %, but the promotion stands at 0 %"):
        walking.walk()


def test_a_person_can_hold_and_go_back(scene: Scene) -> None:
    answers = [Verdict.GO, Verdict.HOLD]
    assert scene.walk(approve=lambda _target: answers.pop(0)) is Verdict.HOLD
    assert scene.applied == ["0 %", "1 %"]
    assert scene.walk(approve=lambda _target: Verdict.BACK) is Verdict.BACK
    assert scene.applied == ["0 %", "1 %", "1 %"]


def test_a_stack_that_does_not_come_up_as_it_is_begins_nothing(scene: Scene) -> None:
    scene.failing_ups = {"0 %": 1}
    with pytest.raises(PromoteError, match="nothing was begun: refused"):
        scene.walk()
    assert scene.journal.records() == []


def test_nothing_is_left_to_promote_at_a_hundred(scene: Scene) -> None:
    assert scene.walk() is Verdict.GO
    assert scene.promotion().begin(STEPS, "") is None


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
        found = promote.Approve(promote.Asked())(Target(5))
    assert found is want


def test_ctrl_c_at_the_question_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    asked = promote.Asked()
    with os.fdopen(out) as terminal, asked.heard():
        monkeypatch.setattr(sys, "stdin", terminal)
        os.kill(os.getpid(), signal.SIGINT)
        assert promote.Approve(asked)(Target(5)) is Verdict.BACK
    os.close(into)
    assert asked() == "SIGINT"


# Bad input.


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
    with arguments("--header", "tester") as read, pytest.raises(ConfigError, match='canaryCohort is "tester"'):
        promote.chosen(read, ON, None)


def test_other_steps_beside_a_promotion_that_has_not_ended_are_refused() -> None:
    now = standing(lines(TRY, GO))
    with arguments("--steps", "10,100") as read, pytest.raises(PromoteError, match="with other steps has not ended"):
        promote.chosen(read, ON, now)
    with arguments("--steps", "1,5,20,50,100") as read:
        assert promote.chosen(read, ON, now)[0] == STEPS


def test_the_steps_come_from_the_config_where_none_are_given() -> None:
    config = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}, "promoteSteps": "0.1,100"})
    with arguments() as read:
        assert promote.chosen(read, config, None) == ((0.1, 100), "")


def test_no_step_asked_for_is_out_of_range() -> None:
    with pytest.raises(SystemExit), arguments("--margin", "0"):
        pass


def test_promote_says_one_line_where_the_stack_has_no_config(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.cli", "--state", str(tmp_path), "promote", "--stack", "no-such-stack"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "lab promote: there is no Pulumi.no-such-stack.yaml here; choose a stack that exists\n"


def test_the_result_is_one_json_document() -> None:
    now = standing(lines(TRY, GO, TRY, BACK, END))
    assert now
    assert json.loads(promote._document(Verdict.BACK, now)) == {
        "verdict": "roll back",
        "promotion": "p",
        "weight": 1.0,
        "passed": [{"weight": 1.0, "cohort": ""}],
        "why": "w",
    }
