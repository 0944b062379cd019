"""The launcher for real: containers in namespaces of their own, without a cluster."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "user", [pytest.param([], id="as-root"), pytest.param(["--user", "--map-root-user"], id="as-user")]
)
@pytest.mark.parametrize("scene", ["hidden", "limited", "big", "small_buffers", "signals", "old_kernel"])
def test_launcher_container_is_confined(scene: str, user: list[str], tmp_path: Path) -> None:
    unshare = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not user and subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        unshare[1:1] = ["--user", "--map-root-user"]  # only root may do without
    argv = [*unshare, sys.executable, "-m", "tests.embedded.launcher_scene", scene, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
