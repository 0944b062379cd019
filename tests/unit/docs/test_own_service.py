"""The walk of docs/own-service.md: its settings, and its environment without the embedded cluster."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.documented import ROOT, block_commands, documented

SHOP = ROOT / "examples" / "shop"
PAGE = (ROOT / "docs" / "own-service.md").read_text()
TARGET = "  waypoint-lab:target:\n    kind: existing"


def test_settings_of_the_page_are_those_of_the_shop_and_a_target() -> None:
    shown: dict[str, Any] = yaml.safe_load(re.findall(r"^```yaml\n(config:.*?)```", PAGE, re.DOTALL | re.MULTILINE)[0])
    assert TARGET in PAGE
    assert shown["config"].pop("waypoint-lab:target") == {"kind": "existing"}
    assert yaml.safe_load((SHOP / "Pulumi.shop.yaml").read_text())["config"] == shown["config"]


def test_environment_of_the_shop_needs_no_embedded_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "examples" / "shop"
    shutil.copytree(SHOP, folder, ignore=shutil.ignore_patterns(".lab*"))
    file = folder / "Pulumi.shop.yaml"
    file.write_text(file.read_text().replace("config:", f"config:\n{TARGET}", 1))
    for name in ("WAYPOINT_LAB_STATE", "PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    command = documented(
        "docs/own-service.md",
        'eval "$(../../.venv/bin/lab env --stack shop)"',
        {"../../.venv/bin/lab": f"{sys.executable} -m waypoint_lab.cli"},
        "&& printenv PULUMI_BACKEND_URL",
    )
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout == f"file://{folder}/.lab/pulumi\n", done.stderr


def test_commands_of_the_shop_are_in_their_order() -> None:
    found = block_commands(PAGE)
    wanted = [
        "make .venv/.installed",
        "cd examples/shop",
        'eval "$(../../.venv/bin/lab env --stack shop)"',
        "pulumi stack select --create shop",
        "lab doctor --stack shop",
        "pulumi up",
    ]
    assert [command for command in found if command in wanted] == wanted
