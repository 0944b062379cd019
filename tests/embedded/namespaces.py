"""Scenes in namespaces of their own: modules of this folder that run as programs."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = ("--user", "--map-root-user")
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
Done = subprocess.CompletedProcess[str]


def run_scene(module: str, *arguments: str, user: Sequence[str] = USER, seconds: float = 120) -> Done:
    """Run a module of this folder in namespaces of its own.

    Args:
        module: Name of the module.
        arguments: Its arguments.
        user: Options of `unshare` for the user namespace; none means that the caller's own is kept.
        seconds: Limit of the run.
    """
    argv = ["unshare", *user, *NAMESPACES, sys.executable, "-m", f"tests.embedded.{module}", *arguments]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
