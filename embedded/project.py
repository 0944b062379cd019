"""Folders of a project: the Pulumi project itself and the state folder of its cluster."""

import os
import re
from pathlib import Path

STATE = "WAYPOINT_LAB_STATE"
CHOSEN_STATE = "WAYPOINT_LAB_CHOSEN_STATE"  # from a command to the programs that it runs; no shell has it
_NAME = re.compile(r"^name: *waypoint-lab *$", re.MULTILINE)


def _is_project(file: Path) -> bool:
    """Return True for the file of this project; False for one that cannot be read."""
    try:
        return file.is_file() and bool(_NAME.search(file.read_text(errors="replace")))
    except OSError:
        return False


def find_project(here: Path) -> Path:
    """Return the project folder: the nearest at or above `here`, else the clone of this module, else `here`.

    An installed package is part of no clone.
    """
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if _is_project(folder / "Pulumi.yaml"):
            return folder
    return here


def _current_folder() -> Path:
    """Return the current folder, or the one of this module if it was deleted or cannot be read."""
    try:
        return Path.cwd()
    except OSError:
        return Path(__file__).resolve().parent


PROJECT_FOLDER = find_project(_current_folder())


def default_state() -> Path:
    """Return the state folder: `$WAYPOINT_LAB_STATE`, or `.lab` in the project folder.

    In a project, the variable does not count if it names `.lab` of another project, because `lab env` of that one
    exported it. It does count below that project, as in `examples/`, and in what a command with `--state` runs.
    """
    if chosen := os.environ.get(CHOSEN_STATE):
        return Path(chosen).resolve()
    own = (PROJECT_FOLDER / ".lab").resolve()
    state = Path(os.environ.get(STATE) or own).resolve()
    others = state.name == ".lab" and state.parent not in own.parents and _is_project(state.parent / "Pulumi.yaml")
    return own if others and _is_project(PROJECT_FOLDER / "Pulumi.yaml") else state
