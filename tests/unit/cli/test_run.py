"""The command line: usage errors, the choice of stages, and help."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from waypoint_lab import masking
from waypoint_lab.cli import main, reports
from waypoint_lab.cli import run as run_command
from waypoint_lab.cli.run import choose_stages
from waypoint_lab.errors import PulumiError, ReportError
from waypoint_lab.measure.restore import Backup
from waypoint_lab.measure.stage_run import StageResult
from waypoint_lab.measure.verify import Measurement, Verdict
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages.table import BY_NAME

COMMANDS = [
    *(("up",), ("down",), ("status",), ("env",), ("run",), ("verify",), ("doctor",), ("policies",), ("bench",)),
    *(("canary", "promote"), ("canary", "rollback"), ("canary", "history")),
    *(("waypoint", "migrate"), ("waypoint", "abort"), ("waypoint", "history")),
    *(("chaos", "check"), ("chaos", "run"), ("chaos", "schedule")),
]


def test_run_unknown_stage_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["run", "--stages", "canry"]) == 2
    assert "there is no stage 'canry'; known are waypoint" in capsys.readouterr().err


def test_choose_stages_some_are_followed_by_the_cleanup() -> None:
    assert [BY_NAME[name] for name in ("canary", "premium", "cleanup")] == choose_stages("premium,canary")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_is_complete(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([*command, "--help"]) == 0
    found = capsys.readouterr().out
    assert found.startswith(f"Usage: lab {' '.join(command)}")
    assert len(found.splitlines()) > 4


def test_lab_without_a_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    main.main([])
    captured = capsys.readouterr()
    assert all(f"  {command[0]}" in captured.out + captured.err for command in COMMANDS)


def test_lab_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["canary", "promte"]) == 2
    assert "promte" in capsys.readouterr().err


PASSED = Measurement("answered", Verdict.PASSED, 500, 1.0, 1.0, (0.98, 1.0), {"200": 500})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose stage `waypoint` passes."""
    results = [StageResult("waypoint", "", [PASSED])]
    monkeypatch.setattr(run_command, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(run_command, "use_target", lambda _state, _config: None)
    monkeypatch.setattr(run_command, "run_stages", lambda *_arguments, **_more: results)
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    return tmp_path


def test_run_report_that_cannot_be_written_keeps_the_outcome(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise ReportError("--report r/report.html: it cannot be written (No space left on device)")

    monkeypatch.setattr(reports.Recording, "write", fail)
    assert main.main(["run", "--report", str(project / "r"), "--no-picture", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is True
    assert captured.err == "report: --report r/report.html: it cannot be written (No space left on device)\n"


@pytest.mark.parametrize("name", ["missing/run.json", "folder", "Pulumi.dev.yaml/run.json"])
def test_run_results_that_cannot_be_written_are_refused_before_the_run(
    project: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (project / "folder").mkdir()
    assert main.main(["run", "--json", str(project / name)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == (
        f"Error: Invalid value for --json: {project / name}: it cannot be written; name a file in a folder of yours"
    )


@pytest.mark.usefixtures("project")
def test_run_results_on_a_full_disk_come_after_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[str] = []
    monkeypatch.setattr(reports.Recording, "write", lambda _record, title, *_more: written.append(title))
    assert main.main(["run", "--json", "/dev/full"]) == 1
    assert written == ["lab run"]
    assert capsys.readouterr().err == "lab run: --json /dev/full: it cannot be written (No space left on device)\n"


def test_run_writes_its_results(project: Path) -> None:
    assert main.main(["run", "--json", str(project / "run.json")]) == 0
    assert json.loads((project / "run.json").read_text())["passed"] is True


def test_run_results_in_a_file_have_no_secret(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(masking, "_known", {"t0ken-4f9a", "5000"})
    results = [StageResult("premium", "", [replace(PASSED, what="t0ken-4f9a to premium", requests=5000)])]
    monkeypatch.setattr(run_command, "run_stages", lambda *_arguments, **_more: results)
    assert main.main(["run", "--json", str(project / "run.json")]) == 0
    capsys.readouterr()
    assert main.main(["run", "--json", "-"]) == 0
    text = (project / "run.json").read_text()
    assert text == capsys.readouterr().out
    (row,) = json.loads(text)["stages"][0]["verdicts"]
    assert (row["what"], row["requests"]) == ("[secret] to premium", 5000)


def test_run_restore_that_fails_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_stack: Any) -> float:
        raise PulumiError("no answer")

    stack = PulumiStack(project, "dev")
    Backup(stack).keep()
    monkeypatch.setattr(PulumiStack, "up_unchecked", fail)
    assert main.main(["run", "--restore"]) == 1
    said = capsys.readouterr().err
    assert "the stack is restored" not in said
    assert said.splitlines()[-1].startswith(
        "lab run: Pulumi.dev.yaml is restored, but the stack's resources are not: no answer; "
    )
