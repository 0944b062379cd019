"""Folders of a project: the Pulumi project itself and the state folder of its cluster."""

import os
from pathlib import Path


def _find_project() -> Path:
    """Return the clone that this module is part of, else the nearest folder at or above the current one with a project.

    An installed package has no project of its own: `lab` then works on the current folder.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "Pulumi.yaml").exists():
            return folder
    return here


PROJECT_FOLDER = _find_project()


def default_state() -> Path:
    """Return the state folder: `$WAYPOINT_LAB_STATE`, or `.lab` in the project folder."""
    return Path(os.environ.get("WAYPOINT_LAB_STATE") or PROJECT_FOLDER / ".lab").resolve()
