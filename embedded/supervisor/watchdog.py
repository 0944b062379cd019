"""Watchdog of one cluster: starts its supervisor in namespaces of its own, and restarts it when it ends.

The kernel ends the supervisor together with the watchdog, and all processes of the namespaces together with the
supervisor. SIGTERM ends the cluster in order.
"""

import argparse
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from embedded import processes
from embedded.supervisor import ports, user_network

RESTART_SECONDS = 0.5


def watch(argv: list[str], identity: Path) -> None:
    """Keep the supervisor running until SIGTERM.

    Args:
        argv: Command line of the supervisor.
        identity: File for the identity of the running supervisor.
    """
    # Blocked signals are waited for in turn, so that none is lost between two statements.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    while True:
        supervisor = processes.start_in_namespaces(argv)
        with suppress(OSError):  # a full disk must not end the cluster
            processes.write_identity(identity, supervisor)
        while not os.waitpid(supervisor, os.WNOHANG)[0]:
            if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
                os.kill(supervisor, signal.SIGTERM)
                os.waitpid(supervisor, 0)
                return
        if signal.sigtimedwait({signal.SIGTERM}, RESTART_SECONDS):
            return


def main() -> int:
    """Detach from the caller, which returns at once, and watch the supervisor."""
    parser = argparse.ArgumentParser(prog="watchdog", description=__doc__)
    parser.add_argument("state", type=Path, help="state folder of the cluster")
    parser.add_argument("--bin", type=Path, required=True, help="bin folder of the toolchain")
    parser.add_argument("--isolated", action="store_true", help="Pods do not reach hosts outside")
    parser.add_argument("supervisor", nargs=argparse.REMAINDER, help="further arguments of the supervisor")
    given = parser.parse_args()
    run = given.state / "run"
    if watchdog := os.fork():
        processes.write_identity(run / "watchdog", watchdog)
        return 0
    if not given.isolated:
        user_network.start(given.bin, run, given.state / "logs" / "user-network-outside.log")
    with ports.start() as channel:
        channel.set_inheritable(True)
        argv = [sys.executable, "-m", "embedded.supervisor.supervisor", str(given.state), "--bin", str(given.bin)]
        argv += ["--isolated"] * given.isolated + given.supervisor
        watch([*argv, "--ports-fd", str(channel.fileno())], run / "supervisor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
