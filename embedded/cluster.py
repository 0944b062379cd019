"""The embedded cluster as its users see it: start it, stop it, ask how it is, and what a shell needs to use it."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from embedded import control_plane, mesh, processes
from embedded.kube import ApiError, Kube
from embedded.pki import write_private
from embedded.toolchain import build

CLONE = Path(__file__).resolve().parents[1]
API_PORT, HTTP_PORT = 16443, 19080
UP_SECONDS = 180.0
DOWN_SECONDS = 20.0
Progress = Callable[[str], None]


class ClusterError(Exception):
    """The cluster cannot be started, stopped or used; the message is one line that says why and what would help."""


@dataclass(frozen=True)
class Part:
    """One part of the cluster: its process id outside (0 where it does not run) and how it is."""

    name: str
    pid: int
    ready: bool
    detail: str


@dataclass(frozen=True)
class Status:
    """How the whole cluster is; `ready` only if every part, every Pod and both ports are."""

    ready: bool
    parts: list[Part]


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


def _running(state: Path) -> list[int]:
    return [
        pid for name in ("secondary", "primary", "supervisor") if (pid := processes.read_living(state / "run" / name))
    ]


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
            if _running(state):
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
        for folder in (run, state / "logs", state / "pulumi", state / "node"):
            folder.mkdir(mode=0o700, exist_ok=True)
        for left in ("ending", "status.json", "primary", "secondary", "supervisor"):
            (run / left).unlink(missing_ok=True)
        token_file = state / "pki" / "token"
        token = token_file.read_text() if token_file.exists() else secrets.token_urlsafe(32)
        control_plane.make_credentials(state, token, api_port)
        if not (state / "passphrase").exists():
            write_private(state / "passphrase", secrets.token_urlsafe(24).encode())
        ports = {"api_port": api_port, "http_port": http_port, "toolchain": str(toolchain)}
        (state / "cluster.json").write_text(json.dumps(ports))
        progress("cluster: starting etcd, API server, controller manager, scheduler, node agent and istiod")
        argv = [sys.executable, "-m", "embedded.keeper", str(state), "--role", "primary"]
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
    async with _kube(state) as kube:
        while True:
            now = await _status(state, kube)
            waits = [f"{part.name} ({part.detail})" for part in now.parts if not part.ready]
            parts_ready = bool(now.parts) and all(part.ready for part in now.parts if part.pid)
            if not applied and parts_ready and any(part.name == "istiod" and part.ready for part in now.parts):
                with suppress(ApiError, OSError, aiohttp.ClientError, TimeoutError):
                    await mesh.apply_bookinfo(kube)
                    applied = True
                    progress(f"cluster: control plane ready, bookinfo applied ({time.monotonic() - began:.1f} s)")
            if applied and now.ready:
                progress(f"cluster: ready in {time.monotonic() - began:.1f} s")
                return
            passed = time.monotonic() - began
            last = "; ".join(waits[:3]) or "the keeper to start"
            if passed > UP_SECONDS:
                raise ClusterError(f"not ready after {UP_SECONDS:.0f} s; still waiting for {last}")
            if passed - told > 5:
                told = passed
                progress(f"cluster: {passed:.0f} s, waiting for {last}")
            await asyncio.sleep(0.2)


def _kube(state: Path) -> Kube:
    port = json.loads((state / "cluster.json").read_text())["api_port"]
    token = (state / "pki" / "token").read_text()
    return Kube(f"https://127.0.0.1:{port}", ca_file=str(state / "pki" / "ca.crt"), token=token, request_seconds=5)


def status(state: Path) -> Status:
    """How every part is at this moment; nothing is started or changed."""
    if not _running(state):
        return Status(False, [])

    async def ask() -> Status:
        async with _kube(state) as kube:
            return await _status(state, kube)

    return asyncio.run(ask())


async def _status(state: Path, kube: Kube) -> Status:
    run = state / "run"
    parts = [_keeper_part(run, "primary"), _keeper_part(run, "secondary")]
    supervisor = processes.read_living(run / "supervisor")
    parts.append(Part("supervisor", supervisor, bool(supervisor), "ready" if supervisor else "not running"))
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError):
        file = run / "status.json"
        if supervisor and time.time() - file.stat().st_mtime < 5:
            rows = json.loads(file.read_text())["parts"]
    if not rows:
        return Status(False, [*parts, Part("parts", 0, False, "the supervisor has not reported yet")])
    outer = {processes.inner_pid(pid): pid for pid in processes.descendants(supervisor)}
    for row in rows:
        pid = outer.get(row["pid"], 0) if row["pid"] else 0
        ready = bool(row["ready"]) and (pid != 0 or row["name"] == "mesh")
        parts.append(Part(row["name"], pid, ready, row["detail"]))
    if all(part.ready for part in parts):
        parts.append(await _pods(kube))
        parts.append(await _ingress(json.loads((state / "cluster.json").read_text())["http_port"]))
    return Status(all(part.ready for part in parts), parts)


def _keeper_part(run: Path, role: str) -> Part:
    pid = processes.read_living(run / role)
    return Part(f"keeper ({role})", pid, bool(pid), "ready" if pid else "not running")


async def _pods(kube: Kube) -> Part:
    try:
        waits = await mesh.pods_not_ready(kube)
        if not waits and not await kube.get("/api/v1/namespaces/bookinfo-backends"):
            waits = ["bookinfo is not applied"]
    except (ApiError, OSError, aiohttp.ClientError, TimeoutError) as error:
        return Part("pods", 0, False, f"the API server does not answer: {error!r}")
    return Part("pods", 0, not waits, "ready" if not waits else "; ".join(waits[:3]))


async def _ingress(port: int) -> Part:
    url = f"http://127.0.0.1:{port}/productpage"
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            detail = "ready" if answer.status == 200 else f"{url} answers {answer.status}"
            return Part("ingress", 0, answer.status == 200, detail)
    except (OSError, aiohttp.ClientError, TimeoutError) as error:
        return Part("ingress", 0, False, f"{url}: {error!r}")


def memory(state: Path) -> int:
    """Bytes that all processes of the cluster use together, a shared page counted once (PSS); 0 where none runs."""
    everything = set(_running(state))
    if supervisor := processes.read_living(state / "run" / "supervisor"):
        everything.update(processes.descendants(supervisor))
    return sum(processes.proportional_memory(pid) for pid in everything)


def down(state: Path, progress: Progress = print) -> None:
    """Ends every process of the cluster; with them go its namespaces and mounts. Data stays for the next `up`."""
    if not state.exists():
        progress("cluster: not running")
        return
    with _locked(state):
        if not _running(state):
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
    for child in [pid for pid in everything if processes.inner_pid(pid) == 1]:
        processes.end(child, DOWN_SECONDS)
    if supervisor:
        processes.end(supervisor, 5)
    if left := processes.wait_until_gone(everything, 10):
        raise ClusterError(f"these processes do not end: {left}")
    for name in ("secondary", "primary", "supervisor", "status.json"):
        (run / name).unlink(missing_ok=True)


def environment(state: Path) -> dict[str, str]:
    """The variables a shell needs to use this cluster and its stacks. Raises ClusterError before the first up."""
    try:
        toolchain = Path(json.loads((state / "cluster.json").read_text())["toolchain"])
    except (OSError, ValueError, KeyError):
        raise ClusterError("the cluster was never started here; run `lab up` first") from None
    path = [str(toolchain / "bin"), str(CLONE / ".venv" / "bin"), os.environ.get("PATH", os.defpath)]
    # Last: the official plugins win wherever they are installed.
    path.append(str(CLONE / "embedded" / "plugins" / "bin"))
    return {
        "PATH": os.pathsep.join(path),
        "KUBECONFIG": str(state / "kubeconfig"),
        "PULUMI_BACKEND_URL": f"file://{state / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(state / "passphrase"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_HOME": str(state / "pulumi-home"),
    }
