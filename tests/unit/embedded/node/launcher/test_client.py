"""Requests to the launcher that are cancelled."""

import asyncio
import json
import os
import signal
import socket
from typing import Any

import pytest

from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import Command, Process


class OtherEnd:
    """A client, and the launcher's end of its socket."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.client = LauncherClient()
        self.client._socket = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self.client._read)

    async def order(self) -> dict[str, Any]:
        """Return the next order of the client."""

        def receive() -> dict[str, Any]:
            self.theirs.settimeout(5)
            _, handles, _, _ = socket.recv_fds(self.theirs, 16, 4)
            with open(handles[0], "rb") as file:
                found: dict[str, Any] = json.loads(file.read())
            for handle in handles[1:]:
                os.close(handle)
            return found

        return await asyncio.to_thread(receive)

    def answer(self, **message: Any) -> None:
        self.theirs.send(json.dumps(message).encode())

    async def close(self) -> None:
        await self.client.close()
        self.theirs.close()


@pytest.mark.parametrize("late", [True, False], ids=["before-the-answer", "after-the-answer"])
@pytest.mark.asyncio
async def test_client_cancelled_launch_ends_its_process(late: bool) -> None:
    end = OtherEnd()
    launch = asyncio.create_task(end.client.pause("pod"))
    order = await end.order()
    if late:
        launch.cancel()
        await asyncio.wait({launch})
        end.answer(id=order["id"], pid=77)
    else:
        end.answer(id=order["id"], pid=77)
        end.client._read()
        launch.cancel()
        await asyncio.wait({launch})
    kills = []
    for _ in range(2):
        kills.append(await end.order())
        end.answer(id=kills[-1]["id"])
    assert launch.cancelled()
    expected = [("kill", 77, signal.SIGKILL, True), ("kill", 77, signal.SIGKILL, False)]
    assert expected == [(kill["op"], kill["pid"], kill["signal"], kill["group"]) for kill in kills]
    end.answer(exit=77, code=137)
    async with asyncio.timeout(5):
        while end.client._children or end.client._discarding:
            await asyncio.sleep(0.01)
    await end.close()


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "too-slow"])
@pytest.mark.asyncio
async def test_client_capture_command_that_does_not_end_is_killed(
    cancelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, killed = LauncherClient(), []

    async def execute(*_: Any, **__: Any) -> Process:
        return Process(9)

    async def kill(process: Process, number: int = signal.SIGKILL, *, group: bool = False) -> None:
        killed.append((process.pid, number, group))

    monkeypatch.setattr(client, "execute", execute)
    monkeypatch.setattr(client, "kill", kill)
    command = Command(["sleep", "60"], {})
    capture = asyncio.create_task(client.capture(Process(1), Process(2), command, 60 if cancelled else 0.05))
    await asyncio.sleep(0.01)
    if cancelled:
        capture.cancel()
    await asyncio.wait({capture})
    assert killed == [(9, signal.SIGKILL, True)]
    assert cancelled == capture.cancelled()
    if not cancelled:
        assert capture.result() == (None, "")
