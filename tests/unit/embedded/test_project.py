"""The project folder that `lab` works on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedded import project
from embedded.project import default_state, find_project
from embedded.shell import use_environment

CLONE = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("below", "expected"), [("", "project"), ("deep/er", "project")])
def test_project_of_the_current_folder_is_preferred(tmp_path: Path, below: str, expected: str) -> None:
    project = tmp_path / "project"
    (project / below).mkdir(parents=True)
    (project / "Pulumi.yaml").write_text("name: waypoint-lab\nruntime: python\n")
    assert tmp_path / expected == find_project(project / below)


def test_clone_of_the_module_is_used_from_other_folders(tmp_path: Path) -> None:
    assert find_project(tmp_path) == CLONE
    assert find_project(CLONE / "examples" / "greeter") == CLONE  # a project of another name


def test_folder_that_cannot_be_read_is_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def refused(file: Path) -> bool:
        if tmp_path in file.parents:
            raise PermissionError(13, "Permission denied", str(file))
        return is_file(file)

    monkeypatch.setattr(Path, "is_file", refused)
    assert find_project(tmp_path / "below") == CLONE


def test_deleted_current_folder_gives_the_clone_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "deleted").mkdir()
    script = "import os; os.rmdir(os.getcwd()); from embedded.project import PROJECT_FOLDER; print(PROJECT_FOLDER)"
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, cwd=tmp_path / "deleted", capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == f"{CLONE}\n", done.stderr


def make_clone(folder: Path) -> Path:
    (folder / ".lab").mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text("name: waypoint-lab\nruntime: python\n")
    return folder


@pytest.mark.parametrize(
    ("here", "given", "expected"),
    [
        ("ours", "other/.lab", "ours/.lab"),
        ("ours", "ours/.lab", "ours/.lab"),
        ("ours", "other/chosen", "other/chosen"),
        ("ours", "no-clone/.lab", "no-clone/.lab"),
        ("no-clone", "other/.lab", "other/.lab"),
        ("ours/examples/shop", "ours/.lab", "ours/.lab"),
    ],
)
def test_state_that_lab_env_of_another_clone_exported_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str, given: str, expected: str
) -> None:
    for name in ("ours", "other", "ours/examples/shop"):
        make_clone(tmp_path / name)
    monkeypatch.setattr(project, "PROJECT_FOLDER", tmp_path / here)
    monkeypatch.setattr("os.environ", {**os.environ, "WAYPOINT_LAB_STATE": str(tmp_path / given)})
    assert tmp_path / expected == default_state()
    use_environment({"WAYPOINT_LAB_STATE": str(tmp_path / given)})  # as a command with --state does
    assert tmp_path / given == default_state()
