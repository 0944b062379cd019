"""Scenes of the proxies before Pods, run by `test_proxy_inbound.py` in namespaces of their own.

Pods are network namespaces behind the node, as the kubelet makes them. Policies are messages of the workload API.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from embedded.control_plane.pki import Authority
from embedded.node.proxy import capture, inbound_config, messages
from embedded.node.proxy.controller import INBOUND_DRAIN_SECONDS
from embedded.node.proxy.envoy_config import ProxySettings
from embedded.node.proxy.envoy_process import Certificates, EnvoyFiles, listeners_version, run_envoy
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.snapshot import Snapshot, clients
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from embedded.node.proxy.workload_api import Workload, WorkloadState

Object = dict[str, Any]
LIMIT_SECONDS = 30.0
UNABLE = 77  # exit code where this kernel lacks what the capture needs
NODE, VIP, PORT = "10.244.0.1", "10.96.0.9", 9080
SERVER, CLIENT, OUTSIDE = "10.244.1.20", "10.244.1.2", "10.244.1.3"
PODS = {"server": SERVER, "client": CLIENT, "outside": OUTSIDE}
SERVE = """
import socket, threading
def answer(link, peer):
    while link.recv(100):
        link.sendall(peer[0].encode() + b"\\n")
listening = socket.create_server(("0.0.0.0", %d))
while True:
    threading.Thread(target=answer, args=listening.accept(), daemon=True).start()
"""
ASK = """
import socket, sys
try:
    link = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    link.sendall(b"who")
    print(link.recv(100).decode().strip() or "closed", flush=True)
    if len(sys.argv) > 3:
        print(link.recv(100).decode().strip() or "closed")
except ConnectionError:
    print("closed")
