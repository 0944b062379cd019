"""A promotion by the requests of users alone, on the embedded cluster; `test_shop.py` has more."""

import threading
import time
from collections import Counter

import pytest

from tests.conftest import Kubectl
from tests.e2e.promotions import Start, end, live_weight, records
from tests.e2e.scene import NAMESPACE, Scene, until
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.traffic import ROLES, TrafficReader

WAYPOINT = ("deploy/waypoint", "-n", NAMESPACE)
READ_SECONDS = 1.0  # as a promotion does
LOG_SECONDS = 15.0  # Envoy writes its log some time after an answer
REQUESTS = 8_000
pytestmark = [pytest.mark.timeout(480), pytest.mark.slow]


class Counted:
    """Requests by role since the start: tries by the counters, and answers by the access logs."""

    def __init__(self, config: LabConfig) -> None:
        """Start to read in the background."""
        self._reader = TrafficReader(config)
        self.tries, self.logged = Counter[str](), Counter[str]()
        self._ended = threading.Event()
        self._reader.read()
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def _count(self) -> None:
        while not self._ended.wait(READ_SECONDS):
            if (block := self._reader.read()) is None:
                continue
            assert block.logged is not None
            for role in ROLES:
                self.tries[role] += block.tries[role].requests
                self.logged[role] += len(block.logged[role])

    def stop(self, sent: int) -> None:
        """Wait until so many requests are logged, but not for long, and stop to read."""
        until = time.monotonic() + LOG_SECONDS
        while self.logged.total() < sent and time.monotonic() < until:
            time.sleep(0.1)
        self._ended.set()
        self._thread.join()


def test_counters_and_access_log_agree_with_the_client_through_a_promotion_with_restart_and_scale(
    scene: Scene, start: Start, kubectl: Kubectl
) -> None:
    config = scene.write("canary", canary={"weight": 0, "evidence": "traffic"})
    counted, users = Counted(config), scene.load(workers=8, fresh_workers=1)
    try:
        running = start("promote", "--steps", "50,100", "--requests", str(REQUESTS // 4), "--limit", "200")
        until(lambda: records(scene, "measure"), 120, "the first step is measured")
        kubectl("rollout", "restart", *WAYPOINT)
        kubectl("scale", *WAYPOINT, "--replicas=2")
        kubectl("rollout", "status", *WAYPOINT, "--timeout=60s")
        said = end(running, 0, 300)
        until(lambda: counted.logged.total() >= REQUESTS, 120, "all requests are sent")
    finally:
        answers = users.stop()
        counted.stop(len(answers))
        kubectl("scale", *WAYPOINT, "--replicas=1")
    assert "Promoted; at 100 %" in said
    assert live_weight(kubectl) == 100
    assert [set(record["evidence"]) for record in records(scene, "decision")] == [{"traffic"}] * 2
    # The client has sent all requests that the waypoints have counted: the promotion has sent none.
    sent = Counter("canary" if one.identity == "red" else "baseline" for one in answers)
    print(f"client {dict(sent)}, counters {dict(counted.tries)}, access log {dict(counted.logged)}")
    assert sent.total() >= REQUESTS
    for role, requests in sent.items():
        assert counted.tries[role] == pytest.approx(requests, rel=0.05), role
        assert counted.logged[role] == pytest.approx(requests, rel=0.05), role
