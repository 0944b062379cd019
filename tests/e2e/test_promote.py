"""Gate and promotion on the embedded cluster, with backends that fail."""

import http.server
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded import cluster
from tests.conftest import Kubectl
from tests.documented import documented
from tests.e2e.promotions import Start, answers_arrive, end, kill, live_weight, records
from tests.e2e.scene import COMMENT, Scene, failures, until
from waypoint_lab.rollout.state import Phase, current_state

STEPS = (1, 5, 20, 50, 100)
TESTER = "cookie:group=tester"
pytestmark = pytest.mark.timeout(480)


@pytest.mark.slow
def test_up_with_a_missed_gate_fails_until_the_traffic_is_healthy(
    scene: Scene, failing: Callable[[float], None]
) -> None:
    failing(30)
    scene.up("canary", canary={"weight": 0})
    scene.write("canary", canary={"weight": 50, "gate": {"share": True, "minimumRequests": 500}})
    scene.shell(documented("docs/progressive-delivery.md", "pulumi config set --path canary.gate.successRate 99"))
    scene.pulumi("preview")  # sends no traffic, so it cannot fail
    for _ in range(2):
        update = documented("docs/progressive-delivery.md", "pulumi up", more="--yes --skip-preview")
        missed = scene.run("sh", "-c", update)
        assert missed.returncode != 0
        line = next(line for line in missed.stdout.splitlines() if "gate at 50 %" in line)
        assert re.search(r"success rate: declared at least 99\.00%, measured (7[5-9]|8\d|9[0-4])\.", line), line
        assert "500 requests" in line
    failing(0)
    assert scene.apply().returncode == 0
    scene.assert_unchanged()


