"""A project and a stack of the end-to-end tests' own, on the tests' cluster."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.e2e.browsing import chromium_running
from tests.e2e.promotions import Start, kill
from tests.e2e.scene import Scene, lab

COPIED = ("Pulumi.yaml", "__main__.py")
LINKED = ("components", "embedded", "policies", "waypoint_lab")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project folder with this program, and with stack files, history and `.lab` of its own."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copy(PROJECT_FOLDER / name, folder)
    for name in LINKED:
        (folder / name).symlink_to(PROJECT_FOLDER / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _shell(cluster_environment: dict[str, str]) -> Iterator[None]:
    """Use the tests' cluster in this process, which sends requests and waits for Envoy."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster_environment.items():
            if os.environ.get(name) != value:
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def scene(project: Path, cluster_environment: dict[str, str]) -> Iterator[Scene]:
    """Return the stack `dev` of the project; in the end it is destroyed, and must leave nothing."""
    made = Scene(project, cluster_environment)
    made.pulumi("stack", "init")
    yield made
    made.pulumi("destroy", "--yes", "--skip-preview")
    assert made.objects() == []
    assert made.enrollment() == {}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium. It ends with the module, because its driver holds this thread's event loop."""
    with chromium_running() as found:
        yield found


@pytest.fixture
def start(scene: Scene) -> Iterator[Start]:
    """Start `lab canary` commands, or one of a document, on a stack with a canary of 0 %; kill those that still run."""
    started: list[subprocess.Popen[str]] = []
    scene.journal.file.unlink(missing_ok=True)
    scene.up("canary", canary={"weight": 0})

    def start(*arguments: str) -> "subprocess.Popen[str]":
        documented = " " in arguments[0]
        command = shlex.split(arguments[0]) if documented else lab("canary", *arguments, "--stack", scene.stack)
        started.append(scene.start(*command))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            kill(process, descendants=True)


@pytest.fixture
def failing(kubectl: Kubectl) -> Iterator[Callable[[float], None]]:
    """Let the canary's backend answer 503 to so many percent of the requests."""
    backend = ("deploy/reviews-v3", "-n", "bookinfo-backends")

    def fail(percent: float) -> None:
        kubectl("set", "env", *backend, f"REVIEWS_FAIL_PERCENT={percent:g}" if percent else "REVIEWS_FAIL_PERCENT-")
        kubectl("rollout", "status", *backend, "--timeout=50s")

    yield fail
    fail(0)
