"""Migration to another waypoint on the embedded cluster: under load, rolled back, and interrupted."""

import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from embedded import processes
from tests.conftest import Kubectl
from tests.documented import documented
from tests.e2e.scene import NAMESPACE, Scene, failures, lab, until

MIGRATION_SECONDS = 480
USE = "istio.io/use-waypoint"
DENY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "bad-waypoint", "namespace": NAMESPACE},
    "spec": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint-b"}],
        "action": "DENY",
        "rules": [{}],
    },
}
pytestmark = pytest.mark.timeout(MIGRATION_SECONDS + 60)


@pytest.fixture
def first(scene: Scene) -> Iterator[Scene]:
    """Return a stack whose only waypoint is `waypoint`; remove any other in the end."""
    scene.journal.file.unlink(missing_ok=True)
    scene.run("pulumi", "stack", "select", scene.stack)  # for commands of a document, which name none
    scene.up()
    yield scene
    if scene.gateways() != ["waypoint"] or scene.enrollment() != {USE: "waypoint"}:
        scene.clear()


def second(weight: int) -> dict[str, Any]:
    """Return the settings of a second waypoint that gets `weight` percent of the new connections."""
    return {"canary": {"name": "waypoint-b", "weight": weight}}


@pytest.mark.slow
def test_migration_under_load_loses_no_request(first: Scene) -> None:
    sending = first.load()
    try:
        command = documented(
            "docs/waypoint-migration.md",
            "lab waypoint migrate --to waypoint-b --steps 20,100 --revision 1-32-0",
            {"--revision 1-32-0": "--json"},  # the tests' cluster has one istiod
        )
        done = first.run("sh", "-c", command, seconds=MIGRATION_SECONDS)
    finally:
        answers = sending.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(answers) > 2000
    assert not failures(answers)
    assert all(one.proxied for one in answers)
    assert json.loads(done.stdout)["name"] == "waypoint-b"
    assert first.enrollment() == {USE: "waypoint-b"}
    assert first.gateways() == ["waypoint-b"]
    first.assert_unchanged()
    records = [record for record in first.journal.records() if record["kind"] == "migration"]
    assert [record["step"]["weight"] for record in records] == [0, 20, 100, 0]
    (share,) = [item for item in records[1]["evidence"] if item["what"] == "through waypoint-b"]
    assert share["requests"] >= 3000
    assert share["interval"][0] <= 0.2 <= share["interval"][1]
    assert (
        "through waypoint-b: all checks passed"
        in first.shell(documented("docs/waypoint-migration.md", "lab waypoint history")).stdout
    )


@pytest.mark.slow
def test_migration_waits_for_requests_beyond_the_grace_period(first: Scene) -> None:
    slow = {"delay": {"seconds": 8}, "at": "upstream"}  # the grace period of a waypoint's Pod is five seconds
    first.up("delay", fault=slow)
    update = documented("docs/waypoint-migration.md", "pulumi up", more="--yes --skip-preview")
    first.shell(documented("docs/waypoint-migration.md", "pulumi config set --path waypoint.canary.name waypoint-b"))
    first.shell(update)
    sending = first.load(120, workers=4, fresh_workers=0)  # on connections of the first waypoint, which are kept
    try:
        first.shell(documented("docs/waypoint-migration.md", "pulumi config set --path waypoint.canary.weight 20"))
        first.shell(update)
        first.shell(documented("docs/waypoint-migration.md", "pulumi config set --path waypoint.canary.weight 100"))
        first.shell(update)
        first.shell(documented("docs/waypoint-migration.md", "pulumi config set --path waypoint.name waypoint-b"))
        first.shell(documented("docs/waypoint-migration.md", "pulumi config rm --path waypoint.canary"))
        first.shell(update)
    finally:
        answers = sending.stop()
    assert not failures(answers)
    assert len([one for one in answers if one.seconds >= 8]) >= 4
    assert first.gateways() == ["waypoint-b"]


@pytest.mark.slow
def test_migration_to_refusing_waypoint_rolls_back_at_first_share(first: Scene, kubectl: Kubectl) -> None:
    first.up("l7Policy")  # without it, the refusing policy would be the first one, and be seen before any traffic
    kubectl("apply", "-f", "-", given=json.dumps(DENY))
    try:
        command = documented("docs/waypoint-migration.md", "lab waypoint migrate --to waypoint-b")
        done = first.run("sh", "-c", command, seconds=MIGRATION_SECONDS)
        assert done.returncode == 1, done.stdout + done.stderr
        assert re.search(r"10 % through waypoint-b: roll back: \d+ of \d+ requests failed", done.stderr), done.stderr
        assert first.enrollment() == {USE: "waypoint"}
        assert first.gateways() == ["waypoint"]
        assert first.share(200, 200) == 1.0
    finally:
        kubectl("delete", "authorizationpolicy", "bad-waypoint", "-n", NAMESPACE)
    first.assert_unchanged()


@pytest.mark.parametrize("weight", [0, pytest.param(30, marks=pytest.mark.slow)])
def test_waypoint_that_gets_connections_cannot_be_removed(first: Scene, weight: int) -> None:
    if weight:
        first.up(waypoint=second(weight))
    before = first.enrollment()
    name, share = ("waypoint-b", 30) if weight else ("waypoint", 100)
    first.write(waypoint={} if weight else {"name": "waypoint-b"})
    sending = first.load()
    try:
        done = first.apply()
    finally:
        answers = sending.stop()
    assert done.returncode != 0
    assert f"waypoint {name} still gets {share} % of the new connections, so requests would be lost" in done.stdout
    assert first.enrollment() == before
    assert not failures(answers)
    if weight:
        first.up(waypoint=second(weight))
        first.shell(documented("docs/waypoint-migration.md", "lab waypoint abort"), MIGRATION_SECONDS)
    first.up()
    assert first.gateways() == ["waypoint"]


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_migration_killed_at_random_moments_ends_as_declared(first: Scene) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    moments = random.Random(seed)
    # An object that a killed engine was creating is lost to its state: the canary is created before.
    first.up(waypoint=second(0))
    sending = first.load(500)
    try:
        for _ in range(4):
            running = first.start(*lab("waypoint", "migrate", "--steps", "50,100"))
            with suppress(subprocess.TimeoutExpired):
                running.communicate(timeout=moments.uniform(2, 14))
            for pid in [running.pid, *processes.descendants(running.pid)] if running.poll() is None else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            running.communicate()
        done = first.lab("waypoint", "migrate", "--to", "waypoint-b", "--steps", "50,100", seconds=MIGRATION_SECONDS)
    finally:
        answers = sending.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not failures(answers)
    assert first.enrollment() == {USE: "waypoint-b"}
    until(lambda: first.gateways() == ["waypoint-b"], 20, "the first waypoint is gone")
