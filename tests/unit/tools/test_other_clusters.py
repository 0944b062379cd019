"""The check before `make clean`: state of stacks on other clusters is not deleted."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.other_clusters import main, on_other_clusters


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


def test_make_clean_with_other_clusters_removes_nothing(tmp_path: Path) -> None:
    shutil.copy("Makefile", tmp_path)
    (tmp_path / ".lab").mkdir()
    done = subprocess.run(["make", "clean", "PYTHON=false"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert (tmp_path / ".lab").exists()
