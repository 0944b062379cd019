"""The start of a container: faults of the API server and of the disk, host name, and commands of probes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from embedded.node.kubelet import container, container_start
from embedded.node.kubelet.images import Image
from embedded.node.launcher.process import Command
from tests.unit.embedded.node.documents import CONFIG, Memory
from tests.unit.embedded.node.kubelet.fake_pod import FakePod, skip_images, until


@pytest.mark.parametrize("fault", [ConnectionRefusedError("refused"), TimeoutError()], ids=["refused", "no-answer"])
@pytest.mark.asyncio
async def test_container_is_prepared_again_after_a_fault_of_the_api_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    skip_images(monkeypatch)
    monkeypatch.setattr(container, "CONFIG_RETRY_SECONDS", 0)
    pod, faults, seen = FakePod(tmp_path), [fault], []

    async def prepare(*_: Any) -> tuple[Command, list[list[str]]]:
        if faults:
            raise faults.pop()
        seen.append(main.state["waiting"])
        return Command(["sleep"], {}), []

    monkeypatch.setattr(container, "prepare", prepare)
    main = pod.container("Never")
    run = asyncio.create_task(main.run())
    await until(lambda: "running" in main.state)
    message = str(fault) or "TimeoutError"
    assert seen == [{"reason": "CreateContainerConfigError", "message": message}]
    pod.launcher.processes[0].end(0)
    assert await run == 0


@pytest.mark.asyncio
async def test_container_without_a_place_for_its_log_has_a_start_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_images(monkeypatch)
    pod = FakePod(tmp_path)
    (tmp_path / "logs").write_text("no folder")
    main = pod.container("Never")
    assert await main.run() == 128
    assert main.state["terminated"]["reason"] == "StartError"
    assert pod.reasons == ["Failed"]


@pytest.mark.asyncio
async def test_prepare_host_name_is_that_of_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = FakePod(tmp_path)
    pod.config, pod.store = CONFIG, Memory()
    view = pod.view()
    monkeypatch.setattr(pod, "view", lambda: {**view, "spec": {"hostname": "one"}})
    command, _ = await container_start.prepare(pod, {"name": "main", "command": ["run"]}, Image([]))
    assert command.env["HOSTNAME"] == "one"


@pytest.mark.asyncio
async def test_variables_are_replaced_in_commands_of_probes_and_not_of_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_images(monkeypatch)
    pod, command = FakePod(tmp_path), {"exec": {"command": ["ask", "$(PORT)", "$(IP)", "$(NONE)"]}}
    ip = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    env = [{"name": "PORT", "value": "6379"}, ip]
    main = pod.container("Never", env=env, readinessProbe=command, lifecycle={"postStart": command})
    run = asyncio.create_task(main.run())
    await until(lambda: main.ready)
    assert pod.launcher.commands[:2] == [["ask", "$(PORT)", "$(IP)", "$(NONE)"], ["ask", "6379", "", "$(NONE)"]]
    pod.launcher.processes[0].end(0)
    await run
