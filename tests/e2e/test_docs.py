"""The walk through the lab, as its documents tell it: every command runs, and prints what the page shows.

The outputs are kept in `build/walk`; `python -m tools.console_pictures` makes the pictures of the pages from them.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.scene import Scene
from tools.console_blocks import ConsoleCommand, commands, difference
from tools.walk import PAGES, README, recorded

COMMAND_SECONDS = 180


def run(scene: Scene, command: ConsoleCommand) -> str:
    """Run a command as a shell of the project does, and return its output; it must succeed."""
    began = time.monotonic()
    done = scene.run("sh", "-c", f"{command.text} 2>&1", seconds=COMMAND_SECONDS)
    print(f"{command}  [{done.returncode}, {time.monotonic() - began:.1f} s]")
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def walk(scene: Scene) -> Scene:
    """Return the stack without resources and settings, and an empty folder of recorded outputs."""
    scene.clear()
    shutil.rmtree(recorded(README).parent, ignore_errors=True)
    return scene


@pytest.mark.timeout(420)
@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.stem)
def test_commands_of_page_print_what_it_shows(walk: Scene, page: Path) -> None:
    wrong, said = [], []
    for command in commands(page):
        output = run(walk, command)
        said.append(f"$ {command.text}\n{output.rstrip()}\n")
        if why := difference(command.output, output):
            wrong.append(f"{command}: {why}\n{output}")
    recorded(page).parent.mkdir(parents=True, exist_ok=True)
    recorded(page).write_text("".join(said))
    assert wrong == [], os.linesep.join(wrong)
