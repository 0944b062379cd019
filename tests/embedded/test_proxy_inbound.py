"""The proxies before Pods for real: Envoys, nftables and Pods as network namespaces."""

from pathlib import Path

import pytest

from tests.embedded import inbound_scene
from tests.embedded.namespaces import run_scene


@pytest.mark.parametrize("scene", ["inbound_scene", "pod_waypoint_scene"])
def test_inbound_proxy_enforces_policies_between_namespaces(scene: str, tmp_path: Path) -> None:
    done = run_scene(scene, str(tmp_path))
    if done.returncode == inbound_scene.UNABLE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
