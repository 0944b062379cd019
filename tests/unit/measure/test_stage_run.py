"""The restored stack after a run of stages, and differences of the cluster."""

import json
import os
import signal
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tests.unit.configs import lab_config
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import PulumiError, RestoreError
from waypoint_lab.measure import snapshot, stage_run
from waypoint_lab.measure.client import Answer
from waypoint_lab.measure.restore import restored, selected
from waypoint_lab.measure.stage_run import StageResult, set_step
from waypoint_lab.measure.verify import Measurement, Verdict, judge
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages.table import BY_NAME, Expect, Measure, Stage, Step


def taken(*, selector: str = "reviews", labels: dict[str, str] | None = None, objects: tuple[str, ...] = ()) -> Any:
    return {
        "namespace backends": {"labels": labels or {}, "annotations": {}, "spec": {}},
        "service reviews": {"labels": {}, "annotations": {}, "spec": {"selector": {"app": selector}}},
        "objects": ["service/reviews", *objects],
    }


def test_differences_of_an_unchanged_cluster_are_none() -> None:
    assert snapshot.differences(taken(), taken()) == []


def test_orphans_are_objects_of_deleted_gateways() -> None:
    gateway = {"kind": "Gateway", "metadata": {"name": "w", "uid": "1"}}

    def owned(name: str, kind: str, uid: str) -> dict[str, Any]:
        return {"kind": "Deployment", "metadata": {"name": name, "ownerReferences": [{"kind": kind, "uid": uid}]}}

    items = [gateway, owned("w", "Gateway", "1"), owned("gone", "Gateway", "2"), owned("other", "Job", "3")]
    for number, item in enumerate(items[1:], start=10):
        item["metadata"] |= {"uid": str(number)}
    assert snapshot.orphans(items) == ["Deployment gone"]


def test_differences_changed_selector_has_both_values() -> None:
    (line,) = snapshot.differences(taken(), taken(selector="other"))
    assert line.startswith("service reviews is not as it was: spec was ")
    assert '"reviews"' in line
    assert '"other"' in line


def test_differences_remaining_label_is_named() -> None:
    left = snapshot.differences(taken(), taken(labels={"istio.io/use-waypoint": "waypoint"}))
    assert [line.split(" is ")[0] for line in left] == ["namespace backends"]


def test_differences_names_added_and_removed_objects() -> None:
    assert snapshot.differences(taken(), taken(objects=("httproute/reviews",))) == ["httproute/reviews is left behind"]
    assert snapshot.differences(taken(objects=("service/mine",)), taken()) == ["service/mine is gone"]


def test_wait_ends_once_objects_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [taken(objects=("service/waypoint",)), taken(objects=("service/waypoint",)), taken()]
    monkeypatch.setattr(snapshot, "take", lambda _config: answers.pop(0))
    monkeypatch.setattr(snapshot, "POLL_SECONDS", 0.001)
    assert snapshot.wait(LabConfig(), taken(), 5) == []
    assert answers == []


def test_wait_past_the_limit_names_the_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "take", lambda _config: taken(objects=("service/waypoint",)))
    monkeypatch.setattr(snapshot, "POLL_SECONDS", 0.001)
    assert snapshot.wait(LabConfig(), taken(), 0.02) == ["service/waypoint is left behind"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_restored_after_a_signal_restores_the_file_and_the_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    ups: list[bytes] = []
    monkeypatch.setattr(PulumiStack, "up_unchecked", lambda stack: ups.append(stack.file.read_bytes()))
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_bytes(b"encryptionsalt: v1:abc\n")
    before = signal.getsignal(number)

    def ended() -> None:
        with restored(PulumiStack(tmp_path, "dev"), print):
            file.write_text("config: {}\n")
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        ended()
    assert file.read_bytes() == b"encryptionsalt: v1:abc\n"
    assert ups == [b"encryptionsalt: v1:abc\n"]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("succeeds", "restores"), [(True, 0), (False, 1)])
def test_restored_after_a_failed_update_restores_the_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, succeeds: bool, restores: int
) -> None:
    ups: list[str] = []
    monkeypatch.setattr(PulumiStack, "up_unchecked", lambda stack: ups.append(stack.name))
    stack = PulumiStack(tmp_path, "dev")
    stack.file.write_text("config: {}\n")
    codes = iter((0, 0 if succeeds else 1))
    monkeypatch.setattr(stack, "_run", lambda command, checked: (next(codes), "error: no answer"))
    with restored(stack, print):
        for step in (BY_NAME["abort"].steps[0], Step(())):
            set_step(stack, step)
            with suppress(PulumiError):
                stack.up()
    assert restores == len(ups)
    assert stack.file.read_text() == "config: {}\n"


