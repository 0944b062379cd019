"""The size of modules, as docs/contributing.md limits it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 250


@pytest.mark.parametrize("folder", ["components", "embedded", "policies", "tools", "waypoint_lab"])
def test_no_module_is_longer_than_the_limit(folder: str) -> None:
    lines = {file: file.read_text().count("\n") for file in (ROOT / folder).rglob("*.py")}
    assert lines
    assert [file for file, number in lines.items() if number > MOST_LINES] == []
