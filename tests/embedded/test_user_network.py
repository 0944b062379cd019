"""Hosts outside the cluster, as Pods reach them through the user network."""

import json
from pathlib import Path

import pytest

from tests.conftest import Kubectl
from tests.embedded import user_network_scene
from tests.embedded.namespaces import run_scene


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_pods_reach_what_the_machine_reaches(tmp_path: Path) -> None:
    done = run_scene("user_network_scene", str(tmp_path), seconds=280)
    if done.returncode == user_network_scene.UNABLE:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr


def test_isolated_cluster_says_so(cluster_state: Path) -> None:
    (row,) = [row for row in json.loads((cluster_state / "run" / "status.json").read_text()) if "user" in row["name"]]
    assert (row["ready"], row["detail"]) == (
        True,
        "Pods do not reach hosts outside the cluster: `lab up --isolated` started it",
    )


def test_pod_of_an_isolated_cluster_reaches_no_host_outside(kubectl: Kubectl) -> None:
    ask = f"import socket; socket.create_connection(('{user_network_scene.ADDRESS}', 80), 3)"
    where = ("-n", "bookinfo-frontends", "deploy/productpage-v1", "--")
    done = kubectl("exec", *where, "python3", "-c", ask, check=False)
    assert "OSError" in done.stderr or "unreachable" in done.stderr, done.stderr
