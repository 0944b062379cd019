"""Commands of the embedded cluster: start it, stop it, and read its status."""

import asyncio
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded import processes
from embedded.control_plane.credentials import authorities_valid, make_credentials
from embedded.errors import ClusterError, NotReadyError, os_errors_as_cluster_errors
from embedded.health import (
    ClusterStatus,
    ComponentStatus,
    memory,
    ports,
    status,
    watchdog,
)
from embedded.identity import is_embedded, verify_identity
from embedded.machine import check_namespaces
from embedded.project import PROJECT_FOLDER, default_state
from embedded.readiness import Progress, wait_until_ready
from embedded.shell import PROXY_VARIABLES, environment, make_backend
from embedded.toolchain import build

__all__ = [
    "PROJECT_FOLDER",
    "ClusterError",
    "ClusterStatus",
    "ComponentStatus",
    "default_state",
    "down",
    "environment",
    "is_embedded",
    "memory",
    "ports",
    "status",
    "up",
    "verify_identity",
]
API_PORT, HTTP_PORT = 16443, 19080
DOWN_SECONDS = 20.0
WATCHDOG_SECONDS = 20.0
DISK_NEEDED = 256 * 2**20  # bytes; etcd alone reserves 64 MiB for each file of its log


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    with os_errors_as_cluster_errors(state):
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ClusterError("another `lab up` or `lab down` of this project is running; wait for it") from None
            yield


def _listen(port: int, purpose: str) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=256)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ClusterError(f"127.0.0.1:{port} ({purpose}): {reason}; choose another port") from None


def up(
    state: Path,
    api_port: int | None = None,
    http_port: int | None = None,
    progress: Progress = print,
    *,
    isolated: bool = False,
) -> None:
    """Start the cluster and wait until bookinfo answers through the ingress. Do nothing if it is ready already.

    Args:
        state: State folder; a cluster that ran there before comes back with its data.
        api_port: Port of the API server on 127.0.0.1; None means API_PORT, or the one of a cluster that runs.
        http_port: Port of the ingress on 127.0.0.1; None means HTTP_PORT, or the one of a cluster that runs.
        progress: Called with lines for the user.
        isolated: Pods do not reach hosts outside the cluster.

    Raises:
        NotReadyError: The cluster runs, but a Pod or bookinfo is not ready.
        ClusterError: The cluster does not start, and no process is left behind; or it runs with other settings, or with
            an authority that is not valid.
    """
    with _locked(state):
        running = bool(watchdog(state))
        if running:
            _check_settings(state, api_port, http_port, isolated)
            if not authorities_valid(state):
                raise ClusterError(
                    f"{state / 'pki'}: an authority is damaged, from the future or about to expire; "
                    "run `lab down` and `lab up`"
                )
            if status(state).ready:
                progress("cluster: already running")
                return
        try:
            if not running:
                api, http = API_PORT if api_port is None else api_port, HTTP_PORT if http_port is None else http_port
                _start(state, api, http, progress, isolated)
            asyncio.run(wait_until_ready(state, progress))
        except BaseException as error:
            # A cluster that ran before is not ended because one component is slow, nor one that its user can repair.
            if not running and not isinstance(error, NotReadyError):
                _stop(state)
            raise


def _check_settings(state: Path, api_port: int | None, http_port: int | None, isolated: bool) -> None:
    """Check that the cluster runs with the settings that `up` is given."""
    api, http = ports(state)
    other = [f"--api-port {api_port}"] * (api_port not in (None, api))
    other += [f"--http-port {http_port}"] * (http_port not in (None, http))
    other += ["--isolated"] * (isolated and not json.loads((state / "cluster.json").read_text()).get("isolated"))
    if other:
        raise ClusterError(f"the cluster runs without {' and '.join(other)}; run `lab down` first")


def _start(state: Path, api_port: int, http_port: int, progress: Progress, isolated: bool) -> None:
    run, log = state / "run", state / "logs" / "supervisor.log"
    if supervisor := processes.read_living(run / "supervisor"):
        processes.wait_until_gone([supervisor], DOWN_SECONDS)  # its watchdog ended a moment ago
    check_namespaces()
    free = shutil.disk_usage(state).free
    if free < DISK_NEEDED:
        raise ClusterError(f"{state}: {free / 2**20:.0f} MiB of disk are free; free {DISK_NEEDED / 2**20:.0f} MiB")
    with _listen(api_port, "API server") as api, _listen(http_port, "ingress") as http:
        try:
            toolchain = build.build()
        except build.ToolchainError as error:
            raise ClusterError(str(error)) from None
        shutil.rmtree(run / "istiod", ignore_errors=True)
        for folder in (run, state / "logs", state / "node"):
            folder.mkdir(mode=0o700, exist_ok=True)
        for file in ("status.json", "watchdog", "supervisor"):
            (run / file).unlink(missing_ok=True)
        make_credentials(state, api_port)
        make_backend(state)
        settings = {"api_port": api_port, "http_port": http_port, "isolated": isolated, "toolchain": str(toolchain)}
        (state / "cluster.json").write_text(json.dumps(settings))
        progress("cluster: starting etcd, API server, controller manager, scheduler, node agent and istiod")
        sockets = (api.fileno(), http.fileno())
        argv = [sys.executable, "-m", "embedded.supervisor.watchdog", "--bin", str(toolchain / "bin")]
        argv += [*["--isolated"] * isolated, str(state)]
        with log.open("ab") as out:
            started = subprocess.run(
                [*argv, "--api-fd", str(sockets[0]), "--http-fd", str(sockets[1])],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                # The cluster only has connections inside its own network namespace, where no proxy can be reached.
                env={name: value for name, value in os.environ.items() if name not in PROXY_VARIABLES},
                pass_fds=sockets,
                start_new_session=True,
                check=False,
                timeout=WATCHDOG_SECONDS,
            )
        if started.returncode:
            raise ClusterError(f"the watchdog does not start; see {log}")


def down(state: Path, progress: Progress = print) -> None:
    """End every process of the cluster, and with them its namespaces and mounts. The next `up` has the same data.

    Raises:
        ClusterError: Another command starts or stops the cluster, or a process does not end.
    """
    if not state.exists():
        progress("cluster: not running")
        return
    with _locked(state):
        running = bool(watchdog(state))
        if running:
            _stop(state)
    progress("cluster: stopped" if running else "cluster: not running")


def _stop(state: Path) -> None:
    everything = processes.descendants(watchdog(state))
    if everything:
        processes.end(everything[0], DOWN_SECONDS)
    if left := processes.wait_until_gone(everything, 10):
        raise ClusterError(f"processes {left} do not end; end them with kill -9")
    for file in ("watchdog", "supervisor", "status.json"):
        (state / "run" / file).unlink(missing_ok=True)
