"""The end of a probe Pod whose command was killed."""

import pytest

from tests.conftest import Kubectl
from tests.e2e.scene import until
from tests.unit.configs import lab_config
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.errors import ProbeError
from waypoint_lab.measure import probe_pod
from waypoint_lab.measure.client import Group, send

CLIENT = PodClient(namespace="bookinfo-frontends")
CONFIG = lab_config(app={"client": {"kind": "pod", "namespace": CLIENT.namespace}})
IDLE_SECONDS = 8.0


def objects(kubectl: Kubectl) -> list[str]:
    """Return the Jobs and Pods of probes."""
    where = ("-n", CLIENT.namespace, f"-l=app={probe_pod.LABELS['app']}", "-o", "name")
    return sorted(kubectl("get", "jobs,pods", *where).stdout.split())


@pytest.mark.slow
def test_probe_pod_of_a_killed_command_is_gone_by_itself(kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_pod, "IDLE_SECONDS", IDLE_SECONDS)
    monkeypatch.setattr(probe_pod, "KEPT_SECONDS", 1)
    (answers,) = send(CONFIG, [Group(rounds=40, workers=2, pause_seconds=IDLE_SECONDS / 10)])
    assert [one.status for one in answers] == [200] * 40  # requests of twice that time do not end it
    job, pod = objects(kubectl)
    assert (job.partition("/")[0], pod.partition("/")[0]) == ("job.batch", "pod")
    probe_pod._pods.clear()
    probe_pod._created.clear()  # as after SIGKILL: nobody deletes it
    until(lambda: not objects(kubectl), 60, "no Job and no Pod is left")


def test_probe_pod_that_the_api_server_refuses_is_one_line(kubectl: Kubectl) -> None:
    client = PodClient(namespace=CLIENT.namespace, service_account="nobody-made-this")
    with pytest.raises(ProbeError, match=r"its Pod is not ready: .*serviceaccount \"nobody-made-this\" not found"):
        probe_pod.name(CONFIG, client, 1)
    probe_pod.delete_all()
    until(lambda: not objects(kubectl), 30, "no Job and no Pod is left")
