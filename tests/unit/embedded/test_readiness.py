"""`lab up` waits for a cluster: the reason why it is not ready, and who can repair it."""

import asyncio
from contextlib import nullcontext
from pathlib import Path

import pytest

from embedded import readiness
from embedded.errors import ClusterError, NotReadyError
from embedded.health import ClusterStatus, ComponentStatus
from embedded.kube import ApiError

SERVING = [ComponentStatus(name, 7, True, "ready", 1) for name in ("watchdog", "kube-apiserver", "istiod")]
PENDING_POD = ComponentStatus("pods", 0, False, "bookinfo-backends/tmp:\nPending")


def wait(monkeypatch: pytest.MonkeyPatch, components: list[ComponentStatus], refusal: ApiError | None = None) -> None:
    """Wait for a cluster that stays as it is until the time is over."""

    async def read_status(*_: object) -> ClusterStatus:
        return ClusterStatus(all(one.ready for one in components), components)

    async def apply_bookinfo(_: object) -> None:
        if refusal:
            raise refusal

    monkeypatch.setattr(readiness, "UP_SECONDS", 0)
    monkeypatch.setattr(readiness, "connect", nullcontext)
    monkeypatch.setattr(readiness, "read_status", read_status)
    monkeypatch.setattr(readiness.istio, "apply_bookinfo", apply_bookinfo)
    asyncio.run(readiness.wait_until_ready(Path("/state"), lambda _: None))


def test_pod_that_is_not_ready_is_named_with_a_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotReadyError, match=r"pods \(bookinfo-backends/tmp: Pending\); the cluster runs: repair it"):
        wait(monkeypatch, [*SERVING, PENDING_POD])


def test_bookinfo_that_is_refused_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotReadyError, match=r": bookinfo \(Forbidden \(403\): no labels\); the cluster runs"):
        wait(monkeypatch, SERVING, ApiError(403, "Forbidden", "no labels"))


def test_mesh_that_is_refused_can_be_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = ComponentStatus("mesh", 0, False, "installing: Forbidden")
    waits = ComponentStatus("istiod", 0, False, "waiting for kube-apiserver, mesh")
    with pytest.raises(NotReadyError, match="installing: Forbidden"):
        wait(monkeypatch, [*SERVING[:2], mesh, waits])


@pytest.mark.parametrize("pid", [0, 7], ids=["ended", "not ready"])
def test_process_that_is_not_ready_is_no_cluster(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    agent = ComponentStatus("node-agent", pid, False, "ended with status 1", 2)
    with pytest.raises(ClusterError, match=r"node-agent \(ended with status 1\); see /state/logs") as error:
        wait(monkeypatch, [*SERVING, agent])
    assert not isinstance(error.value, NotReadyError)