@pytest.mark.parametrize(
    ("text", "stacks", "after"),
    [
        ("encryptionsalt: v1:abc\nconfig: {a:b: on}  # kept\n", ["other"], "config: {a:b: on}  # kept\n"),
        ("encryptionsalt: v1:abc\n", ["dev"], None),
        ("config:\n  a:b:\n    secure: x\nencryptionsalt: v1:abc\n", [], None),
        ("config: {}\n", None, None),  # pulumi is not called
    ],
)
def test_selected_without_stack_removes_an_unused_salt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, stacks: list[str] | None, after: str | None
) -> None:
    file, listed = tmp_path / "Pulumi.dev.yaml", json.dumps([{"name": name} for name in stacks or []])
    file.write_text(text)
    answer = f"echo '{listed}'" if stacks is not None else "exit 1"
    (tmp_path / "pulumi").write_text(f'#!/bin/sh\n[ "$2" = select ] || {answer}\n')
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with selected(PulumiStack(tmp_path, "dev")):
        assert file.read_text() == (after or text)
    assert file.read_text() == text


def test_selected_failure_of_pulumi_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pulumi").write_text("#!/bin/sh\necho 'error: no login' >&2\nexit 255\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(PulumiError, match=r"^pulumi stack failed: no login$"), selected(PulumiStack(tmp_path, "dev")):
        pass


def run_cleanup(folder: Path, monkeypatch: pytest.MonkeyPatch, *, restores: bool = True) -> list[StageResult]:
    """Run stage `cleanup` of a stack without a cluster."""

    def restore(_stack: PulumiStack) -> float:
        if not restores:
            raise PulumiError("no answer")
        return 0.0

    monkeypatch.setattr(stage_run, "selected", nullcontext)
    monkeypatch.setattr(stage_run, "run_stage", lambda _stack, row, *_more, **_named: StageResult(row.name, row.title))
    monkeypatch.setattr(snapshot, "settled", lambda _config: {})
    monkeypatch.setattr(snapshot, "wait", lambda _config, _before: [])
    monkeypatch.setattr(PulumiStack, "up", lambda _stack: 0.0)
    monkeypatch.setattr(PulumiStack, "up_unchecked", restore)
    stack = PulumiStack(folder, "dev")
    stack.file.write_text("config:\n  waypoint-lab:stages:\n    waypoint: true\n")
    return stage_run.run_stages(stack, [BY_NAME["cleanup"]], print)


