"""Commands that use a cluster: only that of the stack, and errors of the machine in one line."""

from pathlib import Path
from types import ModuleType

import pytest

from waypoint_lab.cli import (
    bench,
    canary_promote,
    canary_rollback,
    chaos,
    chaos_schedule,
    doctor,
    guard,
    main,
    verify,
    waypoint_migrate,
)
from waypoint_lab.cli import run as run_command
from waypoint_lab.rollout.journal import Journal

MODULES = (
    bench,
    canary_promote,
    canary_rollback,
    chaos,
    chaos_schedule,
    doctor,
    guard,
    run_command,
    verify,
    waypoint_migrate,
)
COMMANDS = [
    ("run",),
    ("bench",),
    ("verify",),
    ("doctor",),
    ("guard", "--", "true"),
    ("canary", "promote"),
    ("canary", "rollback"),
    ("waypoint", "migrate", "--to", "waypoint-next"),
    ("waypoint", "abort"),
    ("chaos", "check"),
    ("chaos", "run"),
    ("chaos", "schedule", "schedule.yaml"),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with an embedded stack; kubectl and pulumi of the shell leave a file when they are run."""
    for module in MODULES:
        if hasattr(module, "PROJECT_FOLDER"):
            monkeypatch.setattr(module, "PROJECT_FOLDER", tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    schedule = (
        "health: {url: http://127.0.0.1:1/}\nfaults: [{startSeconds: 0, durationSeconds: 5, abort: {percent: 50}}]\n"
    )
    (tmp_path / "schedule.yaml").write_text(schedule)
    for name in ("kubectl", "pulumi"):
        (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/used\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "production"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_without_the_embedded_cluster_uses_no_other(
    project: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert main.main(["--state", str(project / "state"), *command]) == 1
    said = capsys.readouterr().err
    assert "run `lab up` first" in said
    assert len(said.splitlines()) == 1
    assert not (project / "used").exists()


def test_run_with_a_journal_that_cannot_be_written_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_command, "use_target", lambda _state, _config: None)
    (project / ".lab-history").touch()  # a file where the folder would be
    assert main.main(["run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lab run: ")
    assert ".lab-history" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "command"),
    [(run_command, ("run",)), (bench, ("bench",)), (chaos_schedule, ("chaos", "schedule", "schedule.yaml"))],
)
def test_command_beside_a_promotion_of_the_stack_is_refused(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: ModuleType,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setattr(module, "use_target", lambda _state, _config: None)
    monkeypatch.setattr("embedded.cluster.PROJECT_FOLDER", project)
    with Journal(project, "dev").locked():
        assert main.main([*command]) == 1
    said = capsys.readouterr().err
    assert "dev" in said
    assert len(said.splitlines()) == 1
    assert (project / "Pulumi.dev.yaml").read_text() == "config: {}\n"
    assert not (project / "used").exists()
