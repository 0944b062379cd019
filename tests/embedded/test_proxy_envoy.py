"""The node proxy for real: Envoys, certificates and connections in namespaces of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param("paths", id="each client takes the path of its enrollment"),
        pytest.param("calm", id="other changes keep open connections"),
        pytest.param("refusal", id="a Service or waypoint without endpoints refuses"),
        pytest.param("leaving", id="clients leave an unused waypoint and finish open connections"),
        pytest.param("recovery", id="a killed proxy restarts"),
    ],
)
def test_node_proxy_scene_passes(scene: str, tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    argv = [*unshare, "--mount-proc", sys.executable, "-m", "tests.embedded.proxy_scene", scene, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
