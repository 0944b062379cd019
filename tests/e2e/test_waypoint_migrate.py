"""Another waypoint takes over, for real: under load, from a bad one back, and from wherever it was cut off."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from embedded import processes
from tests.conftest import Kubectl
from tests.e2e.chaos_scene import CLONE, UP, Scene, opened, until
from waypoint_lab.cli.run import kept
from waypoint_lab.config.target import stack_config
from waypoint_lab.measure.client import Answer, Load
from waypoint_lab.rollout.journal import Journal

NAMESPACE = "bookinfo-backends"
ROLL_SECONDS = 240
DENY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "bad-waypoint", "namespace": NAMESPACE},
    "spec": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint-next"}],
        "action": "DENY",
        "rules": [{}],
    },
}


@pytest.fixture(scope="module")
def scene(cluster_state: Path, cluster_environment: dict[str, str]) -> Iterator[Scene]:
    with opened(cluster_state, cluster_environment) as found, kept(Journal(CLONE, "dev").file):
        yield found


@pytest.fixture
def first(scene: Scene) -> Scene:
    """A stack whose only waypoint is `waypoint`, whatever was before: its enrolment is new, so nothing can refuse."""
    gone = scene.run("pulumi", "destroy", "--yes", "--skip-preview", "--non-interactive")
    assert gone.returncode == 0, gone.stdout + gone.stderr
    Journal(CLONE, "dev").file.unlink(missing_ok=True)
    scene.up()
    return scene


def enrolment(kubectl: Kubectl) -> dict[str, str]:
    """Labels and annotations of the namespace that say which waypoints it has."""
    found = json.loads(kubectl("get", "namespace", NAMESPACE, "-o", "json").stdout)["metadata"]
    both = {**found["labels"], **found.get("annotations", {})}
    return {name: value for name, value in both.items() if name.startswith("istio.io/use-waypoint")}


def gateways(kubectl: Kubectl) -> list[str]:
    found = kubectl("get", "gateways.gateway.networking.k8s.io", "-n", NAMESPACE, "-o", "name").stdout.split()
    return [name.rpartition("/")[2] for name in found]


def second(weight: int) -> dict[str, Any]:
    """The waypoint, and another one that gets `weight` percent of the new connections."""
    return {"canary": {"name": "waypoint-next", "weight": weight}}


def load() -> Load:
    """Requests on connections that are kept, and as many on new ones."""
    return Load(stack_config(CLONE), 300, 6, fresh_workers=3)


def failures(rows: list[Answer]) -> Counter[str]:
    return Counter(row.outcome for row in rows if row.status != 200)


@pytest.mark.timeout(ROLL_SECONDS + 60)
def test_a_second_waypoint_takes_over_and_no_request_is_lost(first: Scene, kubectl: Kubectl) -> None:
    sending = load()
    try:
        done = first.lab("roll", "--to", "waypoint-next", "--steps", "20,100", "--json", seconds=ROLL_SECONDS)
    finally:
        rows = sending.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    print(f"{len(rows)} requests, {sum(row.reconnected for row in rows)} on a connection opened again")
    assert len(rows) > 2000
    assert Counter() == failures(rows)
    assert {True} == {row.proxied for row in rows}
    assert json.loads(done.stdout)["name"] == "waypoint-next"
    assert enrolment(kubectl) == {"istio.io/use-waypoint": "waypoint-next"}
    assert gateways(kubectl) == ["waypoint-next"]
    assert first.again().returncode == 0
    records = [record for record in Journal(CLONE, "dev").records() if record["kind"] == "roll"]
    assert [record["step"]["weight"] for record in records] == [0, 20, 100, 0]
    (share,) = [item for item in records[1]["evidence"] if item["what"] == "through waypoint-next"]
    assert share["requests"] >= 3000
    assert share["interval"][0] <= 0.2 <= share["interval"][1]
    assert "through waypoint-next: all of it holds" in first.lab("history").stdout


@pytest.mark.timeout(180)
def test_requests_that_take_longer_than_a_pods_own_end_are_waited_for(first: Scene, kubectl: Kubectl) -> None:
    slow = {"delay": {"seconds": 8}, "at": "upstream"}  # a Pod's own end leaves them five seconds
    first.up("delay", waypoint=second(0), fault=slow)
    sending = Load(stack_config(CLONE), 120, 4)  # on connections of the first waypoint, which are kept
    try:
        first.up("delay", waypoint=second(100), fault=slow)
        first.up("delay", waypoint={"name": "waypoint-next"}, fault=slow)
    finally:
        rows = sending.stop()
    assert Counter() == failures(rows)
    assert len([row for row in rows if row.seconds >= 8]) >= 4
    assert gateways(kubectl) == ["waypoint-next"]


@pytest.mark.timeout(ROLL_SECONDS)
def test_a_waypoint_that_answers_wrongly_is_taken_back_at_its_first_share(first: Scene, kubectl: Kubectl) -> None:
    first.up("l7Policy")  # so that one more rule is no difference that would be seen before any traffic
    kubectl("apply", "-f", "-", given=json.dumps(DENY))
    try:
        done = first.lab("roll", "--to", "waypoint-next", "--steps", "10,100", seconds=ROLL_SECONDS)
        assert done.returncode == 1, done.stdout + done.stderr
        assert re.search(r"10 % through waypoint-next: roll back: \d+ of \d+ requests failed", done.stderr), done.stderr
        assert enrolment(kubectl) == {"istio.io/use-waypoint": "waypoint"}
        assert gateways(kubectl) == ["waypoint"]
        assert Counter() == failures(first.send(200, fresh_workers=8))
    finally:
        kubectl("delete", "authorizationpolicy", "bad-waypoint", "-n", NAMESPACE)
    assert first.again().returncode == 0


@pytest.mark.timeout(ROLL_SECONDS)
@pytest.mark.parametrize("now", [0, 30])
def test_a_waypoint_that_still_gets_connections_is_not_let_go(first: Scene, kubectl: Kubectl, now: int) -> None:
    first.up(waypoint=second(now) if now else {})
    before, share = enrolment(kubectl), "30" if now else "100"
    who = "waypoint-next" if now else "waypoint"
    first.write(waypoint={} if now else {"name": "waypoint-next"})
    sending = load()
    try:
        done = first.run("pulumi", *UP)
    finally:
        rows = sending.stop()
    assert done.returncode != 0
    assert f"waypoint {who} still gets {share} % of the new connections, so requests would be lost" in done.stdout
    assert before == enrolment(kubectl)
    assert Counter() == failures(rows)
    first.up(waypoint=second(now) if now else {})
    if now:
        first.up(waypoint=second(0))
        first.up()
    assert gateways(kubectl) == ["waypoint"]


@pytest.mark.timeout(600)
def test_killed_at_random_points_it_goes_on_and_ends_right(first: Scene, kubectl: Kubectl, cluster_state: Path) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    points = random.Random(seed)
    command = [
        sys.executable,
        "-m",
        "waypoint_lab.cli.main",
        "--state",
        str(cluster_state),
        "roll",
        "--steps",
        "50,100",
    ]
    # What a killed engine is creating is lost to its state, with every provider: the canary is there before.
    first.up(waypoint=second(0))
    sending = load()
    try:
        for _ in range(4):
            running = subprocess.Popen(command, cwd=CLONE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with suppress(subprocess.TimeoutExpired):
                running.communicate(timeout=points.uniform(2, 14))
            for pid in [running.pid, *processes.descendants(running.pid)] if running.poll() is None else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            running.communicate()
        done = first.lab("roll", "--to", "waypoint-next", "--steps", "50,100", seconds=ROLL_SECONDS)
    finally:
        rows = sending.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert Counter() == failures(rows)
    assert enrolment(kubectl) == {"istio.io/use-waypoint": "waypoint-next"}
    until(lambda: gateways(kubectl) == ["waypoint-next"], 20, "the first waypoint is gone")
