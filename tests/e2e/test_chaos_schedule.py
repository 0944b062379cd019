"""Schedules of faults, for real: walked to the end, stopped by a health check, interrupted."""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.chaos_scene import BASE, CLONE, STACK_FILE, Scene, opened, until


@pytest.fixture(scope="module")
def scene(cluster_state: Path, cluster_environment: dict[str, str]) -> Iterator[Scene]:
    with opened(cluster_state, cluster_environment) as found:
        yield found


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
    Application.status = 200
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def scheduled(folder: Path, url: str, *faults: dict[str, object]) -> str:
    file = folder / "schedule.yaml"
    file.write_text(yaml.safe_dump({"health": {"url": url, "failures": 1}, "faults": list(faults)}))
    return str(file)


@pytest.mark.timeout(240)
def test_a_schedule_walks_its_faults_and_takes_all_back(scene: Scene, application: str, tmp_path: Path) -> None:
    scene.up("canary", canary={"weight": 100})
    before = STACK_FILE.read_bytes()
    jane = {"name": "end-user", "value": "jane"}
    faults = [
        {"at": 0, "seconds": 7, "percent": 100},
        {"at": 8, "seconds": 6, "delay": 0.2, "header": jane},
    ]
    done = scene.lab("chaos", "--schedule", scheduled(tmp_path, application, *faults))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0.2 s later" in done.stdout
    assert before == STACK_FILE.read_bytes()
    assert scene.again().returncode == 0
    assert scene.share(200, 100) == 1.0


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["ill", "interrupted"])
def test_a_schedule_stops_at_once_and_takes_all_back(scene: Scene, application: str, tmp_path: Path, how: str) -> None:
    scene.up(*BASE)
    file = scheduled(tmp_path, application, {"at": 0, "seconds": 300, "percent": 100})
    command = [sys.executable, "-m", "waypoint_lab.cli", "chaos", "--schedule", file]
    walk = subprocess.Popen(command, cwd=CLONE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: scene.share(503, 4) == 1.0, 60, "the fault is on")
    if how == "ill":
        Application.status = 500
    else:
        os.killpg(walk.pid, signal.SIGINT)
    until(lambda: scene.share(200, 4) == 1.0, 60, "the fault is off, long before its 300 s are over")
    _, said = walk.communicate(timeout=60)
    assert walk.returncode == (1 if how == "ill" else 130)
    assert "all is taken back" in said
    assert scene.again().returncode == 0


@pytest.mark.timeout(240)
def test_a_schedule_interrupted_while_it_changes_something_takes_all_back(
    scene: Scene, application: str, tmp_path: Path
) -> None:
    scene.up(*BASE)
    before = STACK_FILE.read_bytes()
    command = [sys.executable, "-m", "waypoint_lab.cli", "chaos", "--schedule"]
    for seconds in (0.3, 0.8, 1.3, 1.8):  # of an update that takes about two
        file = scheduled(tmp_path, application, {"at": 0, "seconds": 300, "percent": 100})
        walk = subprocess.Popen([*command, file], cwd=CLONE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        until(lambda: before != STACK_FILE.read_bytes(), 60, "the fault is declared")
        time.sleep(seconds)
        os.killpg(walk.pid, signal.SIGINT)
        _, said = walk.communicate(timeout=60)
        assert walk.returncode == 130, said
        assert "all is taken back" in said
        assert before == STACK_FILE.read_bytes()
        assert scene.share(200, 20) == 1.0
    assert scene.again().returncode == 0