class Traffic:
    """A stack whose updates succeed, and measurements that pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.updates: list[bool] = []
        self.answers = [Answer(200, "none")]
        traffic = self

        class Requests:
            def __init__(self, *_args: object) -> None:
                pass

            def stop(self) -> list[Answer]:
                return traffic.answers

        def up(_stack: PulumiStack, expect_no_changes: bool = False) -> float:
            self.updates.append(expect_no_changes)
            return 1.0

        def measured(_config: LabConfig, expects: tuple[Expect, ...]) -> list[Measurement]:
            return [Measurement(one.what, Verdict.PASSED, 10, 1.0, 1.0, (0.9, 1.0), {"200": 10}) for one in expects]

        monkeypatch.setattr(stage_run, "Load", Requests)
        monkeypatch.setattr(stage_run, "measure", measured)
        monkeypatch.setattr(stage_run.envoy_config, "wait", lambda _config: 0.5)
        monkeypatch.setattr(stage_run.envoy_config, "wait_for_traffic", lambda _config: 2.0)
        monkeypatch.setattr(stage_run.fault_expiry, "now", lambda config: config)
        monkeypatch.setattr(PulumiStack, "up", up)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    return Traffic(monkeypatch)


def run_stage(folder: Path, name: str) -> StageResult:
    stack = PulumiStack(folder, "dev")
    stack.file.write_text("config: {}\n")
    return stage_run.run_stage(stack, BY_NAME[name], "now")


def test_run_stage_canary_has_its_verdicts_and_a_second_update_without_changes(
    tmp_path: Path, traffic: Traffic
) -> None:
    found = run_stage(tmp_path, "canary")
    assert (found.passed, traffic.updates[-1]) == (True, True)
    assert found.notes == ["1 requests during the change, 0 failed", "a second update changed nothing"]
    assert [item.what for item in found.own] == [
        one.what for one in BY_NAME["canary"].expects(lab_config("waypoint", "canary"))
    ]
    document = found.document()
    assert (document["observed"], document["declared"], document["up_seconds"]) == ({"200": 10}, 1.0, found.up_seconds)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([Answer(200), Answer(503)], "1 of 2 requests failed during the change"),
        ([], "0 of 0 requests failed during the change"),
    ],
)
def test_run_stage_with_a_request_that_failed_during_the_change_has_not_passed(
    tmp_path: Path, traffic: Traffic, answers: list[Answer], problem: str
) -> None:
    traffic.answers = answers
    found = run_stage(tmp_path, "canary")
    assert (found.passed, found.problems) == (False, [problem])


def test_run_stage_whose_fault_ended_before_the_measurement_has_not_passed(
    tmp_path: Path, traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_stage(tmp_path, "abort").passed
    faults = yaml.safe_load((tmp_path / "Pulumi.dev.yaml").read_text())["config"]["waypoint-lab:fault"]
    assert (faults["durationSeconds"], faults["start"]) == (stage_run.FAULT_SECONDS, "now")
    monkeypatch.setattr(stage_run.fault_expiry, "now", lambda _config: lab_config("waypoint"))
    assert run_stage(tmp_path, "abort").problems == ["the fault ended after 600 s, before the measurement did"]


def test_run_stages_not_restored_has_a_result_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [result.name for result in run_cleanup(tmp_path, monkeypatch)] == ["cleanup"]
    cleanup, restore = run_cleanup(tmp_path, monkeypatch, restores=False)
    assert (cleanup.name, restore.name, restore.passed) == ("cleanup", "restore", False)
    assert restore.problems[0].startswith("Pulumi.dev.yaml is restored, but the stack's resources are not: no answer")


def test_run_stages_of_a_stage_that_cannot_be_applied_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cleanup(tmp_path, monkeypatch)

    def run_stage(_stack: PulumiStack, row: Stage, *_more: object, **_named: object) -> StageResult:
        if row.name == "canary":
            raise PulumiError("refused")
        return StageResult(row.name, row.title)

    monkeypatch.setattr(stage_run, "run_stage", run_stage)
    rows = [BY_NAME[name] for name in ("canary", "delay")]
    _, canary, delay = stage_run.run_stages(PulumiStack(tmp_path, "dev"), rows, print)
    assert (canary.name, canary.title, canary.problems) == ("canary", BY_NAME["canary"].title, ["refused"])
    assert (delay.name, delay.problems) == ("delay", [])


def test_run_stages_after_a_kill_that_cannot_be_restored_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cleanup(tmp_path, monkeypatch, restores=False)  # leaves a backup
    stages = list[str]()
    monkeypatch.setattr(PulumiStack, "set", lambda _stack, _settings: stages.append("set"))
    with pytest.raises(RestoreError):
        stage_run.run_stages(PulumiStack(tmp_path, "dev"), [BY_NAME["cleanup"]], print)
    assert stages == []


def test_judge_latency_with_few_answers_fails() -> None:
    rows = [Answer(200, seconds=2.05)] + [Answer(0, error="TimeoutError", seconds=15.0)] * 59
    verdict = judge(Expect("2 s later", Measure.SECONDS, low=2.0, high=2.2, requests=60), rows)
    assert not verdict.passed
    assert verdict.why == "59 of 60 requests had no answer"
    assert verdict.observed == {"200": 1, "TimeoutError": 59}


def test_stage_result_without_a_verdict_has_not_passed() -> None:
    assert not StageResult("canary", "").passed


def test_change_that_is_recorded_begins_once_requests_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Requests:
        def __init__(self, *_args: object) -> None:
            order.append("requests")

        def wait_for_answers(self) -> None:
            order.append("answers")

        def stop(self) -> list[Answer]:
            order.append("stop")
            return [Answer(200, "none")]

    def done(what: str) -> float:
        order.append(what)
        return 1.0

    monkeypatch.setattr(stage_run, "Load", Requests)
    monkeypatch.setattr(stage_run, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(stage_run.envoy_config, "wait", lambda _config: done("sync"))
    result, config = StageResult("delay", ""), lab_config("waypoint", "delay")
    stack: Any = SimpleNamespace(up=lambda: done("up"))
    stage_run._change(stack, BY_NAME["delay"], config, result, record=True)
    assert order == ["requests", "answers", "up", "sync", "stop"]
    assert [(change.name, len(change.seen)) for change in result.changes] == [("1", 1)]
    assert (result.up_seconds, result.sync_seconds) == (1.0, 1.0)
