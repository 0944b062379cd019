"""Probe Pods: their creation, reuse and deletion."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.errors import KubectlError, ProbeError
from waypoint_lab.measure import probe_pod, probe_pod_script

CLIENT = PodClient(namespace="users", service_account="alice")
CONFIG = lab_config()
READY = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
PULLING = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such\nimage"}}}]}


class Cluster:
    """Keeps the commands of kubectl, and answers for the Job, its Pod and its events."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.created: list[dict[str, Any]] = []
        self.pod: dict[str, Any] | None = READY
        self.events: list[dict[str, Any]] = []

    def run(self, _target: object, *what: str, stdin: str | None = None, **_more: object) -> str:
        self.commands.append(what)
        if stdin:
            self.created.append(json.loads(stdin))
        return ""

    def items(self, _target: object, kind: str, *what: str) -> list[dict[str, Any]]:
        if kind == "events":
            return self.events
        name = what[-1].rpartition("=")[2]
        return [] if self.pod is None else [{"metadata": {"name": f"{name}-x"}, **self.pod}]

    @property
    def deleted(self) -> list[str]:
        return [what[2] for what in self.commands if what[0] == "delete" and what[2].startswith("waypoint-lab-probe-")]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster()
    monkeypatch.setattr(kubectl, "run", made.run)
    monkeypatch.setattr(kubectl, "items", made.items)
    monkeypatch.setattr(probe_pod, "READY_SECONDS", 0.01)
    monkeypatch.setattr(probe_pod, "POLL_SECONDS", 0.001)
    yield made
    probe_pod.delete_all()


def test_name_creates_one_pod_for_all_requests_of_a_process(cluster: Cluster) -> None:
    first = probe_pod.name(CONFIG, CLIENT, 60)
    assert first == probe_pod.name(CONFIG, CLIENT, 60)
    (job,) = cluster.created
    assert (job["metadata"]["name"] + "-x", [what[0] for what in cluster.commands]) == (first, ["create"])
    probe_pod.delete_all()
    assert [job["metadata"]["name"]] == cluster.deleted


def test_name_of_a_pod_for_a_long_step_outlives_it(cluster: Cluster) -> None:
    day = 86_400.0
    assert probe_pod.name(CONFIG, CLIENT, day) == probe_pod.name(CONFIG, CLIENT, day)
    (job,) = cluster.created
    script = job["spec"]["template"]["spec"]["containers"][0]["command"][2]
    assert job["spec"]["activeDeadlineSeconds"] == 86_700
    assert script.endswith("wait(86700.0, 300.0)")


def test_name_of_another_client_is_another_pod(cluster: Cluster) -> None:
    probe_pod.name(CONFIG, CLIENT, 60)
    probe_pod.name(CONFIG, PodClient(namespace="users"), 60)
    pods = [job["spec"]["template"]["spec"] for job in cluster.created]
    assert [pod["serviceAccountName"] for pod in pods] == ["alice", "default"]


@pytest.mark.parametrize(("idle", "seconds"), [(0.0, 0.0), (300.0, 86_400.0)])
def test_name_of_a_pod_that_may_have_ended_is_a_fresh_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, idle: float, seconds: float
) -> None:
    monkeypatch.setattr(probe_pod, "IDLE_SECONDS", idle)
    pods = [probe_pod.name(CONFIG, CLIENT, 0), probe_pod.name(CONFIG, CLIENT, seconds)]
    jobs = [job["metadata"]["name"] for job in cluster.created]
    assert pods == [f"{job}-x" for job in jobs]
    assert cluster.deleted == []  # requests may still be running in the first
    probe_pod.delete_all()
    assert sorted(jobs) == sorted(cluster.deleted)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({}, "it is not scheduled"),
        (PULLING, "ErrImagePull no such image"),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, "it is not scheduled"),
        ({"phase": "Failed", "message": "Pod was evicted"}, "Pod was evicted"),
        ({"phase": "Succeeded"}, "it ended"),
    ],
)
def test_name_of_a_pod_that_is_not_ready_is_one_line(cluster: Cluster, status: dict[str, Any], why: str) -> None:
    cluster.pod = {"status": status}
    assert failure(cluster) == why


def test_name_of_a_pod_that_the_api_server_refuses_is_one_line(cluster: Cluster) -> None:
    cluster.pod, cluster.events = None, [{"message": "pods is forbidden:\nviolates PodSecurity"}]
    assert failure(cluster) == "pods is forbidden: violates PodSecurity"


def test_name_of_a_job_without_a_pod_says_so(cluster: Cluster) -> None:
    cluster.pod = None
    assert failure(cluster) == "it is not scheduled"


def failure(cluster: Cluster) -> str:
    """Return the reason why the Pod is not ready, after its deletion."""
    with pytest.raises(ProbeError) as caught:
        probe_pod.name(CONFIG, CLIENT, 60)
    probe_pod.delete_all()
    (job,) = cluster.deleted
    text = str(caught.value).removeprefix(f"probe Job users/{job}: its Pod is not ready: ")
    return text.removesuffix("; set app.client.image and app.client.serviceAccount")


def test_delete_all_without_an_answer_says_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_pod.name(CONFIG, CLIENT, 60)

    def silent(*_: object, **__: object) -> str:
        raise KubectlError("no answer")

    monkeypatch.setattr(kubectl, "run", silent)
    probe_pod.delete_all()


def test_manifest_ends_by_itself() -> None:
    spec = probe_pod.manifest("p", CLIENT)["spec"]
    pod = spec["template"]["spec"]
    last = pod["containers"][0]["command"][2].splitlines()[-1]
    assert tuple(spec[key] for key in ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished")) == (
        7200,
        0,
        60,
    )
    assert (pod["restartPolicy"], last) == ("Never", "wait(7200.0, 300.0)")


@pytest.mark.parametrize(("number", "ends"), [(0, "idle"), (1, "life")])
def test_wait_of_a_pod_with_a_command_ends_with_its_life(tmp_path: Path, number: int, ends: str) -> None:
    (tmp_path / str(os.getpid() + number)).mkdir()
    (tmp_path / "self").mkdir()
    started, life = time.monotonic(), 0.2 if ends == "life" else 30.0
    with patch.object(time, "sleep", wraps=time.sleep) as paused:
        probe_pod_script.wait(life, 0.01, str(tmp_path))
    assert paused.called, "the Pod never rests"
    assert (ends == "life") == (time.monotonic() - started >= life)
