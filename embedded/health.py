"""How a cluster is: every process, every Pod of the lab, and both ports, asked at this moment."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from embedded import processes
from embedded.control_plane import istio
from embedded.kube import ApiError, Kube


@dataclass(frozen=True)
class Part:
    """One part of the cluster: its process id outside (0 where it does not run) and how it is."""

    name: str
    pid: int
    ready: bool
    detail: str
    starts: int = 0  # how often its process was started since the supervisor was


@dataclass(frozen=True)
class Status:
    """How the whole cluster is; `ready` only if every part, every Pod and both ports are."""

    ready: bool
    parts: list[Part]


def running(state: Path) -> list[int]:
    """Those of the keepers and the supervisor that run, by their ids outside; empty where no cluster runs."""
    return [
        pid for name in ("secondary", "primary", "supervisor") if (pid := processes.read_living(state / "run" / name))
    ]


def connect(state: Path) -> Kube:
    """A client of the cluster's API server, as the administrator, through the port on 127.0.0.1."""
    port = json.loads((state / "cluster.json").read_text())["api_port"]
    token = (state / "pki" / "token").read_text()
    return Kube(f"https://127.0.0.1:{port}", ca_file=str(state / "pki" / "ca.crt"), token=token, request_seconds=5)


def status(state: Path) -> Status:
    """How every part is at this moment; nothing is started or changed."""
    if not running(state):
        return Status(False, [])

    async def connected() -> Status:
        async with connect(state) as kube:
            return await ask(state, kube)

    return asyncio.run(connected())


async def ask(state: Path, kube: Kube) -> Status:
    """`status` for those who hold a client already."""
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
    # A killed process that its parent has not collected yet has an id, but no start time.
    living = (pid for pid in processes.descendants(supervisor) if processes.start_time(pid))
    outer = {processes.child_namespace_pid(pid): pid for pid in living}
    for row in rows:
        pid = outer.get(row["pid"], 0) if row["pid"] else 0
        ready = bool(row["ready"]) and (pid != 0 or row["name"] == "mesh")
        parts.append(Part(row["name"], pid, ready, row["detail"], row["starts"]))
    if all(part.ready for part in parts):
        parts.append(await lab_pods(kube))
        parts.append(await _ingress(json.loads((state / "cluster.json").read_text())["http_port"]))
    return Status(all(part.ready for part in parts), parts)


def _keeper_part(run: Path, role: str) -> Part:
    pid = processes.read_living(run / role)
    return Part(f"keeper ({role})", pid, bool(pid), "ready" if pid else "not running")


async def lab_pods(kube: Kube) -> Part:
    """Whether every Pod of the lab's own namespaces is ready."""
    try:
        waits = await istio.pods_not_ready(kube)
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
    everything = set(running(state))
    if supervisor := processes.read_living(state / "run" / "supervisor"):
        everything.update(processes.descendants(supervisor))
    return sum(processes.proportional_memory(pid) for pid in everything)
