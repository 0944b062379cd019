"""The wheel: it holds all data files, and `lab` runs from it without the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
SOURCES = ("waypoint_lab", "embedded", "components", "policies", "pyproject.toml", "requirements.in")
DATA = {
    "components/PulumiPlugin.yaml",
    "components/schema.json",
    "embedded/bookinfo/bookinfo.yaml",
    "embedded/toolchain/go.mod",
    "embedded/toolchain/go.sum",
    "embedded/toolchain/istiod/main.go",
    "embedded/toolchain/kubelet-streaming/main.go",
    "embedded/toolchain/requirements-go.txt",
    "policies/PulumiPolicy.yaml",
    "waypoint_lab/dashboard/static/index.html",
    "waypoint_lab/program/kind_cluster.yaml",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what `pip install .` puts into site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (CLONE / name).is_dir():
            shutil.copytree(CLONE / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "venv"))
        else:
            shutil.copyfile(CLONE / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*command, "--wheel-dir", str(folder)], cwd=source, check=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOINT_LAB_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_wheel_has_every_data_file_of_the_sources(installed: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=CLONE, capture_output=True, text=True, check=True).stdout.split()
    sources = {file for file in tracked if file.split("/")[0] in SOURCES and "/" in file and (CLONE / file).exists()}
    left_out = {file for file in sources if not (installed / file).exists()}
    assert {"components/.gitignore"} | {file for file in sources if file.endswith(".in")} == left_out
    assert sources >= DATA


@pytest.mark.parametrize(
    ("arguments", "code", "printed"),
    [(["--help"], 0, "Usage: lab"), (["policies"], 0, "mandatory"), (["status"], 1, "not running")],
)
def test_lab_runs_from_the_wheel(
    installed: Path, tmp_path: Path, arguments: list[str], code: int, printed: str
) -> None:
    done = run(installed, tmp_path, "-m", "waypoint_lab.cli", *arguments)
    assert (code, "") == (done.returncode, done.stderr)
    assert printed in done.stdout


@pytest.mark.parametrize(("below", "expected"), [("", "project"), ("deep/er", "project"), ("../other", "other")])
def test_default_state_is_in_the_project_of_the_current_folder(
    installed: Path, tmp_path: Path, below: str, expected: str
) -> None:
    project = tmp_path / "project"
    folder = (project / below).resolve()
    folder.mkdir(parents=True)
    project.mkdir(exist_ok=True)
    (project / "Pulumi.yaml").write_text("name: waypoint-lab\nruntime: python\n")
    done = run(installed, folder, "-c", "from embedded import cluster; print(cluster.default_state())")
    assert f"{tmp_path / expected / '.lab'}\n" == done.stdout, done.stderr
