"""The relay of the user's ports."""

import asyncio
import socket

import pytest

from embedded.supervisor.relay import Relay


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what the client sends, and close when it does."""
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.mark.asyncio
@pytest.mark.timeout(20)
async def test_relay_ends_while_a_connection_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_for_connections(_: object) -> None:  # as Python 3.12 and newer do
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.Server, "wait_closed", wait_for_connections)
    inside = await asyncio.start_server(answer, "127.0.0.1", 0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        address = listening.getsockname()
        task = asyncio.create_task(Relay(listening, inside.sockets[0].getsockname()).run())
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2)
        writer.write(b"after")
        writer.write_eof()
        assert await reader.read() == b"after"
        writer.close()
        inside.close()
        assert done == {task}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
