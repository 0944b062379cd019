"""The user network: connections of Pods to hosts outside the cluster, made by a program of the user's outside it.

A tap device leads from the network namespace to the program, over a Unix socket. It makes the connections itself, so
that Pods reach what the user reaches, and no address of 127.0.0.0/8.
"""

import subprocess
import time
from pathlib import Path

from embedded import processes
from embedded.control_plane.addresses import GATEWAY_DEVICE, GATEWAY_IP, NODE_IP, POD_CIDR

GATEWAY_MAC = "5a:94:ef:e4:0c:dd"
DEVICE_MAC = "5a:94:ef:e4:0c:ee"  # the same after a restart of the supervisor: the gateway remembers it
SOCKET = "user-network"
LINK = Path("/run/cluster")  # inside: the folder of the socket; the path of a socket has at most 107 bytes
TUN = Path("/dev/net/tun")
RESTART_SECONDS = 1.0


def start(bin_dir: Path, run: Path, file: Path) -> int:
    """Keep the program running outside the namespaces, in a child that ends with the caller. Return the child's id.

    Args:
        bin_dir: `bin` folder of the toolchain.
        run: Folder of the socket.
        file: Log of the program.
    """
    where = ("-subnet", POD_CIDR, "-gateway", GATEWAY_IP, "-mac", GATEWAY_MAC)
    command = [str(bin_dir / "user_network"), "-socket", SOCKET, *where, "serve"]

    def work() -> None:
        while True:
            (run / SOCKET).unlink(missing_ok=True)
            with file.open("ab") as out:
                subprocess.run(
                    command, cwd=run, stdout=out, stderr=out, check=False, preexec_fn=processes.die_with_parent
                )
            time.sleep(RESTART_SECONDS)

    return processes.start_child("user network", work)


def set_up(run: Path) -> str:
    """Set up the tap device and the default route in the network namespace.

    Args:
        run: Folder of the socket.

    Returns:
        The reason why this machine cannot; empty where it can.
    """
    if not TUN.exists():
        return f"this machine has no {TUN}"
    LINK.symlink_to(run)
    commands = (
        f"ip tuntap add dev {GATEWAY_DEVICE} mode tap",
        f"ip link set {GATEWAY_DEVICE} address {DEVICE_MAC} up",
        f"ip route add default via {GATEWAY_IP} dev {GATEWAY_DEVICE} onlink src {NODE_IP}",
    )
    for command in commands:
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"{command} failed"])[-1]
    # The gateway asks for the link addresses of Pods; the node answers for them.
    Path("/proc/sys/net/ipv4/conf", GATEWAY_DEVICE, "proxy_arp").write_text("1")
    return ""
