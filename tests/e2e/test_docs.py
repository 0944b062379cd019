"""The walk through the lab and the guides: every command runs, and prints what the page shows.

The outputs are kept in `build/walk`; `python -m tools.console_pictures` makes the pictures of the pages from them.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.documented import documented
from tests.e2e.scene import NAMESPACE, Scene, lab, until
from tools.console_blocks import ConsoleCommand, commands, difference
from tools.walk import GUIDES, PAGES, README, recorded

COMMAND_SECONDS = 180
pytestmark = pytest.mark.slow
ENVOY = ("kubectl", "exec", "-n", NAMESPACE, "deploy/waypoint", "--", "pilot-agent", "request", "GET")
DRAINING = (*ENVOY, "stats?filter=listener_manager.total_listeners_draining")


def run(scene: Scene, command: ConsoleCommand) -> str:
    """Run a command as a shell of the project does, and return its output; it must succeed."""
    began = time.monotonic()
    done = scene.run("sh", "-c", f"{command.text} 2>&1", seconds=COMMAND_SECONDS)
    print(f"{command}  [{done.returncode}, {time.monotonic() - began:.1f} s]")
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def walk(scene: Scene) -> Scene:
    """Return the stack, and an empty folder of recorded outputs."""
    shutil.rmtree(recorded(README).parent, ignore_errors=True)
    return scene


def compare(scene: Scene, page: Path) -> None:
    """Run the commands of a page, keep their output, and compare it with what the page shows."""
    wrong, said = [], []
    for command in commands(page):
        output = run(scene, command)
        said.append(f"$ {command.text}\n{output.rstrip()}\n")
        if why := difference(command.output, output):
            wrong.append(f"{command}: {why}\n{output}")
    recorded(page).parent.mkdir(parents=True, exist_ok=True)
    recorded(page).write_text("".join(said))
    assert wrong == [], os.linesep.join(wrong)


@pytest.mark.timeout(420)
@pytest.mark.parametrize("page", [*PAGES, README], ids=lambda page: page.stem)
def test_commands_of_page_print_what_it_shows(walk: Scene, page: Path) -> None:
    if page == PAGES[0]:
        walk.clear()
    before = walk.file.read_text()
    try:
        compare(walk, page)
    except AssertionError:  # the pages after it begin with the stack as it was
        walk.file.write_text(before)
        walk.apply()
        raise
    if page.stem == "access-log":  # later pages would lose requests on connections of the former listeners
        until(lambda: walk.run(*DRAINING).stdout.strip().endswith(": 0"), 90, "the former listeners are drained")


@pytest.mark.timeout(420)
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_commands_of_guide_print_what_it_shows(scene: Scene, page: Path) -> None:
    if page.stem != "watch":
        scene.clear()
        # The Deployment of a waypoint before it is collected some time after its Gateway.
        until(lambda: scene.run(*lab("status")).returncode == 0, 60, "the cluster is ready")
    compare(scene, page)


def test_shell_completion_is_turned_on(scene: Scene) -> None:
    command = documented("docs/getting-started.md", 'eval "$(_LAB_COMPLETE=bash_source lab)"')
    done = scene.run("bash", "-c", f"{command}; complete -p lab")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" lab\n")


@pytest.mark.parametrize(
    "command",
    [
        documented("docs/troubleshooting.md", "df -h ."),
        documented("docs/troubleshooting.md", "lab status"),
        documented("docs/troubleshooting.md", "pulumi stack ls"),
        documented("docs/troubleshooting.md", "lab policies"),
        documented("docs/troubleshooting.md", "istioctl proxy-status"),
        documented("docs/troubleshooting.md", "kubectl describe httproute -A"),
        documented("docs/troubleshooting.md", "kubectl get events -A"),
        documented("docs/troubleshooting.md", "kubectl get pods -A"),
        documented("docs/troubleshooting.md", "kubectl get gateways -A"),
        documented("docs/troubleshooting.md", "kubectl get --raw /readyz"),
        documented("docs/troubleshooting.md", "kubectl get namespace -L istio.io/use-waypoint"),
        documented("docs/troubleshooting.md", "pulumi config set --path stages.accessLog true"),
        documented("docs/troubleshooting.md", "lab canary history"),
    ],
)
def test_command_that_finds_a_cause_succeeds(scene: Scene, command: str) -> None:
    done = scene.run("sh", "-c", command)
    assert done.returncode == 0, done.stdout + done.stderr


def test_client_without_python_is_removed_from_the_config(scene: Scene) -> None:
    client = {"namespace": "web", "workload": "deploy/go-client"}
    before = scene.file.read_text()
    try:
        scene.write_settings(app={"client": client})
        done = scene.run("sh", "-c", documented("docs/troubleshooting.md", "pulumi config rm --path app.client"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert scene.config().app.client is None
    finally:
        scene.file.write_text(before)
