"""Hands the user's connections on 127.0.0.1 to an address inside the cluster's network namespace."""

import asyncio
import socket
from contextlib import suppress


class Relay:
    """Hands connections from a listening socket that was opened outside to an address inside."""

    def __init__(self, listening: socket.socket, where: tuple[str, int] | None) -> None:
        """`where` may be an address that is known later; connections made before are closed."""
        self._listening, self.where = listening, where

    async def serve(self) -> None:
        """Accepts for as long as the supervisor runs."""
        server = await asyncio.start_server(self._take, sock=self._listening)
        await server.serve_forever()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            if not isinstance(self.where, tuple):
                writer.close()
                return
            inner_reader, inner_writer = await asyncio.wait_for(asyncio.open_connection(*self.where), 5)
            await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
