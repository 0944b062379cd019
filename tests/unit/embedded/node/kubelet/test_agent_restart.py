"""Pods after a restart of the node agent, or without their namespaces: what runs again, and what does not."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from embedded.kube import ApiError, Object
from embedded.node.kubelet import status_writer
from embedded.node.kubelet.pod import Pod
from tests.unit.embedded.node.kubelet.fake_pod import until
from tests.unit.embedded.node.kubelet.test_pod import FakeNode, delete, made

TWO = [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]
OWN = [{**TWO[0], "restartPolicy": "Never"}, TWO[1]]
INIT = [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}]
RUNNING: Object = {"running": {"startedAt": "then"}}


def row(name: str, state: Object | None = None) -> Object:
    """Return the status of a container that has ended without an error, or is in `state`."""
    done = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    return {"name": name, "restartCount": 0, "containerID": f"process://u/{name}/0", "state": state or done}


def again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mains: list[Object], init: list[Object] | None = None, **spec: Any
) -> tuple[Pod, FakeNode]:
    """Return a Pod whose containers had these statuses when the node agent ended, and its node."""
    pod, node = made(folder, monkeypatch, **spec)
    status = {"phase": "Running", "containerStatuses": mains, "initContainerStatuses": init or []}
    return Pod(node, {**pod.pod, "status": status}), node


def states(status: Object, key: str = "containerStatuses") -> list[int | None]:
    """Return the containers' exit codes, None for one that has none."""
    return [each["state"].get("terminated", {}).get("exitCode") for each in status[key]]


async def ended(run: "asyncio.Task[None]", pod: Pod) -> None:
    delete(pod, 0)
    async with asyncio.timeout(5):
        await run


@pytest.mark.parametrize(
    ("mains", "init", "expected"),
    [([row("main", RUNNING)], [row("one"), row("two")], [0, 0]), ([], [row("one"), row("two", RUNNING)], [0, 137])],
    ids=["main", "init"],
)
@pytest.mark.asyncio
async def test_pod_that_runs_once_and_its_init_containers_have_ended_with_the_node_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mains: list[Object], init: list[Object], expected: list[int]
) -> None:
    pod, node = again(tmp_path, monkeypatch, mains, init, restartPolicy="Never", initContainers=INIT)
    run = asyncio.create_task(pod.run())
    await until(lambda: node.kube.statuses)
    first = node.kube.statuses[0]
    assert (first["phase"], states(first)) == ("Failed", [137])
    assert expected == states(first, "initContainerStatuses")
    await ended(run, pod)
    assert node.launcher.processes == []


@pytest.mark.parametrize(("policy", "mains"), [("OnFailure", TWO), ("Always", OWN)], ids=["pod", "container"])
@pytest.mark.asyncio
async def test_container_that_may_not_run_again_stays_ended_after_a_restart_of_the_node_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, mains: list[Object]
) -> None:
    rows = [row("a"), row("b", RUNNING)]
    pod, node = again(tmp_path, monkeypatch, rows, restartPolicy=policy, containers=mains)
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[1].state)
    assert states(pod.status()) == [0, None]
    await ended(run, pod)
    assert {0} == {states(each)[0] for each in node.kube.statuses}
    assert len(node.launcher.processes) == 1


@pytest.mark.asyncio
async def test_container_that_has_succeeded_stays_ended_without_the_pods_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch, restartPolicy="OnFailure", containers=TWO)
    run = asyncio.create_task(pod.run())
    await until(lambda: len(node.launcher.processes) == 2 and "running" in pod.mains[1].state)
    pod.mains[0].process.end(0)
    await until(lambda: pod.mains[0].exit_code == 0)
    pod.sandbox.pause.end(137)
    await until(lambda: len(node.launcher.processes) == 3 and "running" in pod.mains[1].state)
    assert ([each.restarts for each in pod.mains], states(pod.status())) == ([0, 1], [0, None])
    await ended(run, pod)


@pytest.mark.asyncio
async def test_pod_that_runs_once_has_failed_without_its_namespaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod, node = made(tmp_path, monkeypatch, restartPolicy="Never")
    run = asyncio.create_task(pod.run())
    await until(lambda: "running" in pod.mains[0].state)
    pod.sandbox.pause.end(137)
    await until(lambda: node.kube.statuses and node.kube.statuses[-1]["phase"] == "Failed")
    await ended(run, pod)
    assert len(node.launcher.processes) == 1


@pytest.mark.asyncio
async def test_status_that_is_refused_is_written_again_after_ever_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def patch(*_: Any) -> Object:
        raise ApiError(422, "Invalid", "refused")

    async def wait_for(change: Any, pause: float) -> None:
        change.close()
        pauses.append(pause)
        raise TimeoutError

    pod, node = made(tmp_path, monkeypatch)
    monkeypatch.setattr(node.kube, "patch", patch)
    monkeypatch.setattr(status_writer, "GATHER_SECONDS", 0)
    monkeypatch.setattr(status_writer.asyncio, "wait_for", wait_for)
    run = asyncio.create_task(pod.run())
    await until(lambda: len(pauses) > 6)
    assert pauses[:7] == [0.5, 1, 2, 4, 8, 10, 10]
    await ended(run, pod)
