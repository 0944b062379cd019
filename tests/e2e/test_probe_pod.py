"""The end of a probe Pod whose command was killed."""

import pytest

from tests.conftest import Kubectl
from tests.e2e.scene import until
from tests.unit.configs import lab_config
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.measure import probe_pod
from waypoint_lab.measure.client import Group, send

CLIENT = PodClient(namespace="bookinfo-frontends")
CONFIG = lab_config(app={"client": {"kind": "pod", "namespace": CLIENT.namespace}})
IDLE_SECONDS = 2.0


def phases(kubectl: Kubectl) -> dict[str, str]:
    """Return the phases of the probe Pods by name."""
    form = 'jsonpath={range .items[*]}{.metadata.name} {.status.phase}{"\\n"}{end}'
    found = kubectl("get", "pods", "-n", CLIENT.namespace, f"-l=app={probe_pod.LABELS['app']}", "-o", form).stdout
    return {name: phase for name, phase in (line.split() for line in found.splitlines())}


def test_probe_pod_without_requests_ends_and_is_deleted_by_the_next_command(
    kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_pod, "IDLE_SECONDS", IDLE_SECONDS)
    (answers,) = send(CONFIG, [Group(rounds=40, workers=2, pause_seconds=IDLE_SECONDS / 10)])
    assert [one.status for one in answers] == [200] * 40  # requests of twice that time do not end it
    (killed,) = phases(kubectl)
    until(lambda: phases(kubectl) == {killed: "Succeeded"}, 20, "the Pod has ended")
    probe_pod._pods.clear()
    probe_pod._created.clear()
    probe_pod.name(CONFIG, CLIENT, 1)
    until(lambda: killed not in phases(kubectl), 10, "the Pod is deleted")
    probe_pod.delete_all()
    until(lambda: not phases(kubectl), 20, "no probe Pod is left")
