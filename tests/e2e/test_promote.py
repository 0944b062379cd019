"""Gate and promotion, for real: the embedded cluster, the real engine, backends that really fail."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded import cluster as embedded
from embedded import processes
from tests.conftest import Kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.client import Answer, Client, Group
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.state import Result, standing

CLONE = embedded.PROJECT_FOLDER
STACK = "promote-test"
FILE = CLONE / f"Pulumi.{STACK}.yaml"
STEPS = (1, 5, 20, 50, 100)
LOAD_REQUESTS = 20_000
UP = ("pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--suppress-progress", "--stack", STACK)
Lab = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def environment(cluster_environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A stack with a canary of 0 %; destroyed and forgotten afterwards."""
    before = dict(os.environ)
    os.environ.update(cluster_environment)  # the load is sent from this process
    write()
    journal = Journal(CLONE, STACK)
    journal.file.unlink(missing_ok=True)
    try:
        pulumi("stack", "init")
        pulumi("up", "--yes", "--skip-preview")
        yield cluster_environment
        pulumi("destroy", "--yes", "--skip-preview")
        pulumi("stack", "rm", "--yes")
    finally:
        os.environ.clear()
        os.environ.update(before)
        for left in (FILE, *CLONE.glob(f".{FILE.name}.*"), *journal.folder.glob(f"{STACK}.*")):
            left.unlink(missing_ok=True)
        with suppress(OSError):
            journal.folder.rmdir()


def write(weight: int = 0, **canary: Any) -> None:
    document = yaml.safe_load(FILE.read_text()) if FILE.exists() else {}
    on = {"stages": {"waypoint": True, "canary": True}, "canary": {"weight": weight, **canary}}
    document["config"] = {f"waypoint-lab:{key}": value for key, value in on.items()}
    FILE.write_text("# kept by every edit\n" + yaml.safe_dump(document))


def pulumi(*command: str) -> str:
    done = subprocess.run(
        ["pulumi", *command, "--non-interactive", "--stack", STACK],
        cwd=CLONE,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def lab(environment: dict[str, str], cluster_state: Path) -> Iterator[Lab]:
    """Starts `lab` commands on the stack; what still runs is ended, and the weight is 0 again afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "waypoint_lab.cli.main",
            "--state",
            str(cluster_state),
            *arguments,
            "--stack",
            STACK,
        ]
        process = subprocess.Popen(
            command, cwd=CLONE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    write()
    pulumi("up", "--yes", "--skip-preview")
    Journal(CLONE, STACK).file.unlink(missing_ok=True)


def end(process: "subprocess.Popen[str]", code: int, seconds: float = 200) -> str:
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == code, out + errors
    return errors


@pytest.fixture
def failing(kubectl: Kubectl) -> Iterator[Callable[[float], None]]:
    """Makes the canary's backend answer 503 to so many percent of requests."""
    backend = ("deploy/reviews-v3", "-n", "bookinfo-backends")

    def fail(percent: float) -> None:
        kubectl("set", "env", *backend, f"REVIEWS_FAIL_PERCENT={percent:g}" if percent else "REVIEWS_FAIL_PERCENT-")
        kubectl("rollout", "status", *backend, "--timeout=60s")

    yield fail
    fail(0)


class Load:
    """Requests to the Service as users send them, at full speed where there is no pause between them."""

    def __init__(self, seconds: float = 300, pause_seconds: float = 0.0) -> None:
        self._client = Client(LabConfig(), [Group(workers=2, pause_seconds=pause_seconds)], seconds)
        self._answers: list[Answer] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._stop.is_set() and (found := self._client.read(0.1)) is not None:
            self._answers += [answer for (answer,) in found]

    def count(self) -> int:
        return len(self._answers)

    def stop(self) -> list[Answer]:
        self._stop.set()
        self._thread.join()
        with self._client:
            return self._answers + [answer for (answer,) in self._client.stop()]


def live_weight(kubectl: Kubectl) -> float:
    found = kubectl("get", "httproute", "reviews", "-n", "bookinfo-backends", "-o", "json")
    refs = {ref["name"]: ref["weight"] for ref in json.loads(found.stdout)["spec"]["rules"][-1]["backendRefs"]}
    return float(100 * refs.get("reviews-stable", 0) / sum(refs.values()))


def records(kind: str) -> list[dict[str, Any]]:
    return [record for record in Journal(CLONE, STACK).records() if record["kind"] == kind]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("lab")
def test_an_up_with_a_missed_gate_fails_again_and_again_and_passes_once_the_traffic_is_healthy(
    environment: dict[str, str], failing: Callable[[float], None]
) -> None:
    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, cwd=CLONE, env=environment, capture_output=True, text=True, timeout=200, check=False
        )

    failing(30)
    write(50, gate={"successRate": 99, "share": True, "minimumRequests": 500})
    preview = run("pulumi", "preview", "--non-interactive", "--stack", STACK)
    assert preview.returncode == 0, "a preview sends no traffic, so nothing can fail"
    for _ in range(2):
        missed = run(*UP)
        assert missed.returncode != 0
        line = next(line for line in missed.stdout.splitlines() if "gate at 50 %" in line)
        assert "success rate: declared at least 99.00%, measured 8" in line
        assert "500 requests" in line
    failing(0)
    assert run(*UP).returncode == 0
    assert run(*UP, "--expect-no-changes").returncode == 0


