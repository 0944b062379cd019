"""The process that carries the API leaves nothing behind; the admin interface of Envoy is asked by what the Pod has."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.errors import KubectlError
from waypoint_lab.live.connection import Admin, Api

PROGRAM = """
import asyncio, pathlib, sys
from components._internal import api
from waypoint_lab.live import connection

async def main():
    await connection.start(*api.proxy(["sh", "-c", "exec sleep 60"], pathlib.Path(sys.argv[1])))
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_proxy_of_a_process_that_ends_removes_its_folder(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "socket"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process:
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
    began = time.monotonic()
    while folder.exists():
        assert time.monotonic() - began < 10, "the folder is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("program", ["curl", "pilot-agent"])
def test_admin_answers_each_path_by_curl_or_pilot_agent(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, shell = tmp_path / "image", tmp_path / "kubectl"
    image.mkdir()
    (image / program).write_text('#!/bin/sh\ncase "$*" in *none) exit 22;; esac\necho "$0 $*"\n')
    shell.write_text(f'#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\nPATH={image} exec /bin/sh "$@"\n')
    for file in (image / program, shell):
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    async def ask() -> list[str]:
        admin = Admin(lab_config().target, "bookinfo-backends", "waypoint-1")
        try:
            with pytest.raises(KubectlError, match="the admin interface of Envoy does not answer"):
                await admin.ask("none")
            return [await admin.ask(path) for path in ("clusters?format=json", "stats?filter=^(a|b)$")]
        finally:
            await admin.close()

    first, second = asyncio.run(ask())
    assert first.startswith(f"{image / program} ")
    assert first.endswith("clusters?format=json\n")
    assert second.endswith("stats?filter=^(a|b)$\n")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (
            500,
            b"dial tcp 127.0.0.1:1: connect: connection refused\n",
            "dial tcp 127.0.0.1:1: connect: connection refused",
        ),
        (404, b"404 page not found\n", "404 page not found"),
        (403, b'{"kind": "Status", "message": "pods is forbidden"}', "pods is forbidden"),
        (503, b"", "it answered 503"),
    ],
)
def test_refusal_is_told_by_its_message_or_its_text(status: int, body: bytes, said: str) -> None:
    class Answer:
        """The answer to any request."""

        async def __aenter__(self) -> "Answer":
            self.status = status
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def read(self) -> bytes:
            return body

    server = Api(lab_config().target)
    server._session = SimpleNamespace(get=lambda *_, **__: Answer())  # type: ignore[assignment]

    async def ask() -> None:
        with pytest.raises(KubectlError, match=f"^API server: {said}$"):
            await server.get("/api/v1")
        with pytest.raises(KubectlError, match=f"^API server: {said}$"):
            await anext(server.lines("/api/v1"))

    asyncio.run(ask())


def test_request_that_gets_no_answer_in_time_says_so() -> None:
    class Silent:
        """A request whose time is over."""

        async def __aenter__(self) -> None:
            raise TimeoutError

        async def __aexit__(self, *_: object) -> None:
            pass

    server = Api(lab_config().target)
    server._session = SimpleNamespace(get=lambda *_, **__: Silent())  # type: ignore[assignment]

    async def ask() -> None:
        with pytest.raises(KubectlError, match=r"^API server: no answer within 10 s$"):
            await server.get("/api/v1")
        with pytest.raises(KubectlError, match=r"^API server: no answer within 10 s$"):
            await anext(server.lines("/api/v1"))

    asyncio.run(ask())
