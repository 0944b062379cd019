"""The walk through the lab has a page for each stage, with a picture of the data path that is up to date."""

from pathlib import Path

import pytest

from tools import console_pictures, data_paths
from tools.console_blocks import commands
from tools.walk import GUIDES, PAGES, README
from waypoint_lab.stages.table import STAGES

STAGES_OF_THE_LAB = [row.name for row in STAGES]


def test_walk_has_a_page_for_each_stage() -> None:
    assert sorted(STAGES_OF_THE_LAB) == sorted(data_paths.PATHS)
    assert [page.name for page in PAGES if not page.exists()] == []


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_page_of_a_stage_says_what_why_what_goes_wrong_and_how_to_undo_it(page: Path) -> None:
    text = page.read_text()
    heads = (
        ("## Why", "## When it goes wrong")
        if "Cleanup" in text
        else ("## See", "## Why", "## When it goes wrong", "## Undo")
    )
    assert [head for head in heads if head not in text] == []
    assert f"../pictures/path-{page.stem}.svg" in text


@pytest.mark.parametrize("page", [README, *PAGES, *GUIDES], ids=lambda page: page.stem)
def test_page_has_commands_that_a_test_runs(page: Path) -> None:
    assert list(commands(page))


@pytest.mark.parametrize("stage", data_paths.PATHS)
def test_picture_of_the_data_path_is_up_to_date(stage: str) -> None:
    assert data_paths.picture(stage) == data_paths.file(stage).read_text()


def test_terminal_picture_has_the_last_run_of_the_command_escaped() -> None:
    text = "$ lab verify\nold\n$ pulumi up --yes\n\n$ lab verify\n<b>  passed\nx & y  FAILED\n"
    lines = console_pictures.output(text, "lab verify")
    assert lines == ["$ lab verify", "<b>  passed", "x & y  FAILED"]
    found = console_pictures.picture(lines)
    assert "&lt;b&gt;" in found
    assert "<b>" not in found
    assert "http" not in found.replace("http://www.w3.org/2000/svg", "")