@pytest.mark.timeout(400)
def test_a_healthy_canary_reaches_everyone_and_no_request_is_lost_on_the_way(lab: Lab, kubectl: Kubectl) -> None:
    load = Load()
    began = time.monotonic()
    try:
        said = end(lab("promote", "--steps", "0.1,20,100", "--header", "end-user=tester"), 0)
        during, seconds = load.count(), time.monotonic() - began
        while load.count() < LOAD_REQUESTS and time.monotonic() - began < 300:
            time.sleep(0.1)
    finally:
        rounds = load.stop()
    print(f"{during} requests in the {seconds:.1f} s of the promotion, {len(rounds)} in all")
    assert len(rounds) >= LOAD_REQUESTS
    assert [one for one in rounds if one.status != 200] == []
    assert "promoted; at 100 %" in said
    assert live_weight(kubectl) == 100
    walked = [(record["weight"], record["cohort"]) for record in records("decision")]
    tester = "end-user=tester"
    weights = (0, 0.1, 20, 100)
    assert walked == [*((weight, tester) for weight in weights), (100, "")]
    text = FILE.read_text()
    assert text.startswith("# kept by every edit\n")
    assert yaml.safe_load(text)["config"]["waypoint-lab:canary"]["weight"] == 100
    pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")


@pytest.mark.timeout(300)
def test_a_canary_that_fails_five_percent_is_back_at_nothing_before_it_gets_twenty(
    lab: Lab, kubectl: Kubectl, failing: Callable[[float], None]
) -> None:
    failing(5)
    load = Load(pause_seconds=0.005)  # dense enough to see the last one, and leaves the machine to the way back
    try:
        began = time.monotonic()
        pulumi("up", "--yes", "--skip-preview")
        idle = time.monotonic() - began
        said = end(lab("promote", "--steps", "1,5,20,50,100"), 1)
    finally:
        rounds = load.stop()
    assert live_weight(kubectl) == 0
    assert "rolled back; at 0 %" in said
    assert all(record["weight"] < 20 for record in records("decision"))
    verdict = records("decision")[-1]
    assert verdict["verdict"] == "roll back"
    red = [one for one in rounds if one.identity == "red"]
    decided = datetime.fromisoformat(verdict["at"]).timestamp()
    sampling, back = decided - verdict["evidence"]["first_failure"], max(one.at for one in red) - decided
    print(f"sampling {sampling:.2f} s, then to the last request there {back:.2f} s, an idle up {idle:.2f} s")
    # A machine that other work slows down is measured by its own up that changes nothing.
    assert back < max(3.0, 2 * idle)
    assert all(one.identity == "red" for one in rounds if one.status != 200), "lost by the mesh"


@pytest.mark.timeout(300)
def test_told_to_stop_it_goes_back_and_a_second_promotion_is_refused_meanwhile(lab: Lab, kubectl: Kubectl) -> None:
    first = lab("promote", "--steps", "20,100", "--seconds", "60")
    wait(lambda: bool(records("measure")))
    assert live_weight(kubectl) == 20
    assert f"another promotion of stack {STACK} runs (process {first.pid})" in end(lab("promote"), 1)
    assert f"another promotion of stack {STACK} runs (process {first.pid})" in end(lab("rollback"), 1)
    first.send_signal(signal.SIGTERM)
    assert "told to stop by SIGTERM" in end(first, 130)
    assert live_weight(kubectl) == 0


@pytest.mark.timeout(300)
def test_a_lost_api_server_means_the_way_back_as_soon_as_it_returns(
    lab: Lab, kubectl: Kubectl, cluster_state: Path
) -> None:
    running = lab("promote", "--steps", "20,100", "--seconds", "90")
    wait(lambda: bool(records("measure")))
    assert live_weight(kubectl) == 20
    (server,) = [one for one in embedded.status(cluster_state).components if one.name == "kube-apiserver"]
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    said = end(running, 1)
    assert "rolled back; at 0 %" in said
    assert live_weight(kubectl) == 0


@pytest.mark.timeout(600)
def test_killed_at_ten_random_points_it_always_stands_on_a_step_and_ends_right(lab: Lab, kubectl: Kubectl) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    points, ended = random.Random(seed), 0
    for number in range(10):
        running = lab("promote")
        with suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=points.uniform(0.3, 5.5))
        if running.poll() is None:
            family = [running.pid, *(processes.descendants(running.pid) if number % 2 else [])]
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            running.communicate()
        else:
            assert running.returncode == 0
            ended += 1
            end(lab("rollback"), 0)
        assert live_weight(kubectl) in (0, *STEPS)
    known = standing(Journal(CLONE, STACK).records())
    said = end(lab("promote"), 0)
    assert known is None or known.result or known.promotion in said
    assert live_weight(kubectl) == 100
    assert len(records("start")) == ended + 1, "a killed promotion is gone on with, never begun anew"
    last = standing(Journal(CLONE, STACK).records())
    assert last
    assert last.result is Result.PROMOTED


def wait(holds: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)
