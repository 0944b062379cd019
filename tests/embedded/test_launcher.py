"""The launcher for real: containers in namespaces of their own, without a cluster."""

import subprocess
from pathlib import Path

import pytest

from tests.embedded.namespaces import NAMESPACES, USER, run_scene


@pytest.mark.parametrize("user", [pytest.param([], id="as-root"), pytest.param([*USER], id="as-user")])
@pytest.mark.parametrize(
    "scene",
    [
        "hidden",
        "limited",
        "sealed",
        "big",
        "small_buffers",
        "signals",
        "old_kernel",
        "links",
        "swapped_link",
        "nested",
        "working_directory",
        "users",
        "supplemental_groups",
        "ids_of_the_machine",
    ],
)
def test_launcher_container_is_confined(scene: str, user: list[str], tmp_path: Path) -> None:
    if not user and subprocess.run(["unshare", *NAMESPACES, "true"], check=False, capture_output=True).returncode:
        user = [*USER]  # only root may do without
    done = run_scene("launcher_scene", scene, str(tmp_path), user=user)
    assert done.returncode == 0, done.stdout + done.stderr
