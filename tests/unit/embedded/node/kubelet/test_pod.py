"""The end of a Pod: its last status, its sidecar containers and its grace period."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.kube import Object
from embedded.node.kubelet import container, container_end, status_writer
from embedded.node.kubelet import pod as pods
from embedded.node.kubelet.pod import Pod
from embedded.node.kubelet.sandbox import Addresses, Sandbox
from embedded.node.launcher.process import Process
from tests.unit.embedded.node.documents import Memory
from tests.unit.embedded.node.kubelet.fake_pod import FakeLauncher, skip_images, until

TERM, KILL = 15, 9
SIDECAR = {"name": "side", "image": "i", "restartPolicy": "Always"}


class FakeKube:
    """The API server's side: the statuses that were written, and the deletions."""

    def __init__(self) -> None:
        self.statuses: list[Object] = []
        self.deleted: list[str] = []

        self.faults: list[Exception] = []  # of the next deletions

    async def patch(self, path: str, body: Object, kind: str) -> Object:
        assert kind == "strategic-merge"
        self.statuses.append(body["status"])
        return {"status": body["status"]}

    async def delete(self, path: str, body: Object) -> None:
        if self.faults:
            raise self.faults.pop()
        self.deleted.append(path)


class FakeNode:
    """The node of one Pod."""

    def __init__(self, folder: Path, *, stubborn: bool) -> None:
        self.config: Any = SimpleNamespace(state_dir=str(folder), node_ip="127.0.0.1")
        self.kube: Any = FakeKube()
        self.launcher: Any = FakeLauncher(stubborn=stubborn)
        self.addresses, self.capacity = Addresses("10.244.0.0/16"), {}
        self.store: Any = Memory()
        self.reasons: list[str] = []
        self.destroyed: list[str] = []  # addresses of the namespaces that are gone

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        self.reasons.append(reason)


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, *, stubborn: bool = False, **spec: Any) -> tuple[Pod, FakeNode]:
    """Return a Pod with one container and the node that it runs on."""

    async def create(*_: Any) -> Sandbox:
        return Sandbox(Process(1), "10.244.1.1", "veth")

    async def destroy(_: Any, sandbox: Sandbox) -> None:
        node.destroyed.append(sandbox.ip)

    skip_images(monkeypatch)
    monkeypatch.setattr(pods.sandboxes, "create", create)
    monkeypatch.setattr(pods.sandboxes, "destroy", destroy)
    monkeypatch.setattr(pods, "write_etc", lambda *_: None)
    meta = {"name": "p", "namespace": "n", "uid": "u"}
    node = FakeNode(folder, stubborn=stubborn)
    return Pod(node, {"metadata": meta, "spec": {"containers": [{"name": "main", "image": "i"}], **spec}}), node


def state_of(status: Object, kind: str) -> str:
    return str({row["type"]: row["status"] for row in status["conditions"]}.get(kind))


async def completed(pod: Pod) -> "asyncio.Task[None]":
    """Start the Pod, and end its main container."""
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    pod.mains[0].process.end(0)
    return run


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
    (main,) = last["containerStatuses"]
    assert (main["ready"], main["state"]["terminated"]["exitCode"]) == (False, 143)
    assert (main["state"]["terminated"]["reason"], main["state"]["terminated"]["signal"]) == ("Error", TERM)
    assert (last["phase"], len(node.kube.deleted)) == ("Failed", 1)
    assert node.destroyed == ["10.244.1.1"]


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
    pod, node = made(tmp_path, monkeypatch, restartPolicy="Never", initContainers=[SIDECAR])
    run = await completed(pod)
    await until(lambda: {"Succeeded", "Failed"} & {each["phase"] for each in node.kube.statuses})
    last = node.kube.statuses[-1]
    assert last["phase"] == "Succeeded"
    assert last["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run


@pytest.mark.asyncio
async def test_pod_follows_its_readiness_gates_and_writes_no_condition_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch, readinessGates=[{"conditionType": "my/gate"}])
    run = asyncio.create_task(pod.run())
    await until(lambda: node.kube.statuses and state_of(node.kube.statuses[-1], "ContainersReady") == "True")
    assert state_of(node.kube.statuses[-1], "Ready") == "False"
    for word in ("True", "False"):
        gate = {"type": "my/gate", "status": word}
        pod.update({**pod.pod, "status": {**node.kube.statuses[-1], "conditions": [gate]}})
        await until(lambda word=word: state_of(node.kube.statuses[-1], "Ready") == word)
    assert "my/gate" not in {row["type"] for row in node.kube.statuses[-1]["conditions"]}
    assert node.kube.statuses[-1]["podIPs"] == [{"ip": "10.244.1.1"}, {"$patch": "replace"}]
    delete(pod, 0)
    await run


@pytest.mark.asyncio
async def test_pod_that_the_node_controller_made_unready_is_ready_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch)
    run = asyncio.create_task(pod.run())
    await until(lambda: node.kube.statuses and state_of(node.kube.statuses[-1], "Ready") == "True")
    before = len(node.kube.statuses)
    pod.update({**pod.pod, "status": {**node.kube.statuses[-1], "conditions": [{"type": "Ready", "status": "False"}]}})
    await until(lambda: len(node.kube.statuses) > before)
    assert state_of(node.kube.statuses[-1], "Ready") == "True"
    delete(pod, 0)
    await run


