"""Logs and probes of a container."""

import asyncio
import contextlib
import errno
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from embedded.node.kubelet import logs, probes, termination

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


def test_read_logs_carriage_return_ends_no_line(tmp_path: Path) -> None:
    writer = logs.LogWriter(tmp_path / "0.log")
    writer.take("stdout", b"10%\r20%\r\ndone\x0b\n")
    writer.close()
    lines = list(logs.read(tmp_path / "0.log"))
    assert [logs.parse(line)[2] for line in lines] == [b"10%\r20%\r\n", b"done\x0b\n"]


@pytest.mark.parametrize("tail", [None, 2])
def test_read_logs_long_line_is_one_line_in_pieces(tmp_path: Path, tail: int | None) -> None:
    writer = logs.LogWriter(tmp_path / "0.log")
    writer.take("stdout", b"before\n" * (tail is not None))
    for _ in range(5):
        writer.take("stdout", b"x" * 40_000)
    writer.take("stdout", b"\nlast\n")
    writer.close()
    texts = [logs.parse(line)[2] for line in logs.read(tmp_path / "0.log", tail=tail)]
    assert b"".join(texts) == b"x" * 200_000 + b"\nlast\n"
    assert all(len(text) < 100_000 for text in texts)


@pytest.mark.parametrize("fault", [1, 2], ids=["nothing-written", "half-written"])
def test_log_writer_full_disk_loses_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    writer = logs.LogWriter(tmp_path / "0.log")
    file = writer._file

    class Full:
        """A file on a full disk."""

        truncate, close = file.truncate, file.close

        def write(self, data: bytes) -> int:
            if fault == 2:
                return file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    writer.take("stdout", b"one\n")
    monkeypatch.setattr(writer, "_file", Full())
    with pytest.raises(OSError, match="No space left on device"):
        writer.take("stdout", b"two\n")
    monkeypatch.setattr(writer, "_file", file)
    writer.take("stdout", b"three\nfour")
    monkeypatch.setattr(writer, "_file", Full())
    writer.close()
    assert [logs.parse(line)[2] for line in logs.read(tmp_path / "0.log")] == [b"one\n", b"three\n"]


# Termination messages.

FALLBACK = {"name": "main", "terminationMessagePolicy": "FallbackToLogsOnError"}


def test_termination_message_of_a_log_with_carriage_returns_is_its_end(tmp_path: Path) -> None:
    termination.clear(tmp_path, FALLBACK)
    writer = logs.LogWriter(tmp_path / "0.log")
    writer.take("stdout", b"10%\r20%\nfailed\n")
    writer.close()
    assert termination.message(tmp_path, FALLBACK, 1, tmp_path / "0.log") == "10%\r20%\nfailed\n"


@pytest.mark.parametrize("broken", ["file", "log"])
def test_termination_message_that_cannot_be_read_is_empty(tmp_path: Path, broken: str) -> None:
    if broken == "log":
        termination.clear(tmp_path, FALLBACK)
        (tmp_path / "0.log").write_bytes(b"nonsense\n")
    assert termination.message(tmp_path, FALLBACK, 1, tmp_path / "0.log") == ""


# Probes.


async def _never(argv: list[str], seconds: float) -> tuple[int | None, str]:
    raise AssertionError("no exec probe here")


@contextlib.asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[int]:
    """Serve every path by `answer`; yield the port."""
    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.asyncio
