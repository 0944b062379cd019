"""Tests of the table of policies, and of the documents and commands made from it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from policies.pack.policy import Policy
from policies.pack.table import TABLE
from tools import policy_table
from waypoint_lab.cli import main

CLONE = Path(__file__).parents[2]
ALONE = """
import runpy
import sys

sys.path.insert(0, ".")
from pack.resources import ClusterSnapshot, Resource
from pack.table import BY_NAME, TABLE

route = Resource("HTTPRoute", {"metadata": {"name": "r"}, "spec": {"rules": [{"backendRefs": [{"weight": 0}]}]}}, "urn")
main = runpy.run_path("__main__.py", run_name="copied")
for row in TABLE:
    main["resource_policy" if row.kinds else "stack_policy"](row)
    for urn, line in row.violations(ClusterSnapshot((route,)), {}):
        print(row.name, urn, line, sep="|")
"""


def test_document_has_the_generated_table() -> None:
    document = policy_table.DOCUMENT.read_text()
    assert policy_table.render(document) == document
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", document, re.MULTILINE) == [row.name for row in TABLE]


def test_document_example_names_existing_policies_and_parameters() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", policy_table.DOCUMENT.read_text(), re.DOTALL)
    known = {row.name: {*row.parameters, "enforcementLevel"} for row in TABLE}
    for name, given in json.loads(example).items():
        assert set(given) <= known[name]


def test_lab_policies_lists_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["policies"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [row.name for row in TABLE] == [line.split()[0] for line in table if not line.startswith((" ", "policy "))]
    assert main.main(["policies", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row.name for row in TABLE] == [row["name"] for row in rows]
    assert rows[0]["parameters"]["total"]["default"] == 100


def test_lab_policies_does_not_import_pulumi() -> None:
    code = "import sys, waypoint_lab.cli.policies; sys.exit(any(name.startswith('pulumi') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=CLONE, check=False, timeout=30).returncode == 0


def test_pack_copied_alone_checks_resources(tmp_path: Path) -> None:
    shutil.copytree(CLONE / "policies", tmp_path / "pack-copy")
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE],
        cwd=tmp_path / "pack-copy",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("weights-add-up")]
    assert line.startswith("weights-add-up|urn|HTTPRoute default/r: rule 1 has no weight above 0")


def test_pack_imports_nothing_else_of_the_project() -> None:
    for file in (CLONE / "policies").rglob("*.py"):
        pattern = r"^\s*(?:from|import) (waypoint_lab|embedded|components|policies|tools)\b"
        assert re.findall(pattern, file.read_text(), re.MULTILINE) == [], file


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.name))
def test_policy_row_is_complete(row: Policy) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]+", row.name)
    assert all((row.description, row.fix, row.reason))
    for schema in row.parameters.values():
        assert {"type", "default", "description"} <= set(schema)


def test_limit_of_a_policy_may_be_below_one() -> None:
    limits = [schema["minimum"] for row in TABLE for name, schema in row.parameters.items() if name.startswith("max")]
    assert {0} == set(limits)


def test_pack_names_the_python_runtime() -> None:
    manifest = (CLONE / "policies" / "PulumiPolicy.yaml").read_text()
    assert "name: python" in manifest
    assert "virtualenv: ../.venv" in manifest
