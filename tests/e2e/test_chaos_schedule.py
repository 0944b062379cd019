"""Schedules of faults: run to the end, stopped by a health check, interrupted."""

import http.server
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.scene import Scene, lab, until

LONG = {"startSeconds": 0, "durationSeconds": 300, "abort": {"percent": 100}}
pytestmark = [pytest.mark.timeout(360), pytest.mark.slow]


class Application(http.server.BaseHTTPRequestHandler):
    """A health check that a test can make fail."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def application() -> Iterator[str]:
    """Return the URL of a health check that passes until `Application.status` changes."""
    Application.status = 200
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def scheduled(folder: Path, url: str, *faults: dict[str, object]) -> str:
    """Write a schedule and return its path."""
    file = folder / "schedule.yaml"
    file.write_text(yaml.safe_dump({"health": {"url": url, "failures": 2}, "faults": list(faults)}))
    return str(file)


def test_schedule_measures_its_faults_and_restores_the_stack(scene: Scene, application: str, tmp_path: Path) -> None:
    scene.up("canary", canary={"weight": 100})
    before = scene.file.read_bytes()
    jane = {"name": "end-user", "value": "jane"}
    faults = [
        {"startSeconds": 0, "durationSeconds": 15, "abort": {"percent": 100}},
        {"startSeconds": 16, "durationSeconds": 15, "delay": {"seconds": 0.2}, "header": jane},
    ]
    done = scene.lab("chaos", "schedule", scheduled(tmp_path, application, *faults), seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.2 s later" in done.stdout
    assert scene.file.read_bytes() == before
    scene.assert_unchanged()
    assert scene.share(200, 100) == 1.0


@pytest.mark.parametrize(
    ("cause", "status"), [("unhealthy", 1), pytest.param("interrupted", 130, marks=pytest.mark.soak)]
)
def test_schedule_that_is_stopped_ends_the_fault_and_restores_the_stack(
    scene: Scene, application: str, tmp_path: Path, cause: str, status: int
) -> None:
    scene.up()
    before = scene.file.read_bytes()
    running = scene.start(*lab("chaos", "schedule", scheduled(tmp_path, application, LONG)))
    until(lambda: scene.share(503, 4) == 1.0, 60, "the fault is on")
    if cause == "unhealthy":
        Application.status = 500
    else:
        os.killpg(running.pid, signal.SIGINT)
    until(lambda: scene.share(200, 4) == 1.0, 60, "the fault is off, long before its end")
    _, said = running.communicate(timeout=180)
    assert running.returncode == status, said
    assert "the stack is restored" in said
    assert scene.file.read_bytes() == before
    scene.assert_unchanged()


@pytest.mark.parametrize(
    "seconds", [0.8, *(pytest.param(seconds, marks=pytest.mark.soak) for seconds in (0.3, 1.3, 1.8))]
)
def test_schedule_interrupted_during_an_update_restores_the_stack(
    scene: Scene, application: str, tmp_path: Path, seconds: float
) -> None:
    scene.up()
    before = scene.file.read_bytes()
    running = scene.start(*lab("chaos", "schedule", scheduled(tmp_path, application, LONG)))
    until(lambda: scene.file.read_bytes() != before, 60, "the fault is declared")
    time.sleep(seconds)  # of an update that takes about two
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=180)
    assert running.returncode == 130, said
    assert "the stack is restored" in said
    assert scene.file.read_bytes() == before
    assert scene.share(200, 20) == 1.0
    scene.assert_unchanged()
