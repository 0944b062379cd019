"""Edits of a stack's file."""

from pathlib import Path

import pytest
import yaml

from waypoint_lab.config import stack_file
from waypoint_lab.errors import ConfigError

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


def test_edited_keeps_the_settings_of_an_object_that_is_json_text() -> None:
    text = """config: {'waypoint-lab:canary': '{"weight": 5, "gate": {"successRate": 99}}'}"""
    after = yaml.safe_load(stack_file.edited(text, {"canary.weight": 7}))["config"]
    assert after == {"waypoint-lab:canary": {"weight": 7, "gate": {"successRate": 99}}}


def test_edited_keeps_the_settings_of_an_object_of_the_project() -> None:
    defaults = {"waypoint-lab:waypoint": {"failClosed": True, "canary": {"name": "b"}}, "waypoint-lab:fault": {}}
    settings = {"waypoint.name": "b", "waypoint.canary": None, "fault.start": None, "notify.webhook": None}
    after = yaml.safe_load(stack_file.edited("", settings, defaults))["config"]
    assert after == {"waypoint-lab:waypoint": {"failClosed": True, "name": "b"}}
    assert defaults["waypoint-lab:waypoint"]["canary"] == {"name": "b"}


def test_edited_object_that_is_one_secret_is_refused() -> None:
    text = "config: {waypoint-lab:canary: {secure: v1:abc}}"
    with pytest.raises(ConfigError, match=r"^waypoint-lab:canary: it is one secret"):
        stack_file.edited(text, {"canary.weight": 7})


@pytest.mark.parametrize("key", ["canary", "waypoint-lab:config:canary", "waypoint-lab:canary"])
def test_edited_keeps_the_key_of_an_object(key: str) -> None:
    changed = stack_file.edited(f"config:\n  {key}: # mine\n    weight: 20\n", {"canary.weight": 7, "fault": "a"})
    assert changed == f"config:\n  {key}: # mine\n    weight: 7\n  waypoint-lab:fault: a\n"


def test_write_keeps_a_symbolic_link(tmp_path: Path) -> None:
    link = tmp_path / "Pulumi.dev.yaml"
    link.symlink_to("real.yaml")
    stack_file.write(link, "new")
    assert (link.is_symlink(), (tmp_path / "real.yaml").read_text()) == (True, "new")


def test_write_replaces_the_file_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("old")
    file.chmod(0o640)
    stack_file.write(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("why", ["text", "mode"])
def test_write_that_fails_leaves_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    def fail(*_: object) -> None:
        raise PermissionError

    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text("old")
    monkeypatch.setattr("os.chmod", fail)
    with pytest.raises(UnicodeEncodeError if why == "text" else PermissionError):
        stack_file.write(file, "\udce9" if why == "text" else "new")
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text() == "old"
