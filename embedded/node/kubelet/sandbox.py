"""A Pod's namespaces and its network: a veth pair, addresses of one host each, and routes over the node."""

import asyncio
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from embedded.node.config import NodeConfig
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import Process

FIRST_OFFSET = 256  # 10.244.1.0: lower addresses belong to the node
COMMAND_SECONDS = 10


class SandboxError(Exception):
    """A Pod's network could not be set up."""


async def command(*argv: str, given: str = "") -> str:
    """Run a system command with `given` on its standard input; return its output.

    Raises:
        SandboxError: The command fails or takes too long; the message has the first line of its output.
    """
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, _ = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SandboxError(f"{argv[0]} did not end within {COMMAND_SECONDS} s") from None
    text = output.decode(errors="replace").strip()
    if process.returncode:
        raise SandboxError(f"{' '.join(argv)}: {text.splitlines()[0] if text else process.returncode}")
    return text


class Addresses:
    """Allocator of Pod addresses.

    An address is reused as late as possible, because caches may still name its old owner.
    """

    def __init__(self, pod_cidr: str) -> None:
        """Allocate from the 256th address of `pod_cidr` on."""
        self._network = ipaddress.ip_network(pod_cidr)
        self._used: set[str] = set()
        self._last = FIRST_OFFSET

    def take(self, wanted: str | None = None) -> str:
        """Return a free address: `wanted` if that is free.

        Raises:
            SandboxError: All addresses are in use.
        """
        if wanted and wanted not in self._used and ipaddress.ip_address(wanted) in self._network:
            self._used.add(wanted)
            return wanted
        size = self._network.num_addresses
        for _ in range(size):
            self._last = self._last + 1 if self._last + 2 < size else FIRST_OFFSET + 1
            address = str(self._network[self._last])
            if address not in self._used:
                self._used.add(address)
                return address
        raise SandboxError("no Pod address is left")

    def reserve(self, address: str) -> None:
        """Keep this address free for the Pod that had it: new Pods get later ones."""
        offset = int(ipaddress.ip_address(address)) - int(self._network.network_address)
        self._last = max(self._last, offset)

    def give_back(self, address: str) -> None:
        """Release the address."""
        self._used.discard(address)


@dataclass
class Sandbox:
    """A Pod's first process, its address, and the name of the node's end of its veth pair."""

    pause: Process
    ip: str
    link: str


async def create(
    config: NodeConfig, launcher: LauncherClient, hostname: str, ip: str, sysctls: dict[str, str]
) -> Sandbox:
    """Start the Pod's namespaces and connect them with `ip`; `sysctls` apply to its network.

    Raises:
        SandboxError: The network cannot be set up; nothing is left behind.
    """
    pause = await launcher.pause(hostname, sysctls)
    link = "veth" + "".join(f"{int(part):02x}" for part in ip.split("."))
    sandbox = Sandbox(pause, ip, link)
    try:
        inner = [
            "link set lo up",
            f"addr add {ip}/32 dev eth0",
            "link set eth0 up",
            f"route add {config.node_ip}/32 dev eth0 scope link src {ip}",
            f"route add default via {config.node_ip} dev eth0 src {ip}",
        ]
        outer = [
            f"link add {link} type veth peer name eth0 netns {pause.pid}",
            f"link set {link} up",
            f"route replace {ip}/32 dev {link}",
        ]
        await command("ip", "-batch", "-", given="\n".join(outer) + "\n")
        await command("nsenter", f"--net=/proc/{pause.pid}/ns/net", "ip", "-batch", "-", given="\n".join(inner) + "\n")
    except BaseException:
        await destroy(launcher, sandbox)
        raise
    return sandbox


async def destroy(launcher: LauncherClient, sandbox: Sandbox) -> None:
    """End every process of the Pod and remove its network."""
    await launcher.kill(sandbox.pause)
    async with asyncio.timeout(COMMAND_SECONDS):
        await sandbox.pause.wait()
    # The kernel removes both ends with the namespace, but only after a while.
    if Path(f"/proc/sys/net/ipv4/conf/{sandbox.link}").exists():  # /sys shows another network namespace
        try:
            await command("ip", "link", "delete", sandbox.link)
        except SandboxError:
            return  # gone in between


def prepare_node() -> None:
    """Turn on forwarding between Pods."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
