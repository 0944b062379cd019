"""The base of all services: calls to peers, health, access log and graceful shutdown."""

import json
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

# Headers that Istio's sample propagates: the request id and the user, so that the mesh can correlate hops and route by
# user. Headers of tracers that the lab does not have are left out.
FORWARDED = ("x-request-id", "traceparent", "tracestate", "b3", "user-agent", "end-user")
# A proxy keeps connections open for an hour, and answers 503 if the server closes one at the moment of reuse; so the
# server keeps them longer.
KEEP_ALIVE_SECONDS = 2 * 60 * 60
FINISH_SECONDS = 5.0
MOST_TEXT = 120

SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("session", aiohttp.ClientSession)


def peer(name: str) -> str:
    """Return the base URL of another service: NAME_HOSTNAME and NAME_SERVICE_PORT as in the sample, or the lab's."""
    host = os.environ.get(f"{name.upper()}_HOSTNAME") or f"{name}.bookinfo-backends.svc.cluster.local"
    port = os.environ.get(f"{name.upper()}_SERVICE_PORT") or "9080"
    return f"http://{host}:{port}"


def pod_name() -> str:
    """Return the Pod's name, which is its host name."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an incoming request that outgoing requests carry."""
    return {name: headers[name] for name in FORWARDED if name in headers}


class ServiceAnswer(NamedTuple):
    """The answer of a peer.

    Attributes:
        status: Its status; 0 without an answer.
        body: Its JSON body; None if it is not JSON.
        seconds: The time that it took.
        why: The reason why it is no success; empty for status 200.
    """

    status: int
    body: Any
    seconds: float
    why: str


async def fetch(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], seconds: float) -> ServiceAnswer:
    """Send a GET request, and wait at most `seconds` for the answer."""
    began = time.monotonic()
    try:
        async with session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(total=seconds)) as answer:
            text = await answer.text()
    except TimeoutError:
        return ServiceAnswer(0, None, time.monotonic() - began, f"no answer within {seconds:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return ServiceAnswer(0, None, time.monotonic() - began, f"no connection ({type(error).__name__})")
    took = time.monotonic() - began
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    # Envoy's own answers have a line of text, such as "fault filter abort".
    said = f" ({text.strip()[:MOST_TEXT]})" if body is None and text.strip() else ""
    return ServiceAnswer(answer.status, body, took, "" if answer.status == 200 else f"status {answer.status}{said}")


def application(name: str) -> web.Application:
    """Return an application with `/health`, which opens a connection to a peer for each request, as the sample does.

    On a kept connection, the mesh answers the first request after a change by the old configuration.
    """
    app = web.Application()

    async def health(_request: web.Request) -> web.Response:
        return web.json_response({"status": f"{name.capitalize()} is healthy"})

    async def peers(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as session:
            app[SESSION] = session
            yield

    app.router.add_get("/health", health)
    app.cleanup_ctx.append(peers)
    return app


class AccessLog(AbstractAccessLogger):
    """One line per request except probes: client, request, user, status, milliseconds."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line to stdout, the container's log."""
        if request.path != "/health":
            user = request.headers.get("end-user", "-")
            print(f'{request.remote} "{request.method} {request.path}" {user} {response.status} {time * 1000:.1f}')


def serve(app: web.Application, port: int) -> None:
    """Serve on all addresses until SIGTERM; then finish open requests.

    Raises:
        SystemExit: The port is in use.
    """
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        web.run_app(
            app,
            host="0.0.0.0",
            port=port,
            print=lambda *_: print(f"listening on port {port}"),
            access_log_class=AccessLog,
            access_log=logging.Logger("access", logging.INFO),
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            shutdown_timeout=FINISH_SECONDS,
        )
    except OSError as error:
        sys.exit(f"cannot listen on port {port}: {os.strerror(error.errno or 0)}")
