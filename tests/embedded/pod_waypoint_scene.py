"""A scene with a waypoint of workloads, run by `test_proxy_inbound.py` in namespaces of its own.

The waypoint is an Envoy in a Pod that ends HBONE as Istio's does; the server sees its address instead of the client's.
"""

import asyncio
import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from embedded.control_plane.pki import Authority, write_private
from embedded.node.proxy import capture
from embedded.node.proxy.envoy_process import envoy_binary, listeners_version
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from tests.embedded import inbound_scene
from tests.embedded.hbone_waypoint import waypoint_config
from tests.embedded.inbound_scene import CLIENT, LIMIT_SECONDS, NODE, OUTSIDE, PODS, PORT, SERVER, VIP

WAYPOINT = "10.244.1.9"


class Scene(inbound_scene.Scene):
    """The scene of the inbound proxy, with a waypoint of the Pods `server` and `outside`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.waypoints: dict[str, str] = {}
        cert, key = Authority(folder / "pki", "mesh", "mesh").issue(
            "", uri="spiffe://cluster.local/ns/shop/sa/waypoint"
        )
        write_private(folder / "waypoint.crt", cert)
        write_private(folder / "waypoint.key", key)
        labels = {"gateway.networking.k8s.io/gateway-name": "waypoint"}
        self.snapshot.pods["waypoint"]["metadata"]["labels"] = labels
        self.snapshot.slices["shop/waypoint"] = {
            "metadata": {"name": "w", "namespace": "shop", "labels": {"kubernetes.io/service-name": "waypoint"}},
            "ports": [{"name": "", "port": 15008}],
            "endpoints": [{"addresses": [WAYPOINT], "conditions": {"ready": True}}],
        }

    def capture(self, *known: str) -> None:
        """Capture connections also to Pods that have a waypoint and are not enrolled."""
        capture.apply(NODE, "10.244.0.0/16", known, (SERVER, CLIENT), tuple(self.waypoints))

    async def use_waypoint(self, *addresses: str) -> None:
        """Give Pods the waypoint, and wait until the outbound proxy has the change."""
        self.waypoints = dict.fromkeys(addresses, "shop/waypoint")
        for name, address in PODS.items():
            known = self.state.workloads[name]
            self.state.workloads[name] = replace(known, waypoint=self.waypoints.get(address, ""))
        tracker = WaypointTracker()
        tracker.update(self.snapshot, time.monotonic())
        self.outbound.write(resources(self.snapshot, self.settings, tracker, self.state.waypoints()))
        self.capture(*PODS.values())
        while await listeners_version(self.outbound.folder) != self.outbound.version:
            await asyncio.sleep(0.05)

    async def start_waypoint(self, backend: str) -> asyncio.subprocess.Process:
        """Start the waypoint in its Pod; it carries all to `backend`."""
        config = self.folder / "waypoint.json"
        config.write_text(json.dumps(waypoint_config(self.folder, WAYPOINT, (backend, PORT))))
        argv = ["nsenter", f"--net=/proc/{self.pids['waypoint']}/ns/net", envoy_binary(), "-c", str(config)]
        argv += ["--concurrency", "1", "--log-level", "warning", "--use-dynamic-base-id"]
        return await asyncio.create_subprocess_exec(*argv)


async def reach(scene: Scene, wanted: str, *where: str) -> None:
    """Wait until the server answers with the address `wanted`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (got := await scene.ask(*where)) != wanted:
        assert time.monotonic() < deadline, f"{where}: {got} instead of {wanted}"
        await asyncio.sleep(0.1)


async def paths(scene: Scene) -> None:
    """Enrolled clients of a Pod's address use its waypoint; clients of a Service, and others, do not."""
    process = await scene.start_waypoint(SERVER)
    try:
        assert (await scene.ask("client"), await scene.ask("client", OUTSIDE)) == (CLIENT, CLIENT)
        await scene.use_waypoint(SERVER)
        await reach(scene, WAYPOINT, "client", SERVER)
        tunnels = (scene.folder / "waypoint.log").read_text().splitlines()
        assert f"spiffe://cluster.local/ns/shop/sa/client {SERVER}:{PORT}" in tunnels
        assert await scene.ask("client", VIP) == CLIENT, "a connection to a Service does not use it"
        assert (await scene.ask("outside"), await scene.ask("outside", VIP)) == (OUTSIDE, OUTSIDE)
        assert await scene.ask("waypoint") == WAYPOINT
        await scene.use_waypoint(OUTSIDE)
        await reach(scene, WAYPOINT, "client", OUTSIDE)
        assert (await scene.ask("client"), await scene.ask("waypoint", OUTSIDE)) == (CLIENT, WAYPOINT)
        await scene.use_waypoint()
        assert (await scene.ask("client"), await scene.ask("client", OUTSIDE)) == (CLIENT, CLIENT)
    finally:
        process.kill()
        await process.wait()


if __name__ == "__main__":
    PODS["waypoint"] = WAYPOINT
    inbound_scene.prepare()
    scene = Scene(Path(sys.argv[1]))
    asyncio.run(inbound_scene.play(scene, partial(paths, scene)))
