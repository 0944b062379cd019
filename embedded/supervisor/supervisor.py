"""The first process of the cluster's namespaces: starts every part, starts again what ends, relays the user's ports.

It is PID 1 of its PID namespace, so when it ends the kernel ends everything it started: nothing can be left behind.
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
from contextlib import suppress
from pathlib import Path

from embedded.control_plane import istio, programs
from embedded.control_plane.programs import API, NODE_IP, Program
from embedded.kube import ApiError, Kube
from embedded.supervisor.process import Part
from embedded.supervisor.relay import Relay

STATUS_SECONDS = 0.5
log = logging.getLogger("supervisor")


def set_up_network() -> None:
    """Gives the node its address, and makes every Service address one of the node's own ("AnyIP")."""
    commands = (
        "ip link set lo up",
        f"ip addr add {NODE_IP}/32 dev lo",
        f"ip route add local {programs.SERVICE_CIDR} dev lo",
    )
    for command in commands:
        subprocess.run(command.split(), check=True)
    for name in ("net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding"):
        with suppress(OSError):
            Path("/proc/sys", name).write_text("1")


def private_run() -> None:
    """A tmpfs of our own over /run, invisible to the machine (the mount namespace is private)."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"], check=True)


def node_program(state: Path, share: Path, bin_dir: Path) -> Program:
    """The node agent: kubelet part, node proxy and DNS."""
    pki = state / "pki"
    config = {
        "api": API,
        "ca_file": str(pki / "ca.crt"),
        "token_file": str(pki / "token"),
        "node_name": programs.CONTEXT,
        "node_ip": NODE_IP,
        "pod_cidr": programs.POD_CIDR,
        "service_cidr": programs.SERVICE_CIDR,
        "state_dir": str(state / "node"),
        "kubelet_port": 10250,
        "kubelet_cert": str(pki / "kubelet.crt"),
        "kubelet_key": str(pki / "kubelet.key"),
        "mesh_ca_cert": str(pki / "cacerts" / "mesh.crt"),
        "mesh_ca_key": str(pki / "cacerts" / "mesh.key"),
        "cluster_domain": programs.DOMAIN,
        "toolchain_bin": str(bin_dir),
        "toolchain_share": str(share),
    }
    file = state / "node" / "config.json"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.write_text(json.dumps(config, indent=1))
    argv = [sys.executable, "-m", "embedded.node", "--config", str(file)]
    return Program("node-agent", argv, f"{NODE_IP}:10250", needs=("kube-apiserver",))


class Supervisor:
    """All parts of one cluster."""

    def __init__(self, state: Path, bin_dir: Path, share: Path, api: socket.socket, http: socket.socket) -> None:
        """`api` and `http` listen on the machine's 127.0.0.1."""
        self._state, self._share = state, share
        self._api, self._http = Relay(api, (NODE_IP, 6443)), Relay(http, None)
        self.parts: dict[str, Part] = {}
        mesh_part = Part(Program("mesh", [], "", needs=("kube-apiserver",)), state / "logs", self.parts)
        self.parts["mesh"] = mesh_part
        for program in (*programs.programs(state, bin_dir), node_program(state, share, bin_dir)):
            self.parts[program.name] = Part(program, state / "logs", self.parts)

    async def run(self) -> None:
        """Until SIGTERM."""
        ending = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ending.set)
        tasks = [asyncio.create_task(part.keep()) for name, part in self.parts.items() if name != "mesh"]
        tasks += [
            asyncio.create_task(work)
            for work in (self._api.serve(), self._http.serve(), self._mesh(), self._report(), self._reap())
        ]
        stop = asyncio.create_task(ending.wait())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            log.error("a part of the supervisor failed: %r", task.exception())
        for task in tasks:
            task.cancel()
        await self._end()

    async def _mesh(self) -> None:
        part = self.parts["mesh"]
        await self.parts["kube-apiserver"].ready.wait()
        token = (self._state / "pki" / "token").read_text()
        async with Kube(API, ca_file=str(self._state / "pki" / "ca.crt"), token=token) as kube:
            while not part.ready.is_set():
                try:
                    await istio.install(kube, self._share, self._state / "run")
                    part.ready.set()
                    part.detail = "ready"
                except (ApiError, OSError, TimeoutError) as error:
                    part.detail = f"installing: {error}"
                    await asyncio.sleep(0.5)
            while True:
                with suppress(ApiError, OSError, TimeoutError):
                    self._http.where = await istio.ingress_address(kube)
                await asyncio.sleep(1 if self._http.where is None else 5)

    async def _report(self) -> None:
        file = self._state / "run" / "status.json"
        while True:
            rows = [
                {
                    "name": name,
                    "pid": part.pid,
                    "ready": part.ready.is_set(),
                    "detail": part.detail,
                    "starts": part.starts,
                }
                for name, part in self.parts.items()
            ]
            new = file.with_suffix(".new")
            new.write_text(json.dumps({"parts": rows}))
            new.replace(file)
            await asyncio.sleep(STATUS_SECONDS)

    async def _reap(self) -> None:
        """Orphans of Pods become ours; asyncio waits for our own children itself."""
        while True:
            ours = {part.pid for part in self.parts.values()}
            with suppress(ChildProcessError):
                while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                    if found.si_pid in ours:
                        break
                    os.waitpid(found.si_pid, os.WNOHANG)
            await asyncio.sleep(1)

    async def _end(self) -> None:
        """The node agent first, so that Pods end in order; the store last."""
        for name in ("node-agent", "istiod", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            process = self.parts[name].process
            if process is None or process.returncode is not None:
                continue
            with suppress(ProcessLookupError):
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 5 if name == "node-agent" else 3)
                except TimeoutError:
                    process.kill()


def main() -> int:
    """Runs the cluster inside namespaces that the keeper made."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("state", type=Path)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--share", type=Path, required=True)
    parser.add_argument("--api-fd", type=int, required=True)
    parser.add_argument("--http-fd", type=int, required=True)
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    set_up_network()
    private_run()
    api, http = socket.socket(fileno=given.api_fd), socket.socket(fileno=given.http_fd)
    for listening in (api, http):
        listening.setblocking(False)
        os.set_inheritable(listening.fileno(), False)
    asyncio.run(Supervisor(given.state, given.bin, given.share, api, http).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
