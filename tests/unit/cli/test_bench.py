"""Errors of `lab bench`, and its weights."""

import os
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.cli import bench, main
from waypoint_lab.errors import PulumiError, RestoreError
from waypoint_lab.measure.restore import Backup
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages.table import Step


def test_rounds_after_a_kill_that_cannot_be_restored_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stack: PulumiStack) -> float:
        raise PulumiError("no answer")

    (tmp_path / "pulumi").write_text(f"#!/bin/sh\ntouch {tmp_path}/used\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(PulumiStack, "up_unchecked", fail)
    stack = PulumiStack(tmp_path, "dev")
    stack.file.write_text("config: {}\n")
    Backup(stack).keep()
    with pytest.raises(RestoreError, match="no answer"):
        bench.rounds(stack, 1, print, {})
    assert not (tmp_path / "used").exists()


def test_bench_of_a_stack_on_another_cluster_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("embedded.cluster.PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  waypoint-lab:target:\n    kind: existing\n")
    assert main.main(["--state", str(tmp_path / "state"), "bench"]) == 1
    assert capsys.readouterr().err == (
        "lab bench: waypoint-lab:target.kind: stack dev is on existing; lab bench is for the embedded cluster\n"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["Pulumi.dev.yaml"]


def test_weights_of_many_rounds_are_valid_and_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stepped: list[int] = []
    applied: list[int] = []
    apis: set[object] = set()

    def step(_stack: PulumiStack, step: Step) -> None:
        if "canary.weight" in step.settings:
            apis.add(step.settings["trafficApi"])
            stepped.append(lab_config(canary={"weight": step.settings["canary.weight"]}).canary.weight)

    for name in ("selected", "restored"):
        monkeypatch.setattr(bench, name, lambda *_arguments: nullcontext())
    for name in ("recover", "_pulumi", "_up"):
        monkeypatch.setattr(bench, name, lambda *_arguments: 1.0)
    monkeypatch.setattr(bench.envoy_config, "wait", lambda *_arguments: None)
    monkeypatch.setattr(PulumiStack, "up", lambda _stack: 1.0)
    monkeypatch.setattr(bench, "set_step", step)
    monkeypatch.setattr(bench, "_apply", lambda _config, weight: applied.append(weight))
    bench.rounds(PulumiStack(tmp_path, "dev"), 90, lambda _line: None, {name: [] for name in bench.STEPS})
    assert 90 == len(applied) == len(stepped) - 1
    assert max(applied) <= 100
    assert apis == {"gateway-api"}  # else there is no HTTPRoute to apply
    changes = [*pairwise(stepped), *pairwise(applied), *zip(stepped[1:], applied, strict=True)]
    assert all(before != after for before, after in changes)


def test_bench_that_is_not_restored_prints_its_times_and_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_stack: PulumiStack, _count: int, _report: object, seen: dict[str, list[float]]) -> None:
        for values in seen.values():
            values.append(1.5)
        raise PulumiError("no answer")

    monkeypatch.setattr("embedded.cluster.PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(bench, "use_target", lambda *_arguments: None)
    monkeypatch.setattr(bench.cluster, "memory", lambda _state: 2**20)
    monkeypatch.setattr(bench, "rounds", fail)
    assert main.main(["bench"]) == 1
    said = capsys.readouterr()
    assert "1.50 s" in said.out
    assert said.err == "lab bench: no answer\n"
