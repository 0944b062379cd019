"""Scene of hosts outside the cluster, run by `test_user_network.py` in namespaces of its own.

These namespaces are the machine: a host outside is a server at another address of it.
"""

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from embedded import cluster, processes
from embedded.health import watchdog
from embedded.supervisor.user_network import TUN
from tests.embedded import manifests
from tests.embedded.manifests import LIMIT_SECONDS, Object

UNABLE = 77  # exit code where this machine lacks what the user network needs
ADDRESS, HOST, GATEWAY = "203.0.113.10", "outside.example.test", "10.244.0.3"
PLAIN, ENROLLED = "plain", "enrolled"
API_PORT, HTTP_PORT = 16443, 19080
ASK = """
import http.client, socket, sys
try:
    connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
    connection.request(sys.argv[3], "/")
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
except socket.gaierror:
    print("unknown")
except OSError:
    print("closed")
"""


class Outside(http.server.BaseHTTPRequestHandler):
    """Answers `outside` to each request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"outside")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def objects() -> list[Object]:
    """Return two namespaces with a client each, and a waypoint that lets GET requests to the host pass."""
    found = []
    for space, mode in ((PLAIN, "none"), (ENROLLED, "ambient")):
        found += [manifests.namespace(space, mode), manifests.pod("client", space, "productpage", **manifests.WAITING)]
    return [*found, manifests.waypoint(ENROLLED)]


def egress() -> list[Object]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    entry = manifests.entry("outside", ENROLLED, HOST, ports=ports, resolution="DNS")
    entry["metadata"]["labels"] = {"istio.io/use-waypoint": "waypoint"}
    return [entry, manifests.allow_operation("get", ENROLLED, "outside", {"methods": ["GET"]})]


def kubectl(state: Path, *arguments: str, given: str | None = None) -> str:
    environment = {**os.environ, **cluster.environment(state)}
    done = subprocess.run(
        ["kubectl", *arguments], input=given, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert done.returncode == 0, f"kubectl {arguments[0]}: {done.stderr}"
    return done.stdout


def expect(wanted: str, ask: Callable[[], str], what: str) -> None:
    """Wait until an answer begins with `wanted`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (got := ask()).startswith(wanted):
        assert time.monotonic() < deadline, f"{what}: {got!r} instead of {wanted!r}"
        time.sleep(0.2)
    print(f"{what}: {got}", flush=True)


def scene(state: Path) -> None:
    """Reach the host by its address and by its name, without and with a waypoint, and after a failure."""

    def client(space: str, host: str, port: int = 80, method: str = "GET") -> Callable[[], str]:
        command = ("exec", "-n", space, "client", "--", "python3", "-c", ASK, host, str(port), method)
        return lambda: kubectl(state, *command).strip()

    kubectl(state, "apply", "-f", "-", given=yaml.safe_dump_all(objects()))
    for space in (PLAIN, ENROLLED):
        kubectl(state, "wait", "-n", space, "--for=condition=Ready", "pod/client", "--timeout=60s")
        for host in (ADDRESS, HOST):
            expect("200 outside", client(space, host), f"{space} Pod to {host}")
        expect("unknown", client(space, "nowhere.example.test"), f"{space} Pod to an unknown name")
        expect("closed", client(space, GATEWAY), f"{space} Pod to the gateway")
        expect("closed", client(space, "127.0.0.1", API_PORT), f"{space} Pod to a port of the machine's loopback")

    kubectl(state, "wait", "-n", ENROLLED, "--for=condition=Programmed", "gateway/waypoint", "--timeout=60s")
    kubectl(state, "apply", "-f", "-", given=yaml.safe_dump_all(egress()))
    expect("403", client(ENROLLED, HOST, method="POST"), "a method that the waypoint refuses")
    expect("200 outside", client(ENROLLED, HOST), "a method that the waypoint lets pass")
    expect("200 outside", client(PLAIN, HOST, method="POST"), "a Pod that is not enrolled")

    for half in ("serve", "attach"):
        os.kill(user_network(state, half), signal.SIGKILL)
        expect("200 outside", client(PLAIN, HOST), f"after {half} was killed")


def user_network(state: Path, half: str) -> int:
    """Return the process of one half of the user network."""
    for pid in processes.descendants(watchdog(state)):
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if command[0].endswith("/user_network") and half in command:
            return pid
    raise AssertionError(f"user_network {half} does not run")


def main() -> int:
    """Make the machine, and run the scene in a cluster of its own."""
    folder = Path(sys.argv[1])
    if not TUN.exists():
        print(f"this machine has no {TUN}")
        return UNABLE
    for command in ("ip link set lo up", f"ip addr add {ADDRESS}/32 dev lo"):
        subprocess.run(command.split(), check=True)
    for file, text in (
        ("hosts", f"127.0.0.1 localhost\n{ADDRESS} {HOST}\n"),
        ("resolv.conf", "nameserver 127.0.0.1\n"),
    ):
        (folder / file).write_text(text)
        subprocess.run(["mount", "--bind", str(folder / file), f"/etc/{file}"], check=True)
    server = http.server.ThreadingHTTPServer((ADDRESS, 80), Outside)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state = folder / "state"
    cluster.up(state, API_PORT, HTTP_PORT, lambda line: print(line, flush=True))
    try:
        scene(state)
    finally:
        cluster.down(state, lambda line: print(line, flush=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
