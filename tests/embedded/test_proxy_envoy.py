"""The node proxy for real: Envoys, certificates and connections in namespaces of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param("paths", id="each client takes the path that its enrolment gives it"),
        pytest.param("calm", id="changes elsewhere leave open connections alone"),
        pytest.param("refusal", id="what has no endpoints refuses until it has some"),
        pytest.param("leaving", id="clients leave a waypoint that is not to be used and finish what they began"),
        pytest.param("recovery", id="a proxy that was killed comes back"),
    ],
)
def test_connections_of_pods(scene: str, tmp_path: Path) -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    argv = [*unshare, "--mount-proc", sys.executable, "-m", "tests.embedded.proxy_scene", scene, str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
