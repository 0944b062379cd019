"""Pod addresses, restart back-off and Pod conditions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.node.kubelet import status
from embedded.node.kubelet.context import backoff
from embedded.node.kubelet.sandbox import Addresses, SandboxError
from tests.unit.embedded.node.kubelet.fake_pod import FakePod


def test_addresses_released_address_is_reused_last() -> None:
    addresses = Addresses("10.244.0.0/16")
    first = addresses.take()
    assert first == "10.244.1.1"
    addresses.give_back(first)
    assert addresses.take() == "10.244.1.2"
    assert addresses.take(first) == first
    assert addresses.take(first) != first


def test_addresses_full_range_is_refused() -> None:
    addresses = Addresses("10.0.0.0/23")
    for _ in range(254):
        addresses.take()
    with pytest.raises(SandboxError, match="no Pod address is left"):
        addresses.take()


def test_backoff_failures_double_the_wait_up_to_five_minutes() -> None:
    assert [backoff(n) for n in (1, 2, 3, 4, 9, 500)] == [0, 10, 20, 40, 300, 300]


def test_conditions_unchanged_condition_keeps_its_time() -> None:
    before = [{"type": "Ready", "status": "False", "lastTransitionTime": "then"}, {"type": "PodScheduled"}]
    same = status.conditions(before, {"Ready": (False, "ContainersNotReady")})
    assert [(c["type"], c.get("lastTransitionTime")) for c in same] == [("Ready", "then")]
    (ready,) = status.conditions(before, {"Ready": (True, "ReadinessGatesNotReady")})
    assert ready["lastTransitionTime"] != "then"
    assert (ready["status"], ready["reason"]) == ("True", None)


def test_phase_sidecar_that_ended_with_an_error_does_not_fail_the_pod() -> None:
    sidecar: Any = SimpleNamespace(exit_code=143, spec={"restartPolicy": "Always"}, state={"terminated": {}})
    first: Any = SimpleNamespace(exit_code=1, spec={})
    main: Any = SimpleNamespace(exit_code=0, spec={})
    assert status.phase("Never", True, [sidecar], [main]) == "Succeeded"
    assert status.phase("Never", False, [sidecar, first], [main]) == "Failed"


def test_phase_sidecar_that_still_runs_keeps_the_pod_running() -> None:
    sidecar: Any = SimpleNamespace(exit_code=None, spec={"restartPolicy": "Always"}, state={"running": {}})
    main: Any = SimpleNamespace(exit_code=0, spec={}, state={"terminated": {}})
    assert status.phase("Never", True, [sidecar], [main]) == "Running"


@pytest.mark.parametrize(
    ("state", "ready"),
    [({"terminated": {"exitCode": 0}}, True), ({"terminated": {"exitCode": 1}}, False), ({"running": {}}, False)],
)
@pytest.mark.asyncio
async def test_compose_init_container_is_ready_once_it_has_succeeded(
    tmp_path: Path, state: dict[str, Any], ready: bool
) -> None:
    init = FakePod(tmp_path).container("OnFailure")
    init.state, init.ready = state, "running" in state
    pod = {"metadata": {}, "spec": {}}
    made = status.compose(pod, before=[], host_ip="", pod_ip=None, start="", initialized=False, init=[init], mains=[])
    assert ready == made["initContainerStatuses"][0]["ready"]
