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
from tests.unit.embedded.node.kubelet.fake_pod import FakePod

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
async def handler(tmp_path: Path) -> AsyncIterator[Handler]:
    """Return the log handler of a kubelet with one quiet container that has written a progress bar."""
    container = FakePod(tmp_path).container()
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
async def test_plain_log_follow_of_a_quiet_process_ends_with_its_client(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\rb\nc\n")
    got = await _served(
        lambda request: plain_log.plain_log(request, tmp_path / "log"), "?follow=true&tailLines=2", _first_bytes
    )
    assert got == b"a\rb\nc\n"
