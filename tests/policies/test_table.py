"""The table of policies, and what is written of it elsewhere."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.cluster import CLONE
from policies.pack.policy import Policy
from policies.pack.table import TABLE

PAGE = CLONE / "docs" / "policies.md"


def lab_policies(*arguments: str) -> str:
    command = [sys.executable, "-m", "waypoint_lab.cli", "policies", *arguments]
    return subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=True, timeout=30).stdout


def test_the_page_has_each_policy_with_its_level_and_parameters() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert list(rows) == [row.name for row in TABLE]
    for row in TABLE:
        assert rows[row.name].startswith(f"{row.level} |"), row.name
        named = set(re.findall(r"`(\w+)` \(", rows[row.name]))
        assert named == set(row.parameters), row.name


def test_the_example_of_the_page_names_policies_and_parameters_that_exist() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    known = {row.name: {*row.parameters, "enforcementLevel"} for row in TABLE}
    for name, given in json.loads(example).items():
        assert set(given) <= known[name]


def test_the_command_lists_every_policy() -> None:
    table = lab_policies().splitlines()
    assert [line.split()[0] for line in table if not line.startswith((" ", "policy"))] == [row.name for row in TABLE]
    rows = json.loads(lab_policies("--json"))
    assert [row["name"] for row in rows] == [row.name for row in TABLE]
    assert rows[0]["parameters"]["total"]["default"] == 100


def test_the_table_is_read_without_pulumi() -> None:
    code = "import sys, waypoint_lab.cli.policies; sys.exit(any(name.startswith('pulumi') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=CLONE, check=False, timeout=30).returncode == 0


def test_the_pack_imports_nothing_of_the_project() -> None:
    for file in (CLONE / "policies").rglob("*.py"):
        taken = re.findall(r"^(?:from|import) (lab|embedded|components|policies)\b", file.read_text(), re.MULTILINE)
        assert taken == [], file


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.name))
def test_every_row_says_what_it_needs_to_say(row: Policy) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]+", row.name)
    assert row.description
    assert row.fix
    for schema in row.parameters.values():
        assert {"type", "default", "description"} <= set(schema)


def test_the_pack_names_a_runtime_that_is_there() -> None:
    text = Path(CLONE, "policies", "PulumiPolicy.yaml").read_text()
    assert "name: python" in text
    assert "virtualenv: ../.venv" in text
