"""The kubelet's server: the program kubelet-streaming, which the API server connects to, and logs behind it."""

import asyncio
import contextlib
import datetime
import logging
from pathlib import Path

from aiohttp import web

from embedded.node.kubelet.kubelet import Kubelet
from embedded.node.kubelet.logs import older, parse, read, split_lines, stamp
from embedded.node.kubelet.plain_log import plain_log
from embedded.node.kubelet.runtime_server import RuntimeServer
from embedded.processes import die_with_parent

STREAMS, REST = Path("/run/waypoint-lab/kubelet-streams.sock"), Path("/run/waypoint-lab/kubelet.sock")
RESTART_SECONDS = 0.2
FOLLOW_SECONDS = 0.2  # between two reads of a followed log
log = logging.getLogger(__name__)


class KubeletServer:
    """HTTPS server for the Pods of one kubelet."""

    def __init__(self, kubelet: Kubelet) -> None:
        """Find containers through `kubelet`."""
        self._kubelet = kubelet

    async def run(self) -> None:
        """Serve until cancelled."""
        STREAMS.parent.mkdir(parents=True, exist_ok=True)
        application = web.Application()
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            REST.unlink(missing_ok=True)
            await web.UnixSite(runner, str(REST)).start()
            async with asyncio.TaskGroup() as group:
                group.create_task(RuntimeServer(self._kubelet).run(STREAMS))
                group.create_task(self._run_streaming())
        finally:
            await runner.cleanup()

    async def _run_streaming(self) -> None:
        """Run the program that serves the kubelet's port; start it again whenever it ends."""
        config = self._kubelet.config
        argv = [str(Path(config.toolchain_bin) / "kubelet-streaming")]
        argv += ["--listen", f"{config.node_ip}:{config.kubelet_port}", "--ca", config.ca_file]
        argv += ["--cert", config.kubelet_cert, "--key", config.kubelet_key]
        argv += ["--streams", str(STREAMS), "--rest", str(REST)]
        while True:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, preexec_fn=die_with_parent
            )
            try:
                log.warning("kubelet-streaming ended with status %s; starting it again", await process.wait())
            finally:
                if process.returncode is None:
                    process.kill()
            await asyncio.sleep(RESTART_SECONDS)

    # Logs.

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        if process := self._kubelet.node_pods.find(names["namespace"], names["pod"]):
            return await plain_log(request, self._kubelet.node_pods.log(process))
        found = self._kubelet.find(names["namespace"], names["pod"], names["container"])
        if found is None:
            raise web.HTTPNotFound(text=f"container {names['container']} of Pod {names['pod']} is not on this node\n")
        _, container = found
        query = request.query
        previous = query.get("previous") == "true"
        path = container.log_path(previous=previous)
        if previous and not path.exists():
            text = f'previous terminated container "{container.name}" not found\n'
            raise web.HTTPBadRequest(text=text)
        if not path.exists() and "waiting" in container.state and not container.restarts:
            why = container.state["waiting"]["reason"]
            raise web.HTTPBadRequest(text=f'container "{container.name}" is waiting to start: {why}\n')
        if not path.exists():  # between two runs
            path = container.log_path(previous=True)
        since = ""
        if when := query.get("sinceTime"):
            since = stamp(datetime.datetime.fromisoformat(when))
        if seconds := query.get("sinceSeconds"):
            since = stamp(datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=float(seconds)))
        tail = int(query["tailLines"]) if "tailLines" in query else None
        left = int(query["limitBytes"]) if "limitBytes" in query else 1 << 62
        timestamps = query.get("timestamps") == "true"
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)

        fresh_line = True  # False after a piece of a line, which the next piece continues

        async def send(lines: list[bytes]) -> None:
            nonlocal left, fresh_line
            out = bytearray()
            for line in lines:
                when, _, text = parse(line)
                out += when.encode() + b" " + text if timestamps and fresh_line else text
                fresh_line = text.endswith(b"\n")
            block = bytes(out[:left])
            left -= len(block)
            if block:
                await response.write(block)

        with contextlib.suppress(ConnectionError):
            position = path.stat().st_size if path.exists() else 0
            await send(list(read(path, tail=tail, since=since, end=position)))
            if query.get("follow") == "true" and not previous:
                run = container.restarts
                while left > 0 and request.transport is not None:  # None once the client is gone
                    ended = container.restarts != run or not container.logging
                    if path.exists() and path.stat().st_size < position:  # rotated: the rest of the old part
                        with older(path).open("rb") as file:
                            file.seek(position)
                            await send(split_lines(file.read()))
                        position = 0
                    if path.exists():
                        with path.open("rb") as file:
                            file.seek(position)
                            fresh = file.read()
                        position += len(fresh)
                        await send(split_lines(fresh))
                    if ended:
                        break
                    await asyncio.sleep(FOLLOW_SECONDS)
            await response.write_eof()
        return response
