"""Relay from the user's ports on 127.0.0.1 into the cluster's network namespace."""

import asyncio
import socket
from contextlib import suppress

CONNECT_SECONDS = 5.0


class Relay:
    """Relay from a listening socket, opened outside the namespace, to an address inside."""

    def __init__(self, listening: socket.socket, address: tuple[str, int] | None) -> None:
        """Set the address; connections are closed at once while it is None."""
        self._listening, self.address = listening, address

    async def run(self) -> None:
        """Accept connections until the task is cancelled."""
        server = await asyncio.start_server(self._relay, sock=self._listening)
        try:
            await asyncio.Event().wait()  # the server accepts already; serve_forever() waits for open connections
        finally:
            server.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        with suppress(OSError, asyncio.CancelledError):
            if self.address:
                connecting = asyncio.open_connection(*self.address)
                inner_reader, inner_writer = await asyncio.wait_for(connecting, CONNECT_SECONDS)
                writers.append(inner_writer)
                await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        for one in writers:
            one.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
