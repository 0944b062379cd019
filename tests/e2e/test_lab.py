"""The whole lab, for real: the embedded cluster, the real engine, measured traffic."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from embedded import cluster as embedded
from waypoint_lab.config.target import stack_config

CLONE = embedded.PROJECT_FOLDER
STACK_FILE = CLONE / "Pulumi.dev.yaml"
WALK_SECONDS = 900
LOG_SECONDS = 15  # Envoy writes its access log in intervals
UP = ("up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress")
GET = (
    "import urllib.request; print(urllib.request.urlopen('http://reviews.bookinfo-backends:9080/reviews/0').getcode())"
)
DELETE = """
import urllib.request, urllib.error
req = urllib.request.Request('http://reviews.bookinfo-backends:9080/reviews/0', method='DELETE')
try:
    print(urllib.request.urlopen(req).getcode())
except urllib.error.HTTPError as e:
    print(e.code)"""


def run(environment: dict[str, str], *command: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.mark.timeout(WALK_SECONDS)
def test_the_walk_passes_every_stage_and_leaves_the_config_as_it_was(
    cluster_state: Path, cluster_environment: dict[str, str], tmp_path: Path
) -> None:
    before = STACK_FILE.read_bytes()
    found = tmp_path / "run.json"
    command = (
        sys.executable,
        "-m",
        "waypoint_lab.cli.main",
        "--state",
        str(cluster_state),
        "run",
        "--json",
        str(found),
    )
    done = run(cluster_environment, *command, seconds=WALK_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = {row["name"]: row for row in json.loads(found.read_text())["stages"]}
    wanted = [
        "waypoint",
        "l7-policy",
        "canary",
        "promoted",
        "premium",
        "delay",
        "abort",
        "retries",
        "migration",
        "cleanup",
    ]
    assert wanted == list(stages)
    assert all(row["passed"] for row in stages.values())
    assert stages["canary"]["requests"] >= 1000
    low, high = stages["canary"]["interval"]
    assert low <= 0.2 <= high
    assert stages["l7-policy"]["observed"].keys() == {"200", "403"}
    assert 2.0 <= stages["delay"]["verdicts"][-1]["measured"] <= 2.2
    low, high = stages["abort"]["interval"]
    assert low <= 0.5 <= high
    low, high = stages["retries"]["interval"]
    assert low <= 0.0625 <= high
    for name in ("canary", "promoted", "premium", "migration"):
        assert any("0 failed" in note for note in stages[name]["notes"])
    assert before == STACK_FILE.read_bytes()


@pytest.fixture
def stack(cluster_environment: dict[str, str]) -> Iterator[None]:
    """A stack with the L7 policy and the access log on; destroyed afterwards, the file put back."""
    before = STACK_FILE.read_bytes()
    assert run(cluster_environment, "pulumi", "stack", "select", "--create", "dev").returncode == 0
    document = yaml.safe_load(STACK_FILE.read_text())
    on = {"waypoint": True, "accessLog": True, "l7Policy": True}
    document["config"] = {"waypoint-lab:stages": on}
    STACK_FILE.write_text(yaml.safe_dump(document))
    done = run(cluster_environment, "pulumi", *UP)
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        yield
    finally:
        gone = run(cluster_environment, "pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive")
        STACK_FILE.write_bytes(before)
    assert gone.returncode == 0, gone.stdout + gone.stderr
    labels = json.loads(run(cluster_environment, "kubectl", "get", "ns", "bookinfo-backends", "-o", "json").stdout)[
        "metadata"
    ]["labels"]
    assert "istio.io/use-waypoint" not in labels
    left = run(
        cluster_environment,
        "kubectl",
        "get",
        "httproute,virtualservice,authorizationpolicy,telemetry,gateway",
        "-n",
        "bookinfo-backends",
        "-o",
        "name",
    )
    assert left.stdout == ""


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("stack")
def test_the_labs_own_commands_run_word_for_word(cluster_environment: dict[str, str]) -> None:
    pod = ("kubectl", "exec", "deploy/productpage-v1", "-n", "bookinfo-frontends", "--", "python3", "-c")
    assert run(cluster_environment, *pod, GET).stdout.strip() == "200"
    assert run(cluster_environment, *pod, DELETE).stdout.strip() == "403"
    logs = "kubectl logs -n bookinfo-backends deploy/waypoint | grep -i 'rbac\\|403'"
    until = time.monotonic() + LOG_SECONDS
    while "403" not in (found := run(cluster_environment, "bash", "-c", logs).stdout):
        assert time.monotonic() < until, "the refused request is not in the waypoint's access log"
        time.sleep(0.2)
    assert "rbac_access_denied_matched_policy" in found


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("stack")
def test_a_second_up_changes_nothing(cluster_environment: dict[str, str]) -> None:
    done = run(cluster_environment, "pulumi", *UP, "--expect-no-changes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert stack_config(CLONE).stages.l7_policy
