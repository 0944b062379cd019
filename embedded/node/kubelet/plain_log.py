"""The log of a process of the node, which is plain text, for `kubectl logs`."""

import asyncio
import contextlib
from pathlib import Path

from aiohttp import web

from embedded.node.kubelet.logs import split_lines

FOLLOW_SECONDS = 0.2


async def plain_log(request: web.Request, path: Path) -> web.StreamResponse:
    """Answer with the file `path`; `tailLines`, `limitBytes` and `follow` have an effect."""
    query = request.query
    data = path.read_bytes() if path.exists() else b""
    position = len(data)
    if "tailLines" in query:
        lines = split_lines(data)
        data = b"".join(lines[len(lines) - min(int(query["tailLines"]), len(lines)) :])
    left = int(query.get("limitBytes", 1 << 62))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        await response.write(data[:left])
        left -= len(data)
        # Without a transport the client is gone.
        while query.get("follow") == "true" and left > 0 and request.transport is not None:
            await asyncio.sleep(FOLLOW_SECONDS)
            size = path.stat().st_size if path.exists() else 0
            position = min(position, size)  # the supervisor renames a large log
            if size > position:
                with path.open("rb") as file:
                    file.seek(position)
                    data = file.read(left)
                position += len(data)
                left -= len(data)
                await response.write(data)
        await response.write_eof()
    return response
