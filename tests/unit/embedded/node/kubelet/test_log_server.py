"""Logs over HTTP: clients that are gone, and progress bars."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from embedded.node.kubelet import logs, plain_log, server
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.kubelet import Kubelet
from tests.unit.embedded.node.kubelet.fake_pod import FakePod, until

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _served(handler: Handler, query: str, read: Callable[[aiohttp.ClientResponse], Awaitable[Any]]) -> Any:
    """Serve with `handler`, ask once, and return the result of `read`; wait until the handler has ended."""
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        finally:
            ended.set()

    application = web.Application()
    application.router.add_get("/{namespace}/{pod}/{container}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/n/p/main{query}"
            async with session.get(url) as response:
                result = await read(response)
        async with asyncio.timeout(5):
            await ended.wait()
        return result
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def container(tmp_path: Path) -> Container:
    return FakePod(tmp_path).container()


@pytest_asyncio.fixture
async def handler(container: Container) -> AsyncIterator[Handler]:
    """Return the log handler of a kubelet with one quiet container that has written a progress bar."""
    container.state = {"running": {}}
    container._launched.clear()  # more output may come
    writer = logs.LogWriter(container.log_path())
    writer.take("stdout", b"10%\r20%\n")
    kubelet: Any = SimpleNamespace(node_pods=SimpleNamespace(find=lambda *_: None), find=lambda *_: (None, container))
    yield server.KubeletServer(kubelet)._logs
    writer.close()


async def _first_bytes(response: aiohttp.ClientResponse) -> bytes:
    return await response.content.readany()


@pytest.mark.asyncio
async def test_logs_with_carriage_returns_are_whole(handler: Handler) -> None:
    assert await _served(handler, "", lambda response: response.read()) == b"10%\r20%\n"


@pytest.mark.asyncio
async def test_logs_follow_of_a_quiet_container_ends_with_its_client(handler: Handler) -> None:
    assert await _served(handler, "?follow=true", _first_bytes) == b"10%\r20%\n"


@pytest.mark.asyncio
async def test_logs_long_line_has_one_time(handler: Handler, container: Container) -> None:
    writer = logs.LogWriter(container.log_path())
    for data in (b"x" * 70_000, b"x" * 70_000, b"y\nz\n"):
        writer.take("stdout", data)
    writer.close()
    text = await _served(handler, "?timestamps=true&tailLines=2", lambda response: response.read())
    first, second = text.splitlines()
    assert first.partition(b" ")[2] == b"x" * 140_000 + b"y"
    assert second.partition(b" ")[2] == b"z"


@pytest.mark.asyncio
async def test_logs_since_a_whole_second_have_the_lines_of_that_second(handler: Handler, container: Container) -> None:
    lines = (("27.999999", "a"), ("28.000000", "b"), ("28.900000", "c"), ("29.000100", "d"))
    text = "".join(f"2026-11-27T09:53:{when}Z stdout F {word}\n" for when, word in lines)
    container.log_path().write_text(text)
    for moment in ("09:53:28Z", "09:53:28.000Z", "10:53:28%2B01:00"):
        got = await _served(handler, f"?sinceTime=2026-11-27T{moment}", lambda response: response.read())
        assert got == b"b\nc\nd\n"


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
@pytest.mark.asyncio
async def test_logs_of_a_pod_that_completed_before_the_agent_started(tmp_path: Path, policy: str) -> None:
    config: Any = SimpleNamespace(state_dir=str(tmp_path), node_ip="127.0.0.1", node_name="n", pod_cidr="10.244.0.0/16")
    kubelet = Kubelet(config, None)  # type: ignore[arg-type]
    meta, spec = (
        {"name": "p", "namespace": "n", "uid": "u"},
        {"containers": [{"name": "main"}], "restartPolicy": policy},
    )
    ran = {
        "name": "main",
        "restartCount": 1,
        "containerID": "process://u/main/1",
        "state": {"terminated": {"exitCode": 0}},
    }
    item = {"metadata": meta, "spec": spec, "status": {"phase": "Succeeded", "containerStatuses": [ran]}}
    for run in (0, 1):
        writer = logs.LogWriter(tmp_path / "pods" / "u" / "logs" / "main" / f"{run}.log")
        writer.take("stdout", b"run %d\n" % run)
        writer.close()
    kubelet._informer.items["n/p"] = item
    kubelet._pod_changed("ADDED", item)
    assert kubelet._pods == {}
    for query, expected in (("?follow=true", b"run 1\n"), ("?previous=true", b"run 0\n")):
        assert await _served(server.KubeletServer(kubelet)._logs, query, lambda response: response.read()) == expected
    kubelet._pod_changed("DELETED", item)
    await until(lambda: not (tmp_path / "pods" / "u").exists())


@pytest.mark.asyncio
async def test_plain_log_follow_of_a_quiet_process_ends_with_its_client(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\rb\nc\n")
    got = await _served(
        lambda request: plain_log.plain_log(request, tmp_path / "log"), "?follow=true&tailLines=2", _first_bytes
    )
    assert got == b"a\rb\nc\n"
