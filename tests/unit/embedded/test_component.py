"""Supervised processes: readiness checks, restarts, and failures that must not end the cluster."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from embedded.control_plane.process_specs import ProcessSpec
from embedded.supervisor import component, supervisor
from embedded.supervisor.component import Component, SupervisedProcess, find_problem
from embedded.supervisor.ports import Ports

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(20)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def server(answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> tuple[web.ServerRunner, str]:
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{port}/ready"


@pytest.mark.parametrize(("status", "expected"), [(200, None), (503, "answers 503")])
async def test_check_of_a_url_ignores_a_proxy(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status)

    runner, url = await server(answer)
    problem = await find_problem(url)
    assert problem is None if expected is None else expected in str(problem)
    await runner.cleanup()


async def test_check_of_a_lost_answer_is_a_problem() -> None:
    async def lose(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 2")
        writer.close()

    listening = await asyncio.start_server(lose, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    assert str(await find_problem(f"http://127.0.0.1:{port}/")).startswith("not ready: ")
    assert await find_problem(f"127.0.0.1:{port}") is None
    listening.close()
    await listening.wait_closed()
    assert str(await find_problem(f"127.0.0.1:{port}")).startswith("not ready: ")


async def end(task: asyncio.Task[None], process: SupervisedProcess) -> None:
    task.cancel()
    await asyncio.wait([task])
    await process.stop(10)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


async def test_process_starts_after_what_it_needs_and_again_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(component, "BACKOFF_SECONDS", (0.01,))
    store = Component("store")
    process = SupervisedProcess(ProcessSpec("api", ["false"], "127.0.0.1:1", ("store",)), tmp_path, {"store": store})
    task = asyncio.create_task(process.run())
    await asyncio.sleep(0.05)
    assert (process.starts, process.detail) == (0, "waiting for store")
    store.set_ready(None)
    await until(lambda: process.starts >= 3)
    await end(task, process)


async def test_process_that_cannot_be_started_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component, "BACKOFF_SECONDS", (0.01,))
    logs = tmp_path / "logs"  # as on a full disk, no log can be made in it
    process = SupervisedProcess(ProcessSpec("api", ["sleep", "60"], "127.0.0.1:1"), logs, {})
    task = asyncio.create_task(process.run())
    await until(lambda: "cannot be started" in process.detail)
    logs.mkdir()
    await until(lambda: process.starts == 1)
    await end(task, process)


async def test_failed_work_is_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "RETRY_SECONDS", 0.01)
    calls = []

    async def work() -> None:
        calls.append(1)
        raise [OSError(28, "No space left on device"), ValueError("half an answer")][len(calls) % 2]

    task = asyncio.create_task(supervisor.repeat("status", work))
    await until(lambda: len(calls) > 3)
    assert not task.done()
    assert "status failed and is tried again: OSError(28" in caplog.text
    task.cancel()


async def test_renewed_certificates_start_the_processes_that_use_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RENEWAL_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "authorities_valid", lambda _: True)
    answers = [True, False]
    monkeypatch.setattr(supervisor, "renew_certificates", lambda _: answers.pop())
    stopped: list[str] = []

    async def stop(process: SupervisedProcess, _: float) -> None:
        stopped.append(process.name)

    monkeypatch.setattr(SupervisedProcess, "stop", stop)
    with socket.socket() as api, socket.socket() as http, socket.socket() as channel:
        cluster = supervisor.Supervisor(tmp_path, tmp_path / "bin", api, http, Ports(channel))
        with pytest.raises(IndexError):  # the answers have an end
            await cluster._renew_certificates()
    assert list(supervisor.USES_CERTIFICATES) == stopped
