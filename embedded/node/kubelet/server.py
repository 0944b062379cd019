"""The kubelet's HTTPS server. The API server forwards `kubectl exec` and `kubectl logs` to it."""

import asyncio
import contextlib
import dataclasses
import datetime
import ssl

from aiohttp import web

from embedded.node.config import NodeConfig
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.exec_session import PROTOCOLS, STDERR, ExecSession, failure, finish, success
from embedded.node.kubelet.kubelet import Kubelet
from embedded.node.kubelet.logs import older, parse, read
from embedded.node.kubelet.pod import Pod
from embedded.node.launcher.process import LaunchError

ALLOWED_GROUP = "system:masters"
FOLLOW_SECONDS = 0.2  # between two reads of a followed log


def tls(config: NodeConfig) -> ssl.SSLContext:
    """Return a TLS context that accepts only clients with a certificate of the cluster's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.kubelet_cert, config.kubelet_key)
    context.load_verify_locations(config.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _groups(request: web.Request) -> set[str]:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    subject = (certificate or {}).get("subject", ())
    return {value for part in subject for key, value in part if key == "organizationName"}


@web.middleware
async def _authorise(request: web.Request, handler: web.Callable) -> web.StreamResponse:  # type: ignore[name-defined]
    if ALLOWED_GROUP not in _groups(request):
        raise web.HTTPForbidden(text="kubelet: only the API server is authorized\n")
    answer: web.StreamResponse = await handler(request)
    return answer


class KubeletServer:
    """HTTPS server for the Pods of one kubelet."""

    def __init__(self, kubelet: Kubelet) -> None:
        """Find containers through `kubelet`."""
        self._kubelet = kubelet

    async def run(self) -> None:
        """Serve until cancelled."""
        application = web.Application(middlewares=[_authorise])
        application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        application.router.add_route("*", "/exec/{namespace}/{pod}/{container}", self._exec)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        config = self._kubelet.config
        try:
            await web.TCPSite(runner, config.node_ip, config.kubelet_port, ssl_context=tls(config)).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def _find(self, request: web.Request) -> tuple[Pod, Container]:
        names = request.match_info
        found = self._kubelet.find(names["namespace"], names["pod"], names["container"])
        if found is None:
            raise web.HTTPNotFound(text=f"container {names['container']} of Pod {names['pod']} is not on this node\n")
        return found

    # Logs.

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        _, container = self._find(request)
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
        since = query.get("sinceTime", "")
        if seconds := query.get("sinceSeconds"):
            moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=float(seconds))
            since = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        tail = int(query["tailLines"]) if "tailLines" in query else None
        left = int(query["limitBytes"]) if "limitBytes" in query else 1 << 62
        timestamps = query.get("timestamps") == "true"
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)

        async def send(lines: list[bytes]) -> None:
            nonlocal left
            out = bytearray()
            for line in lines:
                when, _, text = parse(line)
                out += when.encode() + b" " + text if timestamps else text
            block = bytes(out[:left])
            left -= len(block)
            if block:
                await response.write(block)

        with contextlib.suppress(ConnectionError):
            position = path.stat().st_size if path.exists() else 0
            await send(list(read(path, tail=tail, since=since, end=position)))
            if query.get("follow") == "true" and not previous:
                run = container.restarts
                while left > 0:
                    ended = container.restarts != run or not container.logging
                    if path.exists() and path.stat().st_size < position:  # rotated: the rest of the old part
                        with older(path).open("rb") as file:
                            file.seek(position)
                            await send(file.read().splitlines(keepends=True))
                        position = 0
                    if path.exists():
                        with path.open("rb") as file:
                            file.seek(position)
                            fresh = file.read()
                        position += len(fresh)
                        await send(fresh.splitlines(keepends=True))
                    if ended:
                        break
                    await asyncio.sleep(FOLLOW_SECONDS)
            await response.write_eof()
        return response

    # Exec.

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        pod, container = self._find(request)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise web.HTTPBadRequest(text="kubelet: exec needs a WebSocket; use a newer kubectl\n")
        query = request.query
        tty = query.get("tty") in ("1", "true")
        wants_input = query.get("input") in ("1", "true") or query.get("stdin") in ("1", "true")
        socket = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=0)
        await socket.prepare(request)
        if pod.sandbox is None or container.process is None or container.command is None:
            await finish(socket, failure(f"container {container.name} does not run"))
            return socket
        env = container.command.env | ({"TERM": "xterm"} if tty else {})
        command = dataclasses.replace(container.command, argv=list(query.getall("command", [])), env=env)
        root = f"/proc/{container.process.pid}/root"
        session = ExecSession(socket, root, tty=tty, wants_input=wants_input)
        try:
            launcher = self._kubelet.launcher
            process = await launcher.execute(pod.sandbox.pause, container.process, command, session.handles, tty=tty)
        except LaunchError as error:
            session.close()
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(bytes([STDERR]) + f"error executing command in container: {error}\n".encode())
            await finish(socket, failure("", 127))
            return socket
        try:
            code = await session.relay(process)
        finally:
            await self._kubelet.launcher.kill(process, group=True)
        if code is not None:
            await finish(socket, success() if code == 0 else failure("", code))
        return socket