async def test_attempt_http_probe_passes_by_status_and_time() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await asyncio.sleep(5)
        return web.Response(status=int(request.path[1:]))

    async with serving(answer) as port:
        container = {"ports": [{"name": "http", "containerPort": port}]}

        async def ask(path: str) -> probes.ProbeResult:
            probe = {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": 0.3 if path == "/slow" else 10}
            return await probes.attempt(probe, container, "127.0.0.1", _never)

        assert (await ask("/200")).passed
        assert (await ask("/302")).passed
        assert (await ask("/503")) == probes.ProbeResult(False, "HTTP probe failed with statuscode: 503")
        assert (await ask("/slow")) == probes.ProbeResult(False, "no answer within 0.3s")
        assert (await probes.attempt({"tcpSocket": {"port": port}}, container, "127.0.0.1", _never)).passed
    assert not (await ask("/200")).passed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/login", probes.ProbeResult(False, "HTTP probe failed with statuscode: 500")),
        ("/relative", probes.ProbeResult(True)),
        ("/9", probes.ProbeResult(True)),
        ("/10", probes.ProbeResult(False, "stopped after 10 redirects")),
        ("/elsewhere", probes.ProbeResult(True)),
        ("/nowhere", probes.ProbeResult(True)),
    ],
)
@pytest.mark.asyncio
async def test_attempt_http_probe_follows_redirects_to_the_same_host(path: str, expected: probes.ProbeResult) -> None:
    async def answer(request: web.Request) -> web.Response:
        name, here = request.path[1:], f"http://{request.host}"
        if name.isdigit():
            return web.Response(status=307, headers={"Location": f"/{int(name) - 1}"} if name != "0" else {})
        found = {"login": f"{here}/fault", "relative": "0", "elsewhere": "http://no.invalid/"}
        if name in found:
            return web.Response(status=302, headers={"Location": found[name]})
        return web.Response(status=304 if name == "nowhere" else 500)

    async with serving(answer) as port:
        probe = {"httpGet": {"path": path, "port": port}, "timeoutSeconds": 10}
        assert expected == await probes.attempt(probe, {}, "127.0.0.1", _never)


@pytest.mark.asyncio
async def test_run_hook_http_passes_by_any_status_and_fails_without_an_answer() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.path[1:]))

    async def run(path: str) -> probes.ProbeResult:
        hook = {"httpGet": {"path": path, "port": port}}
        return await probes.run_hook(hook, math.inf, lambda probe: probes.attempt(probe, {}, "127.0.0.1", _never))

    async with serving(answer) as port:
        assert [probes.ProbeResult(True)] * 3 == [await run(path) for path in ("/200", "/404", "/500")]
    assert not (await run("/200")).passed


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
async def test_attempt_exec_probe_that_times_out_ends_its_command() -> None:
    ended = []

    async def execute(argv: list[str], seconds: float) -> tuple[int | None, str]:
        await asyncio.sleep(seconds)
        await asyncio.sleep(0.05)  # the kill
        ended.append(argv)
        return None, ""

    probe = {"exec": {"command": ["sleep", "60"]}, "timeoutSeconds": 0.05}
    result = await probes.attempt(probe, {}, "127.0.0.1", execute)
    assert probes.ProbeResult(False, "command timed out after 0.05s") == result
    assert ended == [["sleep", "60"]]


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.asyncio
async def test_prober_initial_delay_comes_before_the_first_attempt(eager: bool) -> None:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    async def question() -> probes.ProbeResult:
        asked.set()
        return probes.ProbeResult(True)

    begin, probe = loop.time(), {"initialDelaySeconds": 0.2, "periodSeconds": 60}
    task = asyncio.create_task(probes.Prober(probe, question, eager=eager).run(lambda *_: None))
    async with asyncio.timeout(5):
        await asked.wait()
    task.cancel()
    assert loop.time() - begin > 0.19


@pytest.mark.asyncio
async def test_probe_set_initial_delay_counts_from_the_start_of_the_container() -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()

    async def question(probe: dict[str, Any]) -> probes.ProbeResult:
        return probes.ProbeResult("initialDelaySeconds" in probe or loop.time() - begin > 0.5)

    begin = loop.time()
    spec = {
        "startupProbe": {"tcpSocket": {}, "periodSeconds": 0.05},
        "readinessProbe": {"tcpSocket": {}, "initialDelaySeconds": 0.5, "periodSeconds": 60},
    }
    checks = probes.ProbeSet(
        spec,
        question,
        started=lambda: started.append(loop.time()),
        readiness=lambda *_: ready.set(),
        failed=lambda *_: None,
    )
    started: list[float] = []
    task = asyncio.create_task(checks.run())
    async with asyncio.timeout(5):
        await ready.wait()
    task.cancel()
    assert loop.time() - started[0] < 0.49


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
