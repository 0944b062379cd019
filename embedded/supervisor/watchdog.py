"""Two processes outside the cluster's namespaces that keep its supervisor, and each other, alive.

The primary owns the supervisor; the secondary only watches the primary. Each is started again by the other, and a
supervisor that still runs is adopted, so that killing any one of the three interrupts as little as can be. Both hold
the listening sockets: they were opened in the machine's own network namespace and cannot be opened from inside.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from embedded import processes

RESTART_SECONDS = 0.5


class Keeper:
    """One of the two keepers of the cluster in `state`."""

    def __init__(self, given: argparse.Namespace) -> None:
        """`given` is what the command line said."""
        self._given = given
        self._run: Path = given.state / "run"

    def ending(self) -> bool:
        """True once somebody asked for the end: nothing is started again then."""
        return (self._run / "ending").exists()

    def _own_arguments(self) -> list[str]:
        given = self._given
        return [
            str(given.state),
            *("--bin", str(given.bin), "--share", str(given.share)),
            *("--api-fd", str(given.api_fd), "--http-fd", str(given.http_fd)),
        ]

    def _spawn(self, log: str, argv: list[str], identity: str) -> int:
        with (self._given.state / "logs" / log).open("ab") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=(self._given.api_fd, self._given.http_fd),
                start_new_session=True,
            )
        processes.write_identity(self._run / identity, process.pid)
        return process.pid

    def _supervisor(self) -> int:
        running = processes.read_living(self._run / "supervisor")
        if running:
            return running
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            unshare += ["--user", "--map-root-user"]
        argv = [*unshare, sys.executable, "-m", "embedded.supervisor.supervisor", *self._own_arguments()]
        return self._spawn("supervisor.log", argv, "supervisor")

    def _partner(self) -> int:
        other = "primary" if self._given.role == "secondary" else "secondary"
        running = processes.read_living(self._run / other)
        if running:
            return running
        argv = [sys.executable, "-m", "embedded.supervisor.watchdog", *self._own_arguments(), "--role", other]
        return self._spawn("keeper.log", argv, other)

    def run(self) -> None:
        """Until the end is asked for."""
        while not self.ending():
            watched = [self._partner()]
            if self._given.role == "primary":
                watched.append(self._supervisor())
            processes.wait_any(watched)
            # Children that ended and were not the one waited for would stay as zombies otherwise.
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(RESTART_SECONDS)


def main() -> int:
    """Keeps until told to end."""
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("state", type=Path)
    parser.add_argument("--role", choices=("primary", "secondary"), required=True)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--share", type=Path, required=True)
    parser.add_argument("--api-fd", type=int, required=True)
    parser.add_argument("--http-fd", type=int, required=True)
    parser.add_argument(
        "--detach", action="store_true", help="return at once; whoever started it has no child to wait for"
    )
    given = parser.parse_args()
    written, tell = os.pipe()
    if given.detach and os.fork():
        os.close(tell)
        return 0 if os.read(written, 1) else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    processes.write_identity(given.state / "run" / given.role, os.getpid())
    with suppress(BrokenPipeError):
        os.write(tell, b"1")
    os.close(written)
    os.close(tell)
    Keeper(given).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
