"""Scenes with a real node proxy, run by `test_proxy_envoy.py` in network and mount namespaces of their own.

The clients are source addresses on the loopback device; the waypoint is an Envoy that ends HBONE as Istio's does.
"""

import asyncio
import copy
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embedded.control_plane.pki import Authority, write_private
from embedded.node.proxy import envoy_process as proxy
from embedded.node.proxy.envoy_config import ProxySettings
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.snapshot import Snapshot
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from tests.embedded.hbone_waypoint import waypoint_config

Object = dict[str, Any]
LIMIT_SECONDS = 20.0
VIP, PORT = "10.96.0.9", 9080
INSIDE, OUTSIDE, LATER, UNKNOWN = "10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.99"
WAYPOINT, BACKENDS = "10.244.1.9", ("10.244.1.20", "10.244.1.21")


class Scene:
    """A proxy on files as the node agent writes them, two backends that say who they are, and a waypoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "waypoint.log"
        labels = {"istio.io/use-waypoint": "waypoint", "istio.io/dataplane-mode": "ambient"}
        self.objects = {
            "services": {"shop/cart": _object("cart", "shop", spec={"clusterIP": VIP, "ports": [{"port": PORT}]})},
            "slices": {
                "shop/cart": _slice("cart", PORT, BACKENDS[0]),
                "shop/waypoint": _slice("waypoint", 15008, WAYPOINT),
            },
            "pods": {"a": _pod("inside", INSIDE), "b": _pod("outside", OUTSIDE, {"istio.io/dataplane-mode": "none"})},
            "namespaces": {"shop": _object("shop", None, labels)},
            "gateways": {
                "shop/waypoint": _object(
                    "waypoint",
                    "shop",
                    spec={"listeners": [{"protocol": "HBONE"}]},
                    status={"addresses": [{"value": "10.96.0.7"}]},
                )
            },
        }
        authority = Authority(folder / "pki", "mesh", "mesh")
        cert, key = authority.issue("", uri="spiffe://cluster.local/ns/shop/sa/waypoint")
        write_private(folder / "waypoint.crt", cert)
        write_private(folder / "waypoint.key", key)
        self.files = proxy.EnvoyFiles(folder / "proxy")
        self.settings = ProxySettings(
            trust_domain="cluster.local",
            pod_cidr="10.244.0.0/16",
            node_ip="10.244.0.1",
            ca=str(authority.cert_file),
            certificate=proxy.Certificates(folder / "certs", authority).files,
        )
        self.tracker = WaypointTracker()

    def write(self) -> None:
        """Tells the proxy what the objects are now."""
        snapshot = Snapshot(**copy.deepcopy(self.objects))
        self.tracker.update(snapshot, time.monotonic())
        self.files.write(resources(snapshot, self.settings, self.tracker))

    def through_waypoint(self) -> list[str]:
        """Return `identity target` of each tunnel of the waypoint that has ended."""
        return self.log.read_text().split("\n")[:-1] if self.log.exists() else []


def _object(name: str, namespace: str | None, labels: dict[str, str] | None = None, **rest: Any) -> Object:
    meta: Object = {"name": name, "uid": f"uid-{name}", "labels": labels or {}}
    return {"metadata": {**meta, **({"namespace": namespace} if namespace else {})}, **rest}


def _pod(name: str, address: str, labels: dict[str, str] | None = None) -> Object:
    status = {"podIP": address, "phase": "Running"}
    return _object(name, "shop", labels, spec={"serviceAccountName": name}, status=status)


def _slice(service: str, port: int, *addresses: str) -> Object:
    found = [{"addresses": [address], "conditions": {"ready": True}} for address in addresses]
    item = _object(service, "shop", {"kubernetes.io/service-name": service})
    return {**item, "addressType": "IPv4", "ports": [{"name": "", "port": port}], "endpoints": found}


class Line:
    """One client's connection to the Service: it sends a line, and the backend answers with its own address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, source: str) -> "Line":
        return cls(*await asyncio.open_connection(VIP, PORT, local_addr=(source, 0)))

    async def ask(self) -> str:
        """The backend's address, or an empty string where the connection is closed."""
        try:
            self.writer.write(b"who\n")
            return (await asyncio.wait_for(self.reader.readline(), LIMIT_SECONDS)).decode().strip()
        except ConnectionError:
            return ""


async def once(source: str) -> str:
    """The answer over a new connection; an empty string where it is refused or closed."""
    try:
        line = await Line.open(source)
    except ConnectionError:
        return ""
    try:
        return await line.ask()
    finally:
        line.writer.close()


