"""`python -m embedded.node --bin FOLDER STATE`: kubelet, node proxy and DNS in one process, inside the node."""

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

from embedded.kube import Kube
from embedded.node import dns
from embedded.node.config import NodeConfig, NodeConfigError
from embedded.node.kubelet.kubelet import Kubelet
from embedded.node.kubelet.server import KubeletServer
from embedded.node.launcher.process import LauncherGone
from embedded.node.proxy import controller as proxy


async def serve(config: NodeConfig) -> None:
    """Run kubelet, node proxy and DNS until one of them fails or a signal arrives."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Kube(config.api, ca_file=config.ca_file, token=config.token) as kube:
        kubelet = Kubelet(config, kube)
        servers = [kubelet.run(), KubeletServer(kubelet).run(), proxy.run(config, kube), dns.run(config, kube)]
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(each) for each in (*servers, stop.wait())]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


def main() -> int:
    """Run the node agent; return 0 after a signal, 2 without a token, else 1."""
    parser = argparse.ArgumentParser(prog="embedded.node", description=__doc__)
    parser.add_argument("state", type=Path, help="state folder of the cluster")
    parser.add_argument("--bin", type=Path, required=True, help="bin folder of the toolchain")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(NodeConfig.of(given.state, given.bin)))
    except NodeConfigError as error:
        print(f"embedded.node: {error}", file=sys.stderr)
        return 2
    except ExceptionGroup as group:
        gone = group.subgroup(LauncherGone)
        if gone is None:
            raise
        print(f"embedded.node: {gone.exceptions[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
