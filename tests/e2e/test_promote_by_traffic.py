"""Promotions by the requests of users alone, on the embedded cluster; `test_shop.py` has more."""

import threading
from collections import Counter
from typing import Any

import pytest

from tests.conftest import Kubectl
from tests.e2e.promotions import Start, end, live_weight, records
from tests.e2e.scene import NAMESPACE, Scene, until
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import Counts
from waypoint_lab.measure.traffic import role_of

WAYPOINT = ("deploy/waypoint", "-n", NAMESPACE)
pytestmark = pytest.mark.timeout(480)


class CountedTries:
    """Tries at the endpoints of canary and baseline since the start, read in the background."""

    def __init__(self, config: LabConfig) -> None:
        """Start to count."""
        self._config = config
        self._last = self._read()
        self._found: Counter[str] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def _read(self) -> endpoint_counters.EndpointCounters:
        return endpoint_counters.read(self._config.target, NAMESPACE, list(self._config.waypoints))

    def _count(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(0.3)
            try:
                now = self._read()
            except KubectlError:
                ended = False  # a Pod that has just started does not answer yet
                continue
            for where, counts in now.since(self._last).items():
                self._add(role_of(self._config, where), counts)
            self._last = now

    def _add(self, role: str, counts: Counts) -> None:
        self._found[role] += counts.completed

    def stop(self) -> Counter[str]:
        """Return the tries that have ended, by role."""
        self._ended.set()
        self._thread.join()
        return self._found


def by_traffic(scene: Scene, **canary: Any) -> LabConfig:
    """Let the stack's canary, of 0 %, be judged by the requests of users."""
    return scene.write("canary", canary={"weight": 0, "evidence": "traffic", **canary})


def promote_and_count(scene: Scene, start: Start, kubectl: Kubectl, *options: str) -> None:
    """Promote to 100 % while the waypoint restarts and gets a second Pod; compare counters and client."""
    config = by_traffic(scene)
    counted, users = CountedTries(config), scene.load()
    try:
        running = start("promote", "--steps", "20,100", *options)
        until(lambda: records(scene, "measure"), 90, "the first step is measured")
        kubectl("rollout", "restart", *WAYPOINT)
        kubectl("scale", *WAYPOINT, "--replicas=2")
        kubectl("rollout", "status", *WAYPOINT, "--timeout=60s")
        said = end(running, 0)
    finally:
        answers = users.stop()
        found = counted.stop()
        kubectl("scale", *WAYPOINT, "--replicas=1")
    assert "Promoted; at 100 %" in said
    assert live_weight(kubectl) == 100
    decisions = records(scene, "decision")
    assert [set(record["evidence"]) for record in decisions] == [{"traffic"}] * 2
    # The client has sent all requests that the waypoints have counted: the promotion has sent none.
    sent = Counter("canary" if one.identity == "red" else "baseline" for one in answers)
    print(f"client {dict(sent)}, counters {dict(found)}")
    for role, requests in sent.items():
        assert found[role] == pytest.approx(requests, rel=0.01), role


def test_promotion_by_traffic_counts_what_the_client_counts_through_restart_and_scale(
    scene: Scene, start: Start, kubectl: Kubectl
) -> None:
    promote_and_count(scene, start, kubectl)


@pytest.mark.soak
def test_promotion_by_traffic_counts_20000_requests(scene: Scene, start: Start, kubectl: Kubectl) -> None:
    promote_and_count(scene, start, kubectl, "--requests", "9000", "--limit", "400")


def test_promotion_by_traffic_without_users_pauses(scene: Scene, start: Start) -> None:
    by_traffic(scene)
    said = end(start("promote", "--steps", "20,100", "--limit", "3"), 3)
    assert "0 of 0 requests of users to the canary failed" in said
    assert "which is not a pass; about 391 to the canary are needed if it is healthy" in said
    assert "Paused at 20 %" in said
    end(start("rollback"), 0)
