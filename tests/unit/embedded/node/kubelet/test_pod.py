"""The end of a Pod: its last status, its sidecar containers and its grace period."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.kube import Object
from embedded.node.kubelet import pod as pods
from embedded.node.kubelet.pod import Pod
from embedded.node.kubelet.sandbox import Addresses, Sandbox
from embedded.node.launcher.process import Process
from tests.unit.embedded.node.kubelet.fake_pod import FakeLauncher, skip_images, until

TERM, KILL = 15, 9


class FakeKube:
    """The API server's side: the statuses that were written, and the deletions."""

    def __init__(self) -> None:
        self.statuses: list[Object] = []
        self.deleted: list[str] = []

    async def patch(self, path: str, body: Object) -> Object:
        self.statuses.append(body["status"])
        return {"status": body["status"]}

    async def delete(self, path: str, body: Object) -> None:
        self.deleted.append(path)


class FakeNode:
    """The node of one Pod."""

    def __init__(self, folder: Path, *, stubborn: bool) -> None:
        self.config: Any = SimpleNamespace(state_dir=str(folder), node_ip="127.0.0.1")
        self.kube: Any = FakeKube()
        self.launcher: Any = FakeLauncher(stubborn=stubborn)
        self.addresses, self.capacity = Addresses("10.244.0.0/16"), {}
        self.store: Any = None

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        pass


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, *, stubborn: bool = False, **spec: Any) -> tuple[Pod, FakeNode]:
    """Return a Pod with one container and the node that it runs on."""

    async def create(*_: Any) -> Sandbox:
        return Sandbox(Process(1), "10.244.1.1", "veth")

    async def destroy(*_: Any) -> None:
        pass

    skip_images(monkeypatch)
    monkeypatch.setattr(pods.sandboxes, "create", create)
    monkeypatch.setattr(pods.sandboxes, "destroy", destroy)
    monkeypatch.setattr(pods, "write_etc", lambda *_: None)
    meta = {"name": "p", "namespace": "n", "uid": "u"}
    node = FakeNode(folder, stubborn=stubborn)
    return Pod(node, {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "i"}], **spec}}), node


def delete(pod: Pod, seconds: int) -> None:
    meta = {**pod.pod["metadata"], "deletionTimestamp": "now", "deletionGracePeriodSeconds": seconds}
    pod.update({**pod.pod, "metadata": meta})


@pytest.mark.asyncio
async def test_pod_deleted_has_the_ends_of_its_containers_in_its_last_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    delete(pod, 5)
    async with asyncio.timeout(5):
        await run
    last = node.kube.statuses[-1]
    assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    assert (last["phase"], len(node.kube.deleted)) == ("Failed", 1)


@pytest.mark.parametrize("forced", [False, True], ids=["shorter", "forced"])
@pytest.mark.asyncio
async def test_pod_deleted_again_with_less_time_is_killed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forced: bool
) -> None:
    monkeypatch.setattr(pods, "FORGOTTEN_GRACE_SECONDS", 0.05)
    pod, node = made(tmp_path, monkeypatch, stubborn=True)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    delete(pod, 60)
    await until(lambda: node.launcher.signals)
    if forced:
        pod.forget()
    else:
        delete(pod, 0)
    async with asyncio.timeout(5):
        await run
    assert node.launcher.signals == [TERM, KILL]


@pytest.mark.asyncio
async def test_pod_completed_with_a_sidecar_is_succeeded_and_the_sidecar_terminated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = {"name": "side", "image": "i", "restartPolicy": "Always"}
    pod, node = made(tmp_path, monkeypatch, restartPolicy="Never", initContainers=[sidecar])
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    pod.mains[0].process.end(0)
    await until(lambda: {"Succeeded", "Failed"} & {each["phase"] for each in node.kube.statuses})
    last = node.kube.statuses[-1]
    assert last["phase"] == "Succeeded"
    assert last["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run