async def until(what: str, wanted: str, source: str) -> None:
    """Waits until new connections from `source` get the answer `wanted`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (got := await once(source)) != wanted:
        assert time.monotonic() < deadline, f"{what}: {source} gets {got!r} instead of {wanted!r}"
        await asyncio.sleep(0.05)


async def paths(_scene: Scene) -> None:
    """Each client goes through the waypoint, past it, or is refused, by its enrollment."""
    assert await once(INSIDE) == BACKENDS[1]
    assert await once(OUTSIDE) == BACKENDS[0]
    assert await once("10.244.0.1") == BACKENDS[0]
    assert await once(VIP) == BACKENDS[0], "the node's own processes have the Service's address as their source"
    assert await once(UNKNOWN) == ""
    assert f"spiffe://cluster.local/ns/shop/sa/inside {VIP}:{PORT}" in _scene.through_waypoint()
    assert not any("outside" in line for line in _scene.through_waypoint())


async def calm(scene: Scene) -> None:
    """Changes elsewhere leave open connections alone, also after the drain time."""
    inside, outside = await Line.open(INSIDE), await Line.open(OUTSIDE)
    assert (await inside.ask(), await outside.ask()) == (BACKENDS[1], BACKENDS[0])
    scene.objects["pods"]["c"] = _pod("later", LATER)
    other = _object("other", "shop", spec={"clusterIP": "10.96.0.10", "ports": [{"port": PORT}]})
    scene.objects["services"]["shop/other"] = other
    scene.objects["slices"]["shop/cart"] = _slice("cart", PORT, BACKENDS[1])
    scene.write()
    await until("a Pod that came later", BACKENDS[1], LATER)
    await until("endpoints changed", BACKENDS[1], OUTSIDE)
    await asyncio.sleep(proxy.DRAIN_SECONDS + 1)
    assert (await inside.ask(), await outside.ask()) == (BACKENDS[1], BACKENDS[0])


async def refusal(scene: Scene) -> None:
    """A Service without endpoints, and a waypoint without any, refuse; both serve again afterwards."""
    before = copy.deepcopy(scene.objects["slices"])
    inside, outside = await Line.open(INSIDE), await Line.open(OUTSIDE)
    assert (await inside.ask(), await outside.ask()) == (BACKENDS[1], BACKENDS[0])
    scene.objects["slices"] = {}
    scene.write()
    await until("a Service without endpoints", "", OUTSIDE)
    await until("a waypoint without endpoints", "", INSIDE)
    assert (await inside.ask(), await outside.ask()) == (BACKENDS[1], BACKENDS[0]), "open connections continue"
    scene.objects["slices"] = before
    scene.write()
    await until("endpoints came back", BACKENDS[0], OUTSIDE)
    await until("the waypoint came back", BACKENDS[1], INSIDE)


async def leaving(scene: Scene) -> None:
    """Without its label, or without its Gateway, a waypoint is not used; open connections continue."""
    line = await Line.open(INSIDE)
    assert await line.ask() == BACKENDS[1]
    gateways = scene.objects["gateways"]
    scene.objects["gateways"] = {}
    scene.write()
    await until("the Gateway is gone", BACKENDS[0], INSIDE)
    assert await line.ask() == BACKENDS[1]
    scene.objects["gateways"] = gateways
    scene.objects["services"]["shop/cart"]["metadata"]["labels"]["istio.io/use-waypoint"] = "none"
    scene.write()
    await until("the Service opted out", BACKENDS[0], INSIDE)


async def recovery(scene: Scene) -> None:
    """A node proxy that is killed comes back with all it knew."""
    found = subprocess.run(
        ["pgrep", "-f", str(scene.folder / "proxy" / "envoy.json")], capture_output=True, text=True, check=True
    )
    for pid in found.stdout.split():
        subprocess.run(["kill", "-KILL", pid], check=True)
    await until("the proxy was killed", BACKENDS[1], INSIDE)


SCENES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    scene.__name__: scene for scene in (paths, calm, refusal, leaving, recovery)
}


async def play(name: str, folder: Path) -> None:
    """Sets the scene, plays it, and ends what it started."""
    proxy.DRAIN_SECONDS = 1 if name == "calm" else 60
    scene = Scene(folder)
    scene.write()
    (scene.files.folder / "envoy.json").write_text(json.dumps(proxy.bootstrap(scene.files.folder)))
    (folder / "waypoint.json").write_text(json.dumps(waypoint_config(folder, WAYPOINT, (BACKENDS[1], PORT))))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while await reader.readline():
                writer.write(f"{writer.get_extra_info('sockname')[0]}\n".encode())

    for address in BACKENDS:
        await asyncio.start_server(answer, address, PORT)
    argv = ["-c", str(folder / "waypoint.json"), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"]
    waypoint = await asyncio.create_subprocess_exec(proxy.envoy_binary(), *argv)
    keeping = asyncio.create_task(proxy.run_envoy(scene.files.folder))
    try:
        await until("the proxy starts", BACKENDS[0], OUTSIDE)
        await until("the waypoint starts", BACKENDS[1], INSIDE)
        await SCENES[name](scene)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        waypoint.kill()
        await waypoint.wait()


def main(name: str, folder: str) -> None:
    """Gives this network namespace the addresses of the scene, and a /run of its own; then plays it."""
    commands = ["ip link set lo up", "ip route add local 10.96.0.0/16 dev lo", "mount -t tmpfs none /run"]
    addresses = ["10.244.0.1", INSIDE, OUTSIDE, LATER, UNKNOWN, WAYPOINT, *BACKENDS]
    for command in [*commands, *(f"ip addr add {address}/32 dev lo" for address in addresses)]:
        subprocess.run(command.split(), check=True)
    asyncio.run(play(name, Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
