"""The end of a container: probes, hooks, grace period, final state and log of the last run."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from embedded.node.kubelet import container as container_module
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.container_end import GracePeriod
from embedded.node.launcher.process import Command, Process
from tests.unit.embedded.node.kubelet.fake_pod import FakePod, skip_images, until

TERM, KILL = 15, 9
HOOK = {"preStop": {"exec": {"command": ["hook"]}}}
FAILING = {"exec": {"command": ["false"]}, "periodSeconds": 0.02, "failureThreshold": 1}


@pytest.fixture(autouse=True)
def _images(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_images(monkeypatch)


async def in_back_off(pod: FakePod, container: Container) -> asyncio.Task[int]:
    """Run a container that fails twice, and return its run when it waits in CrashLoopBackOff."""
    run = asyncio.create_task(container.run())
    for count in (1, 2):
        await until(lambda count=count: len(pod.launcher.processes) == count and "running" in container.state)
        pod.launcher.processes[-1].end(3)
    await until(lambda: container.state.get("waiting", {}).get("reason") == "CrashLoopBackOff")
    return run


@pytest.mark.asyncio
async def test_container_stopped_has_its_final_state(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    container = pod.container()
    run = asyncio.create_task(container.run())
    await until(lambda: "running" in container.state)
    assert container.logging
    await container.stop(GracePeriod(5))
    assert (container.state["terminated"]["exitCode"], container.exit_code) == (143, 143)
    await run
    assert not container.logging


@pytest.mark.asyncio
async def test_container_stopped_during_its_start_is_ended(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    container = pod.container()
    run = asyncio.create_task(container.run())
    await asyncio.sleep(0)
    await container.stop(GracePeriod(5))
    async with asyncio.timeout(5):
        assert container.exit_code == await run
    assert all(process.ended.is_set() for process in pod.launcher.processes)


@pytest.mark.asyncio
async def test_container_stopped_while_it_is_prepared_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def prepare(*_: Any) -> tuple[Command, list[list[str]]]:
        asked.set()
        await go.wait()
        return Command(["sleep"], {}), []

    monkeypatch.setattr(container_module, "prepare", prepare)
    pod = FakePod(tmp_path)
    container = pod.container()
    run = asyncio.create_task(container.run())
    await asked.wait()
    await container.stop(GracePeriod(5))
    go.set()
    async with asyncio.timeout(5):
        assert await run == 137
    assert pod.launcher.processes == []


@pytest.mark.asyncio
async def test_container_stopped_in_back_off_shows_its_last_end(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    container = pod.container()
    run = await in_back_off(pod, container)
    await container.stop(GracePeriod(5))
    assert (container.state["terminated"]["exitCode"], container.exit_code) == (3, 3)
    await run


@pytest.mark.asyncio
async def test_container_in_back_off_has_the_log_of_its_last_state(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    container = pod.container()
    run = await in_back_off(pod, container)
    assert container.log_path(previous=True).name == "1.log"
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


@pytest.mark.asyncio
async def test_container_stopping_runs_no_liveness_probe(tmp_path: Path) -> None:
    pod = FakePod(tmp_path, stubborn=True)
    container = pod.container(livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 0.01})
    run = asyncio.create_task(container.run())
    await until(lambda: len(pod.launcher.commands) > 2)
    stop = asyncio.create_task(container.stop(GracePeriod(0.3)))
    await asyncio.sleep(0.05)
    before = len(pod.launcher.commands)
    await stop
    assert before == len(pod.launcher.commands)
    await run


@pytest.mark.asyncio
async def test_container_stopping_runs_no_startup_probe(tmp_path: Path) -> None:
    pod = FakePod(tmp_path, stubborn=True)
    container = pod.container(startupProbe={**FAILING, "failureThreshold": 1000})
    run = asyncio.create_task(container.run())
    await until(lambda: pod.launcher.commands)
    stop = asyncio.create_task(container.stop(GracePeriod(0.5)))
    await asyncio.sleep(0.02)
    before = len(pod.launcher.commands)
    await stop
    assert before == len(pod.launcher.commands)
    await run


@pytest.mark.parametrize("probe", ["livenessProbe", "startupProbe"])
@pytest.mark.asyncio
async def test_container_with_a_failed_probe_runs_its_pre_stop_hook(tmp_path: Path, probe: str) -> None:
    pod = FakePod(tmp_path)
    container = pod.container("Never", lifecycle=HOOK, **{probe: FAILING})
    async with asyncio.timeout(5):
        assert await container.run() == 143
    assert [command for command in pod.launcher.commands if command != ["false"]] == [["hook"]]
    assert "FailedPreStopHook" not in pod.reasons


@pytest.mark.asyncio
async def test_container_has_no_limit_for_its_post_start_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod, limits = FakePod(tmp_path), []

    async def capture(pause: Any, inside: Any, command: Command, seconds: float) -> tuple[int | None, str]:
        limits.append(seconds)
        async with asyncio.timeout(seconds):
            return 0, ""

    monkeypatch.setattr(pod.launcher, "capture", capture)
    container = pod.container("Never", lifecycle={"postStart": HOOK["preStop"]})
    run = asyncio.create_task(container.run())
    await until(lambda: container.started)
    pod.launcher.processes[0].end(0)
    assert (await run, limits) == (0, [math.inf])


@pytest.mark.asyncio
async def test_container_with_a_shortened_grace_period_is_killed_then(tmp_path: Path) -> None:
    pod = FakePod(tmp_path, stubborn=True)
    container = pod.container()
    run = asyncio.create_task(container.run())
    await until(lambda: "running" in container.state)
    period = GracePeriod(60)
    stop = asyncio.create_task(container.stop(period))
    await until(lambda: pod.launcher.signals)
    period.shorten(90)
    assert 59 < period.left() <= 60
    period.shorten(0.01)
    async with asyncio.timeout(5):
        await stop
    assert pod.launcher.signals == [TERM, KILL]
    await run


@pytest.mark.asyncio
async def test_container_that_a_probe_ends_is_killed_when_the_pod_has_less_time(tmp_path: Path) -> None:
    pod = FakePod(tmp_path, stubborn=True)
    container = pod.container(livenessProbe={**FAILING, "terminationGracePeriodSeconds": 60})
    run = asyncio.create_task(container.run())
    await until(lambda: pod.launcher.signals)
    assert 55 < container._end._period.left() <= 60
    period = GracePeriod(30)
    stop = asyncio.create_task(container.stop(period))
    await asyncio.sleep(0.01)
    period.shorten(0.01)
    async with asyncio.timeout(5):
        await stop
    assert pod.launcher.signals == [TERM, KILL]
    await run


@pytest.mark.asyncio
async def test_container_whose_last_run_still_has_a_hook_is_stopped(tmp_path: Path) -> None:
    pod = FakePod(tmp_path)
    hook = {"preStop": {"sleep": {"seconds": 60}}}
    container = pod.container(lifecycle=hook, livenessProbe={**FAILING, "terminationGracePeriodSeconds": 60})
    run = asyncio.create_task(container.run())
    await until(lambda: "Killing" in pod.reasons)
    pod.launcher.processes[0].end(1)
    await until(lambda: len(pod.launcher.processes) == 2 and "running" in container.state)
    async with asyncio.timeout(5):
        await container.stop(GracePeriod(0.05))
        await run
    assert pod.launcher.signals == [TERM]


@pytest.mark.asyncio
async def test_container_whose_pre_stop_hook_takes_too_long_has_time_after_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = FakePod(tmp_path, stubborn=True)
    kill = pod.launcher.kill

    async def slowly(process: Process, number: int = KILL, *, group: bool = False) -> None:
        await kill(process, number)
        asyncio.get_running_loop().call_later(0.05, process.end, 0)

    monkeypatch.setattr(pod.launcher, "kill", slowly)
    container = pod.container(lifecycle={"preStop": {"sleep": {"seconds": 60}}})
    run = asyncio.create_task(container.run())
    await until(lambda: "running" in container.state)
    await container.stop(GracePeriod(0.01))
    assert (pod.launcher.signals, container.exit_code) == ([TERM], 0)
    await run