@pytest.fixture
def posted() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve an address that answers 200, and return it with the documents that it gets."""
    documents: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            documents.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/secret", documents
        server.shutdown()


def test_promotion_of_healthy_canary_loses_no_request(
    scene: Scene, start: Start, kubectl: Kubectl, posted: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    url, documents = posted
    scene.shell(
        documented(
            "docs/progressive-delivery.md",
            "pulumi config set --path notify.webhook https://chat.example.com/hooks/… --secret",
            {"https://chat.example.com/hooks/…": url},
        )
    )
    promotion = documented(
        "docs/progressive-delivery.md",
        "lab canary promote --steps 0.1,20,100 --cohort cookie:group=tester --approve-url https://ci.example.com/canary",
        {"https://ci.example.com/canary": url},
        f"--metrics {tmp_path / 'lab.prom'}",
    )
    load = scene.load()
    try:
        said = end(start(promotion), 0, 300)
    finally:
        answers = load.stop()
    assert len(answers) >= 1000
    assert not failures(answers)
    assert "Promoted; at 100 %" in said
    assert live_weight(kubectl) == 100
    assert "/secret" not in said + scene.file.read_text()
    events = [document["event"] for document in documents if "event" in document]
    assert events == ["start", *["step"] * 5, "promotion"]
    assert len(documents) - len(events) == 5  # approvals
    metrics = (tmp_path / "lab.prom").read_text()
    assert 'waypoint_lab_promotion_phase{stack="dev",phase="Promoted"} 1\n' in metrics
    assert 'waypoint_lab_promotion_steps_passed{stack="dev"} 5\n' in metrics
    steps = [(record["weight"], record["cohort"]) for record in records(scene, "decision")]
    assert steps == [*((weight, TESTER) for weight in (0, 0.1, 20, 100)), (100, "")]
    text = scene.file.read_text()
    assert text.startswith(COMMENT)
    assert yaml.safe_load(text)["config"]["waypoint-lab:canary"]["weight"] == 100
    scene.assert_unchanged()
    assert "promote" in scene.shell(documented("docs/progressive-delivery.md", "lab canary history")).stdout
    end(start(documented("docs/progressive-delivery.md", "lab canary rollback")), 0)
    assert live_weight(kubectl) == 0


@pytest.mark.slow
def test_promotion_of_canary_failing_5_percent_rolls_back(
    scene: Scene, start: Start, kubectl: Kubectl, failing: Callable[[float], None], tmp_path: Path
) -> None:
    failing(5)
    promotion = documented(
        "docs/progressive-delivery.md",
        "lab canary promote --metrics /var/lib/node-exporter/canary.prom",
        {"/var/lib/node-exporter": str(tmp_path)},
    )
    load = scene.load()
    try:
        began = time.monotonic()
        scene.assert_unchanged()
        unchanged = time.monotonic() - began
        said = end(start(promotion), 1)
        began = time.monotonic()
        scene.assert_unchanged()
        unchanged = max(unchanged, time.monotonic() - began)
    finally:
        answers = load.stop()
    assert live_weight(kubectl) == 0
    assert "RolledBack; at 0 %" in said
    assert 'phase="RolledBack"} 1\n' in (tmp_path / "canary.prom").read_text()
    assert max(record["weight"] for record in records(scene, "decision")) < 20
    decision = records(scene, "decision")[-1]
    assert decision["decision"] == "roll back"
    decided = datetime.fromisoformat(decision["at"]).timestamp()
    canary = [one for one in answers if one.identity == "red" or one.status != 200]
    back = max(one.at for one in canary) - decided
    print(
        f"the last request to the canary came {back:.2f} s after the decision, an unchanged up took {unchanged:.2f} s"
    )
    # A machine that other work slows down is measured by its own unchanged update.
    assert back < max(3.0, 3 * unchanged)
    assert set(failures(answers)) <= {"503"}, "lost by the mesh"


def test_promotion_stopped_by_a_signal_rolls_back(scene: Scene, start: Start, kubectl: Kubectl) -> None:
    first = start("promote", "--steps", "20,100", "--seconds", "60")
    until(lambda: records(scene, "measure"), 240, "the first step is measured")
    assert live_weight(kubectl) == 20
    for command in ("promote", "rollback"):
        assert f"stack dev: process {first.pid} changes it" in end(start(command), 1)
    first.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM" in end(first, 130)
    assert live_weight(kubectl) == 0


@pytest.mark.slow
def test_promotion_without_api_server_rolls_back_once_it_answers(
    scene: Scene, start: Start, kubectl: Kubectl, cluster_state: Path
) -> None:
    running = start("promote", "--steps", "20,100", "--seconds", "90")
    until(lambda: records(scene, "measure") and answers_arrive(running.pid), 240, "the first step is measured")
    (server,) = [one for one in cluster.status(cluster_state).components if one.name == "kube-apiserver"]
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    assert "RolledBack; at 0 %" in end(running, 1)
    assert live_weight(kubectl) == 0


@pytest.mark.slow
def test_promotion_killed_during_a_step_continues_with_the_next_call(
    scene: Scene, start: Start, kubectl: Kubectl
) -> None:
    killed = start("promote", "--steps", "20,100", "--seconds", "60")
    until(lambda: records(scene, "measure"), 240, "the first step is measured")
    kill(killed, descendants=True)
    assert live_weight(kubectl) == 20
    (name,) = [record["promotion"] for record in records(scene, "start")]
    said = end(start(documented("docs/progressive-delivery.md", "lab canary promote")), 0)
    assert f"{name}: Promoted; at 100 %" in said
    assert len(records(scene, "start")) == 1
    assert live_weight(kubectl) == 100


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_promotion_killed_at_ten_random_moments_ends_as_declared(scene: Scene, start: Start, kubectl: Kubectl) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    moments, ended = random.Random(seed), 0
    for number in range(10):
        running = start("promote")
        with suppress(subprocess.TimeoutExpired):
            running.communicate(timeout=moments.uniform(0.3, 5.5))
        if running.poll() is None:
            kill(running, descendants=bool(number % 2))
        else:
            assert running.returncode == 0
            ended += 1
            end(start("rollback"), 0)
        assert live_weight(kubectl) in (0, *STEPS)
    known = current_state(scene.journal.records())
    said = end(start("promote"), 0)
    assert known is None or known.ended or known.promotion in said
    assert live_weight(kubectl) == 100
    assert len(records(scene, "start")) == ended + 1, "a killed promotion continues, and never starts again"
    last = current_state(scene.journal.records())
    assert last
    assert last.phase is Phase.PROMOTED
