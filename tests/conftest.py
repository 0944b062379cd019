"""One embedded cluster for all tests that need one; started when the first of them asks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded import cluster

# A run in the background inherits that SIGINT is ignored, and so would all that the tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The tests have a cluster, a state folder, a Pulumi backend and a passphrase of their own, whatever this shell uses.
for _name in [*os.environ]:
    if _name.startswith(("PULUMI_", "KUBECONFIG", "WAYPOINT_LAB_STATE")):
        del os.environ[_name]
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
MARKERS = {"unit": "unit", "policies": "unit", "embedded": "cluster", "e2e": "e2e", "statistics": "slow"}  # by folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that names no marker of its own by its folder."""
    for item in items:
        marker = MARKERS.get(item.path.relative_to(Path(__file__).parent).parts[0])
        if marker and not item.get_closest_marker("cluster"):
            item.add_marker(marker)


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lab(state: Path, *args: str) -> None:
    """Run the command `lab`, as a user does; its output is shown where a test fails."""
    environment = {**os.environ, "WAYPOINT_LAB_STATE": str(state)}
    done = subprocess.run([sys.executable, "-m", "waypoint_lab.cli", *args], env=environment, timeout=400, check=False)
    assert done.returncode == 0, f"lab {args[0]} ended with {done.returncode}"


@pytest.fixture(scope="session")
def cluster_state() -> Iterator[Path]:
    """Return the state folder of a running cluster with bookinfo, apart from the user's own; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="waypoint-lab-") as folder:
        state = Path(folder)
        try:
            lab(state, "up", "--isolated", "--api-port", str(free_port()), "--http-port", str(free_port()))
            yield state
        finally:
            lab(state, "down")


@pytest.fixture(scope="session")
def cluster_environment(cluster_state: Path) -> dict[str, str]:
    """Return the environment of a shell that uses the cluster and its Pulumi backend, and no other of either."""
    return {**os.environ, **cluster.environment(cluster_state)}


@pytest.fixture(scope="session")
def kubectl(cluster_environment: dict[str, str]) -> Kubectl:
    """Run kubectl with the given arguments; `check=False` returns failures instead of raising them."""

    def run(*args: str, given: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ["kubectl", *args], input=given, capture_output=True, text=True, env=cluster_environment, timeout=120
        )
        if check and "already exists" in done.stderr:  # left by the first run of a test that failed
            again = run(*args, "--dry-run=client", "--output=json", given=given).stdout
            return run("replace", "--force", "--filename=-", given=again)
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    return run
