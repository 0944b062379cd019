"""The check before `make clean`: state of stacks on other clusters is not deleted."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedded import processes
from tools.other_clusters import main, needed_history, on_other_clusters


def write(folder: Path, name: str, kind: str, resources: int) -> None:
    stack: dict[str, Any] = {"type": "pulumi:pulumi:Stack", "outputs": {"declared": {"target": {"kind": kind}}}}
    items = [stack, *({"type": "kubernetes:core/v1:Service"} for _ in range(resources))]
    file = folder / "pulumi" / ".pulumi" / "stacks" / "waypoint-lab" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"checkpoint": {"latest": {"resources": items}}}))


def test_on_other_clusters_names_stacks_with_resources_elsewhere(tmp_path: Path) -> None:
    write(tmp_path, "dev", "embedded", 3)
    write(tmp_path, "staging", "existing", 3)
    write(tmp_path, "empty", "existing", 0)
    assert on_other_clusters(tmp_path) == ["waypoint-lab/staging"]


def write_undeclared(folder: Path, text: str, inputs: dict[str, str], project: str = "waypoint-lab") -> Path:
    """Write the state of a first update that failed, and the file of its stack; return the state folder."""
    stack = {"type": "pulumi:pulumi:Stack", "outputs": {}}
    items = [stack, {"type": "pulumi:providers:kubernetes", "inputs": inputs}, {"type": "kubernetes:core/v1:Service"}]
    file = folder / ".lab" / "pulumi" / ".pulumi" / "stacks" / project / "west.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"checkpoint": {"latest": {"resources": items}}}))
    (folder / "Pulumi.yaml").write_text("name: waypoint-lab\n")
    (folder / "Pulumi.west.yaml").write_text(text)
    return folder / ".lab"


TARGET = "config:\n  waypoint-lab:target:"


@pytest.mark.parametrize(
    ("text", "inputs", "refused"),
    [
        ("config: {}\n", {}, False),
        (f"{TARGET}\n    kind: embedded\n", {}, False),
        (f'{TARGET} \'{{"kind": "embedded"}}\'\n', {}, False),
        ("# waypoint-lab:target: {kind: existing}\n", {}, False),
        ("config: {}\n", {"context": "west"}, True),
        (f"{TARGET}\n    kind: existing\n", {}, True),
        (f"{TARGET} {{kind: existing}}\n", {}, True),
        (f'{TARGET} \'{{"kind": "existing"}}\'\n', {}, True),
        (f"{TARGET} &other\n    kind: kind\n", {}, True),
    ],
)
def test_on_other_clusters_state_of_a_failed_first_update(
    tmp_path: Path, text: str, inputs: dict[str, str], refused: bool
) -> None:
    assert bool(on_other_clusters(write_undeclared(tmp_path, text, inputs))) == refused


@pytest.mark.parametrize("name", ["Pulumi.west.yaml", "Pulumi.yaml"])
def test_on_other_clusters_failed_first_update_without_a_readable_file_counts(tmp_path: Path, name: str) -> None:
    state = write_undeclared(tmp_path, "config: {}\n", {})
    (tmp_path / name).write_bytes(b"\xff")
    assert on_other_clusters(state) == ["waypoint-lab/west"]
    (tmp_path / name).unlink()
    assert on_other_clusters(state) == ["waypoint-lab/west"]


def test_on_other_clusters_failed_first_update_of_an_example_or_of_another_project_counts(tmp_path: Path) -> None:
    state = write_undeclared(tmp_path, "config: {}\n", {})
    (tmp_path / "examples" / "shop").mkdir(parents=True)
    (tmp_path / "examples" / "shop" / "Pulumi.west.yaml").write_text(f"{TARGET}\n    kind: existing\n")
    assert on_other_clusters(state) == ["waypoint-lab/west"]
    other = write_undeclared(tmp_path / "other", "config: {}\n", {}, project="greeter")
    assert on_other_clusters(other) == ["greeter/west"]


def test_on_other_clusters_unreadable_state_counts(tmp_path: Path) -> None:
    write(tmp_path, "broken", "embedded", 1)
    (tmp_path / "pulumi/.pulumi/stacks/waypoint-lab/broken.json").write_text("{")
    assert on_other_clusters(tmp_path) == ["waypoint-lab/broken"]


def test_main_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 0
    write(tmp_path / ".lab", "staging", "kind", 1)
    assert main() == 1
    assert ".lab: it holds the state of waypoint-lab/staging" in capsys.readouterr().err


START = '{"kind": "start", "promotion": "1"}\n'
END = '{"kind": "end", "promotion": "1"}\n'
MIGRATION = '{"kind": "migration", "promotion": "2", "step": {"name": "w", "canary": "%s"}}\n'


@pytest.mark.parametrize(
    ("name", "text", "needed"),
    [
        ("west.jsonl", START, True),
        ("west.jsonl", START + END + START[:20], False),
        ("west.jsonl", START + MIGRATION % "", True),
        ("west.jsonl", START + END + MIGRATION % "w2", True),
        ("west.jsonl", START + END + MIGRATION % "w2" + MIGRATION % "", False),
        ("west.jsonl", "", False),
        ("west.before.json", "{}", True),
        ("west.before.yaml", "config: {}\n", True),
        ("gone.before.json", "{}", True),
        ("dev.before.json", "{}", False),
        ("dev.jsonl", START, False),
        ("west.lock", "", False),
    ],
)
@pytest.mark.parametrize("folder", [".", "examples/shop"])
def test_needed_history_is_that_of_unended_commands_on_other_clusters(
    tmp_path: Path, folder: str, name: str, text: str, needed: bool
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: waypoint-lab\n")
    history = tmp_path / folder / ".lab-history"
    history.mkdir(parents=True)
    for stack, kind in (("west", "existing"), ("dev", "embedded")):
        (tmp_path / folder / f"Pulumi.{stack}.yaml").write_text(f"{TARGET}\n    kind: {kind}\n")
    (history / name).write_text(text)
    assert needed_history(tmp_path) == ([str(history / name)] if needed else [])


def test_main_names_the_file_of_an_unended_promotion_and_its_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".lab-history").mkdir()
    Path(".lab-history/prod.jsonl").write_text(START)
    assert main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(".lab-history/prod.jsonl: a promotion, ")
    assert line.endswith("; end it, or delete what is left of it: rm .lab-history/prod.jsonl")


def test_make_clean_removes_the_journals_of_the_examples(tmp_path: Path) -> None:
    shutil.copy("Makefile", tmp_path)
    history = tmp_path / "examples" / "shop" / ".lab-history"
    history.mkdir(parents=True)
    done = subprocess.run(["make", "clean", "PYTHON=true"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, history.exists()) == (0, False), done.stderr


def test_make_clean_with_other_clusters_removes_nothing(tmp_path: Path) -> None:
    shutil.copy("Makefile", tmp_path)
    (tmp_path / ".lab").mkdir()
    done = subprocess.run(["make", "clean", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (tmp_path / ".lab").exists()


def test_make_clean_stops_the_cluster_of_the_folder_that_it_deletes(tmp_path: Path) -> None:
    shutil.copy("Makefile", tmp_path)
    lab = tmp_path / ".venv" / "bin" / "lab"
    lab.parent.mkdir(parents=True)
    lab.write_text('#!/bin/sh\necho "$@" > called\n')
    lab.chmod(0o755)
    more = {**os.environ, "WAYPOINT_LAB_STATE": "/srv/another/.lab"}
    subprocess.run(["make", "clean", "PYTHON=true"], cwd=tmp_path, env=more, capture_output=True, check=True)
    assert (tmp_path / "called").read_text() == "--state .lab down\n"


def test_main_with_a_running_cluster_needs_the_command_that_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".lab/run").mkdir(parents=True)
    processes.write_identity(Path(".lab/run/watchdog"), os.getpid())
    assert main() == 1
    assert capsys.readouterr().err.startswith(".lab: its cluster runs, and .venv/bin/lab, which stops it, is missing")
    lab = Path(".venv/bin/lab")
    lab.parent.mkdir(parents=True)
    lab.touch()
    assert main() == 0
