"""Supervisor of the cluster, PID 1 of its namespaces: keeps all components running and relays the user's ports.

When it ends, the kernel ends everything that it started.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from embedded.control_plane import istio
from embedded.control_plane.addresses import API, NODE_IP, SERVICE_CIDR
from embedded.control_plane.credentials import authorities_valid, renew_certificates
from embedded.control_plane.process_specs import SPECS, USER_NETWORK, forwarder
from embedded.kube import FAULTS, Kube
from embedded.supervisor import user_network
from embedded.supervisor.component import Component, SupervisedProcess
from embedded.supervisor.load_balancer import LoadBalancer, network
from embedded.supervisor.ports import Ports
from embedded.supervisor.relay import Relay

STATUS_SECONDS = 0.5
INGRESS_SECONDS = 5.0
RENEWAL_SECONDS = 12 * 3600.0
RETRY_SECONDS = 1.0
STOP_SECONDS = 3.0
USES_CERTIFICATES = ("kube-apiserver", "node-agent")
log = logging.getLogger("supervisor")


def set_up_namespaces() -> None:
    """Make private mounts, and a network in which every Service address is the node's own ("AnyIP")."""
    commands = (
        "mount --make-rprivate /",
        "mount -t proc -o nosuid,nodev,noexec proc /proc",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        "ip link set lo up",
        f"ip addr add {NODE_IP}/32 dev lo",
        f"ip route add local {SERVICE_CIDR} dev lo",
    )
    for command in commands:
        subprocess.run(command.split(), check=True)
    for name in ("net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"):
        with suppress(OSError):
            Path("/proc/sys", name).write_text("1")


async def repeat(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until the task is cancelled. A failure is logged, and `work` starts again."""
    while True:
        try:
            await work()
        except Exception as error:
            log.error("%s failed and is tried again: %r", name, error)
        await asyncio.sleep(RETRY_SECONDS)


class Supervisor:
    """All components of one cluster."""

    def __init__(
        self, state: Path, bin_dir: Path, api: socket.socket, http: socket.socket, ports: Ports, isolated: str = ""
    ) -> None:
        """Start nothing yet.

        Args:
            state: State folder of the cluster.
            bin_dir: `bin` folder of the toolchain; `share` is beside it.
            api: Socket that listens on 127.0.0.1 outside, for the API server.
            http: Socket that listens on 127.0.0.1 outside, for the ingress.
            ports: Source of further sockets that listen outside.
            isolated: Why Pods do not reach hosts outside; empty where they do.
        """
        self._ports = ports
        self._state, self._share = state, bin_dir.parent / "share"
        self._api, self._http = Relay(api, (NODE_IP, 6443)), Relay(http, None)
        self._mesh = Component("mesh", "waiting for kube-apiserver")
        self.components: dict[str, Component] = {"mesh": self._mesh}
        self._processes: dict[str, SupervisedProcess] = {}
        specs = [make(state, bin_dir) for make in SPECS]
        if isolated:
            outside = self.components[USER_NETWORK] = Component(USER_NETWORK)
            outside.set_ready(None)
            outside.detail = f"Pods do not reach hosts outside the cluster: {isolated}"
        else:
            specs.append(forwarder(bin_dir, user_network.LINK / user_network.SOCKET))
        for spec in specs:
            process = SupervisedProcess(spec, state / "logs", self.components)
            self._processes[process.name] = self.components[process.name] = process

    async def run(self) -> None:
        """Run the cluster until SIGTERM."""
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        work = {name: process.run for name, process in self._processes.items()} | {
            "relay of the API server": self._api.run,
            "relay of the ingress": self._http.run,
            "load balancer": self._balance,
            "mesh": self._install_mesh,
            "status": self._report,
            "orphans": self._reap,
            "certificates": self._renew_certificates,
        }
        tasks = [asyncio.create_task(repeat(name, one)) for name, one in work.items()]
        await ending.wait()
        for task in tasks:
            task.cancel()
        # The node agent goes first, so that Pods end in order, and the store last.
        for process in reversed(self._processes.values()):
            await process.stop(STOP_SECONDS)

    def _kube(self) -> Kube:
        pki = self._state / "pki"
        return Kube(API, ca_file=str(pki / "ca.crt"), token=(pki / "token").read_text())

    async def _balance(self) -> None:
        await self.components["kube-apiserver"].ready.wait()
        async with self._kube() as kube:
            await LoadBalancer(kube, self._ports, network(self._state)).run()

    async def _install_mesh(self) -> None:
        await self.components["kube-apiserver"].ready.wait()
        async with self._kube() as kube:
            try:
                if not self._mesh.ready.is_set():
                    await istio.install(kube, self._share, self._state / "run")
                    self._mesh.set_ready(None)
                self._http.address = await istio.ingress_address(kube)
            except FAULTS as error:
                if not self._mesh.ready.is_set():
                    self._mesh.set_ready(f"installing: {error}")
                log.info("mesh: %r", error)
                return
        if self._http.address:
            await asyncio.sleep(INGRESS_SECONDS)

    async def _report(self) -> None:
        file = self._state / "run" / "status.json"
        new = file.with_suffix(".new")
        while True:
            new.write_text(json.dumps([component.row() for component in self.components.values()]))
            new.replace(file)
            await asyncio.sleep(STATUS_SECONDS)

    async def _reap(self) -> None:
        """Collect orphans, which become children of PID 1. asyncio waits for the supervised processes itself."""
        ours = {process.pid for process in self._processes.values()}
        with suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid in ours:
                    break
                os.waitpid(found.si_pid, os.WNOHANG)

    async def _renew_certificates(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            if not authorities_valid(self._state):
                log.warning("an authority is not valid, or not for long; `lab down` and `lab up` make a new one")
            elif await asyncio.to_thread(renew_certificates, self._state):
                log.info("certificates renewed; starting %s again", " and ".join(USES_CERTIFICATES))
                for name in USES_CERTIFICATES:
                    await self._processes[name].stop(STOP_SECONDS)


def main() -> int:
    """Run the cluster inside the namespaces that the watchdog made."""
    parser = argparse.ArgumentParser(prog="supervisor", description=__doc__)
    parser.add_argument("state", type=Path, help="state folder of the cluster")
    parser.add_argument("--bin", type=Path, required=True, help="bin folder of the toolchain")
    parser.add_argument("--api-fd", type=int, required=True, help="listening socket of the API server's port")
    parser.add_argument("--http-fd", type=int, required=True, help="listening socket of the ingress's port")
    parser.add_argument("--isolated", action="store_true", help="Pods do not reach hosts outside")
    parser.add_argument("--ports-fd", type=int, required=True, help="channel to the process that opens further ports")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    set_up_namespaces()
    isolated = "`lab up --isolated` started it" if given.isolated else user_network.set_up(given.state / "run")
    api, http = socket.socket(fileno=given.api_fd), socket.socket(fileno=given.http_fd)
    channel = socket.socket(fileno=given.ports_fd)
    for inherited in (api, http, channel):
        inherited.setblocking(False)
        os.set_inheritable(inherited.fileno(), False)
    asyncio.run(Supervisor(given.state, given.bin, api, http, Ports(channel), isolated).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