@pytest.mark.asyncio
async def test_pod_whose_sidecar_fails_by_an_error_of_ours_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, _ = made(tmp_path, monkeypatch, initContainers=[SIDECAR])

    async def prepare(*_: Any) -> None:
        raise RuntimeError("of ours")

    monkeypatch.setattr(container, "prepare", prepare)
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup):
            await pod.run()


@pytest.mark.asyncio
async def test_pod_completed_gives_its_sidecar_the_grace_period_of_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"restartPolicy": "Never", "initContainers": [SIDECAR], "terminationGracePeriodSeconds": 60}
    pod, node = made(tmp_path, monkeypatch, stubborn=True, **spec)
    run = await completed(pod)
    await until(lambda: node.launcher.signals)
    assert 55 < pod.init[0]._end._period.left() <= 60
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run
    assert node.launcher.signals == [TERM, KILL]


@pytest.mark.asyncio
async def test_pod_is_deleted_after_a_long_fault_of_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "RETRY_SECONDS", 0)
    pod, node = made(tmp_path, monkeypatch)
    node.kube.faults = [ConnectionRefusedError() for _ in range(40)]
    run = asyncio.create_task(pod.run())
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run
    assert len(node.kube.deleted) == 1


@pytest.mark.asyncio
async def test_pod_whose_volume_loses_its_source_has_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, node = made(tmp_path, monkeypatch, volumes=[{"name": "v", "configMap": {"name": "cm"}}])
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    del node.store.maps["cm"]
    pod.refresh()
    await until(lambda: "FailedMount" in node.reasons)
    delete(pod, 0)
    await run


@pytest.mark.asyncio
async def test_pod_that_loses_its_sandbox_while_its_sidecar_ends_does_not_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch, stubborn=True, restartPolicy="Never", initContainers=[SIDECAR])
    run = await completed(pod)
    await until(lambda: node.launcher.signals)
    pod.sandbox.pause.end(137)
    pod.init[0].process.end(137)
    await until(lambda: node.kube.statuses and node.kube.statuses[-1]["phase"] == "Succeeded")
    assert len(node.launcher.processes) == 2
    delete(pod, 0)
    await run


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "completed"])
@pytest.mark.asyncio
async def test_pod_ends_its_sidecars_in_reverse_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deleted: bool
) -> None:
    sidecars = [SIDECAR, {**SIDECAR, "name": "later"}]
    pod, node = made(tmp_path, monkeypatch, restartPolicy="Never", initContainers=sidecars)
    asked: list[Process] = []

    async def kill(process: Process, number: int = KILL, *, group: bool = False) -> None:
        if number == TERM:
            asked.append(process)

    monkeypatch.setattr(node.launcher, "kill", kill)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    expected = [pod.init[1].process, pod.init[0].process]
    if deleted:
        expected.insert(0, pod.mains[0].process)
        delete(pod, 60)
    else:
        pod.mains[0].process.end(0)
    for number, process in enumerate(expected, 1):
        await until(lambda number=number: len(asked) == number)
        await asyncio.sleep(0)
        assert expected[:number] == asked
        process.end(0)
    if not deleted:
        await until(lambda: node.kube.statuses and node.kube.statuses[-1]["phase"] == "Succeeded")
        delete(pod, 0)
    async with asyncio.timeout(5):
        await run


@pytest.mark.asyncio
async def test_sidecar_that_waited_for_its_turn_is_asked_to_end_before_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_end, "LEAST_SECONDS", 60)
    pod, node = made(tmp_path, monkeypatch, initContainers=[SIDECAR, {**SIDECAR, "name": "later"}])
    signals: list[int] = []
    usual = node.launcher.kill

    async def kill(process: Process, number: int = KILL, *, group: bool = False) -> None:
        if process is pod.init[0].process:
            signals.append(number)
        await usual(process, number, group=group)

    monkeypatch.setattr(node.launcher, "kill", kill)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    delete(pod, 0)  # nothing of the grace period is left
    async with asyncio.timeout(5):
        await run
    assert signals[0] == TERM
    assert pod.init[0].exit_code == 128 + TERM


@pytest.mark.asyncio
async def test_pod_that_is_deleted_during_its_init_containers_starts_no_sidecar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch, initContainers=[{"name": "migrate", "image": "i"}, SIDECAR])

    async def kill(process: Process, number: int = KILL, *, group: bool = False) -> None:
        process.end(0)

    monkeypatch.setattr(node.launcher, "kill", kill)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.init[0].state)
    delete(pod, 30)
    async with asyncio.timeout(5):
        await run
    assert len(node.launcher.processes) == 1


@pytest.mark.parametrize(("policy", "again"), [("Always", True), ("OnFailure", True), ("Never", False)])
@pytest.mark.asyncio
async def test_init_container_that_fails_runs_again_where_the_pod_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, again: bool
) -> None:
    init = [{"name": "migrate", "image": "i"}]
    pod, _ = made(tmp_path, monkeypatch, restartPolicy=policy, initContainers=init)
    assert (pod.init[0].runs_after(1), pod.init[0].runs_after(0)) == (again, False)


@pytest.mark.asyncio
async def test_pod_removes_its_folder_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, _ = made(tmp_path, monkeypatch)
    threads: list[int] = []
    monkeypatch.setattr(pods.shutil, "rmtree", lambda *_, **__: threads.append(threading.get_ident()))
    run = asyncio.create_task(pod.run())
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