"""


def policy(matches: Object, action: int = 0, scope: int = 1) -> Any:
    """Return a policy of one rule: of namespace `shop` unless another scope is given."""
    given = {"name": "p", "namespace": "shop", "action": action, "scope": scope}
    return json_format.ParseDict({**given, "groups": [{"rules": [{"matches": [matches]}]}]}, messages.Authorization())


class Scene:
    """The node's proxies, and Pods as network namespaces; `outside` is not enrolled."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder / "pki", "mesh", "mesh")
        self.outbound, self.inbound = (
            EnvoyFiles(folder / "outbound"),
            EnvoyFiles(folder / "inbound", INBOUND_DRAIN_SECONDS),
        )
        self.settings = ProxySettings(
            trust_domain="cluster.local",
            pod_cidr="10.244.0.0/16",
            node_ip=NODE,
            ca=str(authority.cert_file),
            certificate=Certificates(self.outbound.folder, authority).files,
        )
        self.state = WorkloadState(synced=True)
        self.state.workloads = {name: Workload("shop", (address,), ()) for name, address in PODS.items()}
        self.pids: dict[str, int] = {}
        meta = {"name": "shop", "uid": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}
        self.snapshot = Snapshot(
            services={"shop/cart": {"metadata": _meta("cart"), "spec": {"clusterIP": VIP, "ports": [{"port": PORT}]}}},
            slices={
                "shop/cart": {
                    "metadata": {**_meta("cart"), "labels": {"kubernetes.io/service-name": "cart"}},
                    "ports": [{"name": "", "port": PORT}],
                    "endpoints": [{"addresses": [SERVER], "conditions": {"ready": True}}],
                }
            },
            pods={name: _pod(name, address) for name, address in PODS.items()},
            namespaces={"shop": {"metadata": meta}},
        )

    async def apply(self, *policies: Any, scope_names: tuple[str, ...] = ()) -> None:
        """Put policies in force, and wait until the inbound proxy has them and has closed what they changed."""
        self.state.policies = {f"shop/{number}": each for number, each in enumerate(policies)}
        self.state.workloads["server"] = Workload("shop", (SERVER,), scope_names)
        made, _ = inbound_config.resources(clients(self.snapshot), self.state, self.settings)
        self.inbound.write(made)
        deadline = time.monotonic() + LIMIT_SECONDS
        while await listeners_version(self.inbound.folder) != self.inbound.version:
            assert time.monotonic() < deadline, "the inbound proxy does not take its configuration"
            await asyncio.sleep(0.05)

    def capture(self, *known: str) -> None:
        """Capture connections to the enrolled Pods, and to those that are not `known`."""
        capture.apply(NODE, "10.244.0.0/16", known, (SERVER, CLIENT))

    async def inside(self, pod: str, program: str, *arguments: str) -> asyncio.subprocess.Process:
        """Start a Python program in a Pod's network."""
        argv = ["nsenter", f"--net=/proc/{self.pids[pod]}/ns/net", sys.executable, "-c", program, *arguments]
        return await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)

    async def ask(self, pod: str, address: str = SERVER, port: int = PORT) -> str:
        """Return the client's address as the server sees it, or `closed`."""
        process = await self.inside(pod, ASK, address, str(port))
        output, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
        return output.decode().strip()

    async def start(self) -> None:
        """Connect the Pods to the node, start the server, and capture."""
        for name, address in PODS.items():
            pause = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "infinity")
            self.pids[name] = pause.pid
            while Path(f"/proc/{pause.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
                await asyncio.sleep(0.01)
            _run(f"ip link add {name} type veth peer name eth0 netns {pause.pid}")
            _run(f"ip link set {name} up")
            _run(f"ip route replace {address}/32 dev {name}")
            for line in (
                "link set lo up",
                f"addr add {address}/32 dev eth0",
                "link set eth0 up",
                f"route add {NODE}/32 dev eth0 scope link src {address}",
                f"route add default via {NODE} dev eth0 src {address}",
            ):
                _run(f"nsenter --net=/proc/{pause.pid}/ns/net ip {line}")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
        await self.inside("server", SERVE % PORT)
        await self.inside("outside", SERVE % PORT)
        if problem := await capture.find_problem(NODE, "10.244.0.0/16"):
            print(problem)
            sys.exit(UNABLE)
        self.capture(*PODS.values())
        tracker = WaypointTracker()
        tracker.update(self.snapshot, time.monotonic())
        self.outbound.write(resources(self.snapshot, self.settings, tracker))


def _meta(name: str) -> Object:
    return {"name": name, "namespace": "shop", "uid": name, "labels": {}}


def _pod(name: str, address: str) -> Object:
    labels = {"istio.io/dataplane-mode": "none"} if name == "outside" else {}
    given = {"spec": {"serviceAccountName": name}, "status": {"podIP": address}}
    return {"metadata": {**_meta(name), "labels": labels}, **given}


def _run(line: str) -> None:
    subprocess.run(line.split(), check=True)


async def paths(scene: Scene) -> None:
    """Without policies every client is served, by address and by Service, and the server sees its address."""
    for pod, address in (("client", CLIENT), ("outside", OUTSIDE)):
        assert address == await scene.ask(pod)
        assert address == await scene.ask(pod, VIP)
    assert await scene.ask("server", VIP) == "10.244.0.2", "a Pod reaches itself through its Service"
    assert await scene.ask("client", SERVER, 9999) == "closed"
    assert await scene.ask("client", OUTSIDE) == CLIENT
    scene.capture(SERVER, CLIENT)
    assert await scene.ask("client", OUTSIDE) == "closed", "a Pod that the node does not know yet is refused"
    scene.capture(*PODS.values())


async def identities(scene: Scene) -> None:
    """A principal is that of the client's certificate; plain text has none."""
    await scene.apply(policy({"principals": [{"exact": "cluster.local/ns/shop/sa/client"}]}))
    assert (await scene.ask("client"), await scene.ask("client", VIP)) == (CLIENT, CLIENT)
    assert (await scene.ask("outside"), await scene.ask("outside", VIP)) == ("closed", "closed")
    assert await scene.ask("server", VIP) == "closed", "the server's own account is another one"
    await scene.apply(policy({"principals": [{"exact": "cluster.local/ns/shop/sa/client"}]}, action=1))
    assert (await scene.ask("client"), await scene.ask("outside")) == ("closed", OUTSIDE)


async def strict(scene: Scene) -> None:
    """STRICT, a DENY of connections without an identity, refuses plain text only."""
    await scene.apply(policy({"notPrincipals": [{"presence": {}}]}, action=1, scope=0))
    assert (await scene.ask("client"), await scene.ask("outside")) == (CLIENT, "closed")


async def addresses(scene: Scene) -> None:
    """Addresses and ports of the connection decide, for plain text and HBONE."""
    await scene.apply(policy({"sourceIps": [{"address": "CvQBAw==", "length": 32}]}))  # 10.244.1.3
    assert (await scene.ask("client", VIP), await scene.ask("outside", VIP)) == ("closed", OUTSIDE)
    await scene.apply(policy({"destinationPorts": [PORT]}, action=1))
    assert (await scene.ask("client"), await scene.ask("outside")) == ("closed", "closed")
    await scene.apply(policy({"destinationPorts": [PORT + 1]}, action=1))
    assert (await scene.ask("client"), await scene.ask("outside")) == (CLIENT, OUTSIDE)


async def selectors(scene: Scene) -> None:
    """A policy bound by a selector holds for the Pods that it selects."""
    closed = policy({"destinationPorts": [1]}, scope=2)
    await scene.apply(closed)
    assert await scene.ask("client") == CLIENT
    await scene.apply(closed, scope_names=("shop/0",))
    assert await scene.ask("client") == "closed"


async def changes(scene: Scene) -> None:
    """A new policy ends open connections."""
    await scene.apply()
    held = await scene.inside("client", ASK, SERVER, str(PORT), "hold")
    assert held.stdout is not None
    assert (await asyncio.wait_for(held.stdout.readline(), LIMIT_SECONDS)).decode().strip() == CLIENT
    await scene.apply(policy({"destinationPorts": [1]}))
    assert (await asyncio.wait_for(held.stdout.readline(), LIMIT_SECONDS)).decode().strip() == "closed"


async def play(scene: Scene, *parts: Callable[[], Awaitable[None]]) -> None:
    """Set up the node with its proxies, and play the parts of the scene on it."""
    await scene.start()
    running = run_envoy(scene.outbound.folder), run_envoy(scene.inbound.folder, INBOUND_DRAIN_SECONDS)
    proxies = [asyncio.create_task(each) for each in running]
    try:
        await scene.apply()
        while await listeners_version(scene.outbound.folder) != scene.outbound.version:
            await asyncio.sleep(0.05)
        for part in parts:
            await part()
    finally:
        for task in proxies:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*proxies, return_exceptions=True)


def prepare() -> None:
    """Give this network namespace the node's addresses, and a /run of its own."""
    commands = ["ip link set lo up", "ip route add local 10.96.0.0/16 dev lo", "mount -t tmpfs none /run"]
    for line in [*commands, f"ip addr add {NODE}/32 dev lo"]:
        _run(line)


if __name__ == "__main__":
    prepare()
    scene = Scene(Path(sys.argv[1]))
    asyncio.run(
        play(scene, *(partial(part, scene) for part in (paths, identities, strict, addresses, selectors, changes)))
    )
