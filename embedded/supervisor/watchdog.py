"""Watchdog of one cluster: starts its supervisor in namespaces of its own and its helpers outside, and restarts them.

The kernel ends the supervisor together with the watchdog, and all processes of the namespaces together with the
supervisor. SIGTERM ends the cluster in order.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from embedded import processes
from embedded.supervisor import ports, user_network

RESTART_SECONDS = 0.5
Start = Callable[[], int]  # starts a child of the caller, and returns its id


def restart_ended(helpers: dict[int, Start]) -> None:
    """Start the helpers again that have ended."""
    for pid in [pid for pid in helpers if os.waitpid(pid, os.WNOHANG)[0]]:
        time.sleep(RESTART_SECONDS)
        start = helpers.pop(pid)
        helpers[start()] = start


def watch(argv: list[str], identity: Path, helpers: Iterable[Start]) -> None:
    """Keep the supervisor and the helpers running until SIGTERM.

    Args:
        argv: Command line of the supervisor.
        identity: File for the identity of the running supervisor.
        helpers: Starts of the processes that the supervisor needs outside.
    """
    # Blocked signals are waited for in turn, so that none is lost between two statements.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    running = {start(): start for start in helpers}
    while True:
        supervisor = processes.start_in_namespaces(argv)
        with suppress(OSError):  # a full disk must not end the cluster
            processes.write_identity(identity, supervisor)
        while not os.waitpid(supervisor, os.WNOHANG)[0]:
            if signal.sigwait({signal.SIGTERM, signal.SIGCHLD}) == signal.SIGTERM:
                os.kill(supervisor, signal.SIGTERM)
                os.waitpid(supervisor, 0)
                return
            restart_ended(running)
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
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # `watch` takes it
    reading, writing = os.pipe()
    if watchdog := os.fork():
        processes.write_identity(run / "watchdog", watchdog)
        os.write(writing, b"1")
        return 0
    os.close(writing)
    known = os.read(reading, 1)
    os.close(reading)
    if not known:
        return 1  # the parent was killed first, by Ctrl-C of `lab up`: nobody would find this watchdog
    ours, theirs = ports.channel()
    ours.set_inheritable(True)
    helpers = [partial(ports.start, ours, theirs)]
    if not given.isolated:
        log = given.state / "logs" / "user-network-outside.log"
        helpers.append(partial(user_network.start, given.bin, run, log))
    argv = [sys.executable, "-m", "embedded.supervisor.supervisor", str(given.state), "--bin", str(given.bin)]
    argv += ["--isolated"] * given.isolated + given.supervisor
    watch([*argv, "--ports-fd", str(ours.fileno())], run / "supervisor", helpers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
