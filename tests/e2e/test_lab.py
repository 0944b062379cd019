"""`lab run` and the commands of the README, on the embedded cluster with measured traffic."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.scene import NAMESPACE, PYTHON, Scene, lab, until

RUN_SECONDS = 900
LOG_SECONDS = 15  # Envoy writes its access log in intervals
# `make lab` runs all, and the tests of docs/lab measure each of them.
STAGES = ["waypoint", "canary", "cleanup"]
URL = "http://reviews.bookinfo-backends:9080/reviews/0"
GET = f"import urllib.request; print(urllib.request.urlopen('{URL}').getcode())"
DELETE = f"""
import urllib.request, urllib.error
req = urllib.request.Request('{URL}', method='DELETE')
try:
    print(urllib.request.urlopen(req).getcode())
except urllib.error.HTTPError as e:
    print(e.code)"""


@pytest.mark.timeout(RUN_SECONDS + 60)
def test_run_passes_its_stages_and_restores_the_stack(scene: Scene, tmp_path: Path) -> None:
    scene.clear()
    before, file, report = scene.file.read_bytes(), tmp_path / "run.json", tmp_path / "report"
    where = ("--json", str(file), "--report", str(report))
    done = scene.lab("run", "--stages", ",".join(STAGES), *where, seconds=RUN_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    stages = {row["name"]: row for row in json.loads(file.read_text())["stages"]}
    assert list(stages) == STAGES
    assert all(row["passed"] for row in stages.values())
    assert stages["canary"]["requests"] >= 1000
    low, high = stages["canary"]["interval"]
    assert low <= 0.2 <= high
    assert any(" 0 failed" in note for note in stages["canary"]["notes"])
    assert scene.file.read_bytes() == before
    assert scene.objects() == []
    page = (report / "report.html").read_text()
    assert [name for name in STAGES if f"<h2>{name} " not in page] == []
    for name in ("HTTPRoute bookinfo-backends/reviews", "new configuration first seen"):
        assert name in page
    assert "unknown" not in page.replace("unknown, because both configurations give these answers", "")
    assert (report / "report.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.timeout(240)
def test_requests_through_an_l7_policy_are_allowed_refused_and_logged(scene: Scene) -> None:
    scene.up("l7Policy")
    assert scene.run(*PYTHON, GET).stdout.strip() == "200"
    assert scene.run(*PYTHON, DELETE).stdout.strip() == "403"
    derived = DELETE.replace("reviews.", "reviews-baseline.")
    assert scene.run(*PYTHON, derived).stdout.strip() == "403", "the Services that the stack makes are covered"
    logs = ("kubectl", "logs", "-n", NAMESPACE, "deploy/waypoint")
    until(lambda: "rbac_access_denied_matched_policy" in scene.run(*logs).stdout, LOG_SECONDS, "the refusal is logged")
    scene.assert_unchanged()


# `lab run` with a shorter limit of its faults.
SHORT = """
import sys
from waypoint_lab.cli import main
from waypoint_lab.measure import stage_run
stage_run.FAULT_SECONDS = 20
sys.exit(main.main(sys.argv[1:]))"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_run_leaves_a_fault_that_ends_and_a_stack_that_is_restored(scene: Scene) -> None:
    scene.up("canary", canary={"weight": 100})
    before = scene.file.read_bytes()
    running = scene.start(sys.executable, "-c", SHORT, "run", "--stages", "abort", "--stack", scene.stack)
    until(lambda: scene.share(503, 8) > 0, 120, "the fault is on")
    running.kill()
    running.communicate()
    left = "stack dev: a command was killed, and left on: abort, accessLog, waypoint; its fault ends by itself"
    assert left in scene.run(*lab("status")).stdout
    until(lambda: scene.share(200, 40) == 1.0, 60, "the fault has ended")
    done = scene.lab("run", "--restore")
    assert done.returncode == 0, done.stderr
    assert scene.file.read_bytes() == before
    assert {one.identity for one in scene.send(20)} == {"red"}
    scene.assert_unchanged()
    assert "killed" not in scene.run(*lab("status")).stdout


@pytest.fixture
def default_weight(project: Path) -> Iterator[None]:
    """Give the project a default weight of 30."""
    file = project / "Pulumi.yaml"
    before = file.read_text()
    file.write_text(f"{before}config:\n  waypoint-lab:canary:\n    value:\n      weight: 30\n")
    yield
    file.write_text(before)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.usefixtures("default_weight")
def test_verify_measures_what_is_deployed_by_project_and_file(scene: Scene) -> None:
    scene.up("canary")
    document = yaml.safe_load(scene.file.read_text())
    document["config"]["waypoint-lab:canary"] = {"weight": 80}
    scene.file.write_text(yaml.safe_dump(document))
    done = scene.lab("verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    declared = [item["declared"] for item in json.loads(done.stdout)["verdicts"] if item["what"].startswith("everyone")]
    assert [round(share, 4) for share in declared] == [0.3, 0.7]
    assert "canary.weight is 80" in done.stderr
    assert "was deployed as 30" in done.stderr
