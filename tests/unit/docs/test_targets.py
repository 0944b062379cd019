"""The walks of docs/targets.md: their order, and their environment before there is a stack or a login."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import ROOT, documented, page_commands

PAGE = "docs/targets.md"
LAB = f"{sys.executable} -m waypoint_lab.cli"


@pytest.mark.parametrize(
    ("file", "environment", "create"),
    [
        (
            documented(
                "docs/targets.md",
                r"printf 'config:\n  waypoint-lab:target:\n    kind: existing\n' > Pulumi.staging.yaml",
            ),
            documented("docs/targets.md", 'eval "$(.venv/bin/lab env --stack staging)"'),
            "pulumi stack select --create staging",
        ),
        (
            documented(
                "docs/targets.md", r"printf 'config:\n  waypoint-lab:target:\n    kind: kind\n' > Pulumi.local.yaml"
            ),
            documented("docs/targets.md", 'eval "$(.venv/bin/lab env --stack local)"'),
            "pulumi stack select --create local",
        ),
    ],
)
def test_environment_comes_before_the_stack_and_needs_its_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, environment: str, create: str
) -> None:
    assert [one for one in page_commands(PAGE) if one in (file, environment, create)] == [file, environment, create]
    shutil.copy(ROOT / "Pulumi.yaml", tmp_path)
    for name in ("WAYPOINT_LAB_STATE", "PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    command = f"{file} && {environment.replace('.venv/bin/lab', LAB)} && printenv PULUMI_BACKEND_URL"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == f"file://{tmp_path}/.lab/pulumi\n", done.stderr
