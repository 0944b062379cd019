"""Envoy of the failing workload, in front of a server of its own: it adds nothing but the fault."""

import contextlib
import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from components._internal import fault_upstream
from components._internal.traffic import FaultSettings
from embedded.node.kubelet.images import envoy_binary

UPGRADE = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("upgrade") == "websocket":
            self.send_response(101)
            self.send_header("connection", "upgrade")
            self.send_header("upgrade", "websocket")
            self.end_headers()
            self.wfile.write(b"echo " + self.rfile.read1(100))
            self.close_connection = True
            return
        body = json.dumps(sorted(name.lower() for name in self.headers)).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a failing workload that aborts `request.param` percent."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(fault_upstream, "_PORT", port)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        fault = FaultSettings(0, 100, 503, request.param, {})
        config = json.dumps(fault_upstream.envoy_config("localhost", server.server_port, fault))
        command = [envoy_binary(), "--config-yaml", config, "--concurrency", "1", "--use-dynamic-base-id"]
        process = subprocess.Popen([*command, "--log-level", "warning"])
        try:
            end = time.monotonic() + 20
            while not _ask(port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
                assert time.monotonic() < end, "Envoy does not answer within 20 s"
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(20)
            server.shutdown()


def _ask(port: int, request: bytes, then: bytes = b"") -> bytes:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = connection.recv(4000)
        if then:
            connection.sendall(then)
            answer += connection.recv(4000)
        return answer
    return b""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("failing", [0], indirect=True)
def test_requests_without_the_fault_pass_unchanged(failing: int) -> None:
    answer = _ask(failing, UPGRADE, b"hello")
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols")
    assert answer.endswith(b"echo hello")
    settings = _ask(failing, HTTP2)
    assert settings[3] == 4, "the first frame of HTTP/2 is a SETTINGS frame"
    answer = _ask(failing, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"x-envoy" not in answer
    assert b"server: BaseHTTP" in answer


@pytest.mark.timeout(120)
@pytest.mark.parametrize("failing", [100], indirect=True)
def test_requests_with_the_fault_are_aborted(failing: int) -> None:
    assert _ask(failing, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 503")
