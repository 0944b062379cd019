"""The node proxy for real: Envoys, certificates and connections in namespaces of their own."""

from pathlib import Path

import pytest

from tests.embedded.namespaces import run_scene


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
    done = run_scene("proxy_scene", scene, str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
