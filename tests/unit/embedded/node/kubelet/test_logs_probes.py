"""Logs and probes of a container."""

import asyncio
from pathlib import Path

import grpc
import pytest
from aiohttp import web
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from embedded.node.kubelet import logs, probes

# Logs.


def test_read_logs_streams_are_separate_and_limits_apply(tmp_path: Path) -> None:
    writer = logs.LogWriter(tmp_path / "0.log")
    writer.take("stdout", b"one\ntw")
    writer.take("stderr", b"bad\n")
    writer.take("stdout", b"o\nlast")
    writer.close()
    parsed = [logs.parse(line) for line in logs.read(tmp_path / "0.log")]
    expected = [("stdout", b"one\n"), ("stderr", b"bad\n"), ("stdout", b"two\n"), ("stdout", b"last\n")]
    assert expected == [(stream, text) for _, stream, text in parsed]
    assert [logs.parse(line)[2] for line in logs.read(tmp_path / "0.log", tail=2)] == [b"two\n", b"last\n"]
    assert list(logs.read(tmp_path / "0.log", since="9999")) == []


def test_read_logs_rotated_log_gives_both_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_BYTES", 200)
    writer = logs.LogWriter(tmp_path / "0.log")
    for number in range(6):
        writer.take("stdout", b"%d\n" % number)
    writer.close()
    lines = [logs.parse(line)[2] for line in logs.read(tmp_path / "0.log")]
    assert [b"%d\n" % number for number in range(6)][-len(lines) :] == lines
    assert len(lines) >= 4


# Probes.


async def _never(argv: list[str], seconds: float) -> tuple[int | None, str]:
    raise AssertionError("no exec probe here")


@pytest.mark.asyncio
async def test_attempt_http_probe_passes_by_status_and_time() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await asyncio.sleep(5)
        return web.Response(status=int(request.path[1:]))

    application = web.Application()
    application.router.add_get("/{path}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    container = {"ports": [{"name": "http", "containerPort": port}]}

    async def ask(path: str) -> probes.ProbeResult:
        probe = {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 0.3 if path == "/slow" else 10}
        return await probes.attempt(probe, container, "127.0.0.1", _never)

    try:
        assert (await ask("/200")).passed
        assert (await ask("/302")).passed
        assert (await ask("/503")) == probes.ProbeResult(False, "HTTP probe failed with statuscode: 503")
        assert (await ask("/slow")) == probes.ProbeResult(False, "no answer within 0.3s")
        assert (await probes.attempt({"tcpSocket": {"port": port}}, container, "127.0.0.1", _never)).passed
    finally:
        await runner.cleanup()
    assert not (await ask("/200")).passed


@pytest.mark.asyncio
async def test_attempt_grpc_probe_passes_by_health_status() -> None:
    async def check(request: StringValue, context: grpc.aio.ServicerContext) -> Int32Value:
        if request.value == "unknown":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return Int32Value(value=1 if request.value == "well" else 2)

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(check, StringValue.FromString, Int32Value.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()

    async def ask(service: str) -> probes.ProbeResult:
        probe = {"grpc": {"port": port, "service": service}, "timeoutSeconds": 5}
        return await probes.attempt(probe, {}, "127.0.0.1", _never)

    try:
        assert (await ask("well")).passed
        assert await ask("") == probes.ProbeResult(False, "gRPC probe failed with health status 2")
        assert await ask("unknown") == probes.ProbeResult(False, "gRPC probe failed with NOT_FOUND: no such service")
    finally:
        await server.stop(None)
    assert (await ask("well")).message.startswith("gRPC probe failed with UNAVAILABLE")


@pytest.mark.asyncio
async def test_prober_results_in_a_row_reach_the_threshold() -> None:
    answers = [True, False, True, False, False, False, True]
    verdicts: list[bool] = []
    done = asyncio.Event()

    async def question() -> probes.ProbeResult:
        if not answers:
            done.set()
            await asyncio.sleep(60)
        return probes.ProbeResult(answers.pop(0))

    probe = {"periodSeconds": 0.001, "failureThreshold": 2, "successThreshold": 1}
    task = asyncio.create_task(probes.Prober(probe, question).run(lambda passed, _: verdicts.append(passed)))
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert verdicts == [True, True, False, False, True]
