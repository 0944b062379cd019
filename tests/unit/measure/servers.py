"""A local HTTP server, and a stand-in for kubectl that runs the client script on this machine."""

import contextlib
import http.server
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

KUBECTL = """#!/bin/sh
while [ "$1" != "--" ]; do shift; done
shift
exec "$@"
"""


STALLED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 200\r\n\r\nok"
CUT = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n"


class Server(http.server.ThreadingHTTPServer):
    """Counts the requests on each of its connections.

    Where `workers` is set, an answer waits until as many requests are there, so that each worker sends as many.
    `answers` is the number of requests answered before it is closed, of one connection after the other, and of all
    later ones as of the last; without any, all requests are.
    """

    daemon_threads = True

    def __init__(self, workers: int = 1, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.together = threading.Barrier(workers)
        self.answers = answers
        self.connections = 0
        self.lock = threading.Lock()
        self.requests: Counter[int] = Counter()
        self.agents: list[str] = []

    def wait_for(self, requests: int) -> None:
        """Wait until at least this number of requests has arrived."""
        until = time.monotonic() + 30
        while len(self.agents) < requests:
            assert time.monotonic() < until, f"{len(self.agents)} of {requests} requests after 30 s"
            time.sleep(0.01)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests[self.number] += 1
            self.server.agents.append(self.headers.get("user-agent", ""))
        self.server.together.wait(20)
        answers = self.server.answers[: self.number]
        if answers and self.server.requests[self.number] > answers[-1]:
            self.close_connection = True
            return
        body = b'{"reviews": [{"rating": {"color": "red"}}]}'
        self.send_response(200)
        self.send_header("x-backend", "blue")
        self.send_header("x-name", "müller".encode().decode("latin-1"))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(workers: int = 1, *answers: int) -> Iterator[Server]:
    with Server(workers, *answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n"


@contextlib.contextmanager
def streaming(header: bytes = b"") -> Iterator[int]:
    """Answer with a stream that does not end. The value is the server's port."""
    ended = threading.Event()

    class Streaming(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(STREAM % header)
            with contextlib.suppress(OSError):
                while not ended.wait(0.01):
                    self.request.sendall(b"1\r\na\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Streaming) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            ended.set()
            server.shutdown()
            thread.join()


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str = KUBECTL) -> None:
    """Put a kubectl on PATH that runs `script`."""
    file = folder / "kubectl"
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """Send these bytes as each answer, and keep the connection open. The value is the server's address."""
    ended = threading.Event()

    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            self.request.sendall(answer)
            ended.wait(30)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()
