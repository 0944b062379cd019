"""Edits of a stack's file."""

from pathlib import Path

import pytest
import yaml

from waypoint_lab.config import stack_file

FILE = """# mine
config:
  waypoint-lab:canary:
    weight: 20  # a fifth
    steps:
      - 5
  waypoint-lab:stages:
    waypoint: true
  other:key: {a: 1}
encryptionsalt: v1:abc
"""


def test_edited_changes_its_own_lines_only() -> None:
    changed = stack_file.edited(FILE, {"canary.weight": 0.1, "fault.start": "b"})
    assert set(FILE.splitlines()) - set(changed.splitlines()) == {"    weight: 20  # a fifth"}
    assert set(changed.splitlines()) - set(FILE.splitlines()) == {
        "    weight: 0.1 # a fifth",
        "  waypoint-lab:fault:",
        "    start: b",
    }


@pytest.mark.parametrize(
    "text", ["", "{}\n", "config: {waypoint-lab:canary: {weight: 5}, other:key: 1}\n", "config:\n"]
)
def test_edited_other_formats_keep_their_settings(text: str) -> None:
    before = (yaml.safe_load(text) or {}).get("config") or {}
    after = yaml.safe_load(stack_file.edited(text, {"canary.weight": 7}))["config"]
    assert after == {**before, "waypoint-lab:canary": {"weight": 7}}


def test_write_replaces_the_file_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("old")
    file.chmod(0o640)
    stack_file.write(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]
