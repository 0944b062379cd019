"""The embedded cluster as its users see it: start it, stop it; how it is and what a shell needs are handed on."""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

from embedded import processes
from embedded.control_plane import istio, programs
from embedded.health import Part, Status, ask, connect, memory, running, status
from embedded.kube import ApiError
from embedded.shell import CLONE, ClusterError, environment, make_backend
from embedded.toolchain import build

__all__ = [
    "CLONE",
    "ClusterError",
    "Part",
    "Status",
    "default_state",
    "down",
    "environment",
    "memory",
    "status",
    "up",
]
API_PORT, HTTP_PORT = 16443, 19080
UP_SECONDS = 180.0
DOWN_SECONDS = 20.0
KEEPER_SECONDS = 10.0
STARTS = 4  # of one part during one `up`, after which waiting on is pointless
Progress = Callable[[str], None]


def default_state() -> Path:
    """`$WAYPOINT_LAB_STATE`, or `.lab` of the clone."""
    return Path(os.environ.get("WAYPOINT_LAB_STATE") or CLONE / ".lab").resolve()


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError("another `lab up` or `lab down` of this clone is running; wait for it") from None
        yield


def _listen(port: int, what: str) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise ClusterError(f"127.0.0.1:{port} ({what}) cannot be had: {error.strerror}; choose another port") from None
    return listening


def _check_namespaces() -> None:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    try:
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", *user, "true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    except FileNotFoundError:
        raise ClusterError("the command unshare (util-linux) is missing; install it") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        hint = "" if os.geteuid() == 0 else "; allow unprivileged user namespaces, or run as root"
        raise ClusterError(f"this kernel refuses the namespaces the cluster lives in ({said}){hint}")
    for command in ("ip", "mount", "nsenter"):
        if not shutil.which(command):
            raise ClusterError(f"the command {command} is missing; install iproute2 and util-linux")


def up(state: Path, api_port: int = API_PORT, http_port: int = HTTP_PORT, progress: Progress = print) -> None:
    """Starts the cluster and returns when bookinfo answers through the ingress; at once where it runs already.

    Raises ClusterError in one line; a start that fails leaves no process behind.
    """
    with _locked(state):
        run = state / "run"
        kept = any(processes.read_living(run / role) for role in ("secondary", "primary"))
        if kept and status(state).ready:
            progress("cluster: already running")
            return
        if not kept:
            if running(state):
                progress("cluster: its keepers are gone; starting it anew on the same data")
                _stop(state)
            _start(state, api_port, http_port, progress)
        try:
            asyncio.run(_until_ready(state, progress))
        except BaseException:
            # One that ran before is not ours to end because some part of it is slow.
            if not kept:
                _stop(state)
            raise


def _start(state: Path, api_port: int, http_port: int, progress: Progress) -> None:
    _check_namespaces()
    with _listen(api_port, "API server") as api, _listen(http_port, "ingress") as http:
        try:
            toolchain = build.build()
        except build.ToolchainError as error:
            raise ClusterError(str(error)) from None
        run = state / "run"
        shutil.rmtree(run / "istiod", ignore_errors=True)
        for folder in (run, state / "logs", state / "node"):
            folder.mkdir(mode=0o700, exist_ok=True)
        for left in ("ending", "status.json", "primary", "secondary", "supervisor"):
            (run / left).unlink(missing_ok=True)
        token_file = state / "pki" / "token"
        token = token_file.read_text() if token_file.exists() else secrets.token_urlsafe(32)
        programs.make_credentials(state, token, api_port)
        make_backend(state)
        ports = {"api_port": api_port, "http_port": http_port, "toolchain": str(toolchain)}
        (state / "cluster.json").write_text(json.dumps(ports))
        progress("cluster: starting etcd, API server, controller manager, scheduler, node agent and istiod")
        argv = [sys.executable, "-m", "embedded.supervisor.watchdog", str(state), "--role", "primary"]
        argv += ["--bin", str(toolchain / "bin"), "--share", str(toolchain / "share")]
        argv += ["--api-fd", str(api.fileno()), "--http-fd", str(http.fileno())]
        with (state / "logs" / "keeper.log").open("ab") as out:
            started = subprocess.run(
                [*argv, "--detach"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=CLONE,
                pass_fds=(api.fileno(), http.fileno()),
                start_new_session=True,
                check=False,
                timeout=20,
            )
        if started.returncode:
            raise ClusterError(f"the keeper does not start; see {state / 'logs' / 'keeper.log'}")


async def _until_ready(state: Path, progress: Progress) -> None:
    began, told, applied, last = time.monotonic(), 0.0, False, ""
    starts: dict[str, int] = {}
    async with connect(state) as kube:
        while True:
            now = await ask(state, kube)
            waits = [f"{part.name} ({part.detail})" for part in now.parts if not part.ready]
            for part in now.parts:
                if part.starts - starts.setdefault(part.name, part.starts) >= STARTS and not part.ready:
                    raise ClusterError(_gives_up(state, part))
            parts_ready = bool(now.parts) and all(part.ready for part in now.parts if part.pid)
            if not applied and parts_ready and any(part.name == "istiod" and part.ready for part in now.parts):
                with suppress(ApiError, OSError, aiohttp.ClientError, TimeoutError):
                    await istio.apply_bookinfo(kube)
                    applied = True
                    progress(f"cluster: control plane ready, bookinfo applied ({time.monotonic() - began:.1f} s)")
            if applied and now.ready:
                progress(f"cluster: ready in {time.monotonic() - began:.1f} s")
                return
            passed = time.monotonic() - began
            if passed > KEEPER_SECONDS and not running(state):
                raise ClusterError(f"the keepers ended (see {state / 'logs' / 'keeper.log'}); was {state} removed?")
            last = "; ".join(waits[:3]) or "the keeper to start"
            if passed > UP_SECONDS:
                raise ClusterError(f"not ready after {UP_SECONDS:.0f} s; still waiting for {last}")
            if passed - told > 5:
                told = passed
                progress(f"cluster: {passed:.0f} s, waiting for {last}")
            await asyncio.sleep(0.2)


def _gives_up(state: Path, part: Part) -> str:
    log = state / "logs" / f"{part.name}.log"
    if part.name == "etcd":
        return f"etcd cannot read its data (see {log}); `rm -r {state / 'etcd'}` starts an empty cluster"
    return f"{part.name} ends again and again; see {log}"


def down(state: Path, progress: Progress = print) -> None:
    """Ends every process of the cluster; with them go its namespaces and mounts. Data stays for the next `up`."""
    if not state.exists():
        progress("cluster: not running")
        return
    with _locked(state):
        if not running(state):
            progress("cluster: not running")
            return
        _stop(state)
        progress("cluster: stopped")


def _stop(state: Path) -> None:
    run = state / "run"
    (run / "ending").touch()
    supervisor = processes.read_living(run / "supervisor")
    everything = processes.descendants(supervisor) if supervisor else []
    for name in ("secondary", "primary"):
        if pid := processes.read_living(run / name):
            processes.end(pid, 5)
    supervisor = processes.read_living(run / "supervisor") or supervisor
    for child in [pid for pid in everything if processes.child_namespace_pid(pid) == 1]:
        processes.end(child, DOWN_SECONDS)
    if supervisor:
        processes.end(supervisor, 5)
    if left := processes.wait_until_gone(everything, 10):
        raise ClusterError(f"these processes do not end: {left}")
    for name in ("secondary", "primary", "supervisor", "status.json"):
        (run / name).unlink(missing_ok=True)
