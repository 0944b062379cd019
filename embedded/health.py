"""Status of the cluster: every process, the Pods of the lab and both ports, read at this moment."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from embedded import processes
from embedded.control_plane import admission, istio
from embedded.errors import ClusterError, os_errors_as_cluster_errors
from embedded.kube import FAULTS, Kube

STATUS_FILE_SECONDS = 5.0  # the supervisor writes it every half second
REQUEST_SECONDS = 5.0
LAYER_4 = "layer-4 policies"


@dataclass(frozen=True)
class ComponentStatus:
    """Status of one component.

    Attributes:
        name: Name of the component.
        pid: Process id outside the cluster; 0 if it is not a process or does not run.
        ready: True if the component does its work.
        detail: `ready`, or the reason why it is not.
        starts: Number of starts of its process since the supervisor's own.
    """

    name: str
    pid: int
    ready: bool
    detail: str
    starts: int = 0

    @property
    def limited(self) -> bool:
        """True for a component that is ready, and whose detail says what this machine or the user left out."""
        return self.ready and self.detail != "ready"


@dataclass(frozen=True)
class ClusterStatus:
    """Status of the cluster: ready if all its components are. No components mean that it does not run."""

    ready: bool
    components: list[ComponentStatus]


def watchdog(state: Path) -> int:
    """Return the process id of the cluster's watchdog; 0 if the cluster does not run."""
    return processes.read_living(state / "run" / "watchdog")


def ports(state: Path) -> tuple[int, int]:
    """Return the ports of the API server and of the ingress on 127.0.0.1.

    Raises:
        ClusterError: The cluster was never started.
    """
    try:
        known = json.loads((state / "cluster.json").read_text())
        return int(known["api_port"]), int(known["http_port"])
    except (OSError, ValueError, KeyError):
        raise ClusterError(f"{state / 'cluster.json'}: missing or damaged; run `lab down` and `lab up`") from None


def connect(state: Path) -> Kube:
    """Return a client of the cluster's API server, as the administrator, through the port on 127.0.0.1."""
    token = (state / "pki" / "token").read_text()
    ca = str(state / "pki" / "ca.crt")
    return Kube(f"https://127.0.0.1:{ports(state)[0]}", ca_file=ca, token=token, request_seconds=REQUEST_SECONDS)


def status(state: Path) -> ClusterStatus:
    """Return the status of the cluster. Nothing is started or changed.

    Raises:
        ClusterError: The state folder cannot be read.
    """

    async def connected() -> ClusterStatus:
        async with connect(state) as kube:
            return await read_status(state, kube)

    with os_errors_as_cluster_errors(state):
        return asyncio.run(connected()) if watchdog(state) else ClusterStatus(False, [])


async def read_status(state: Path, kube: Kube) -> ClusterStatus:
    """Return the status of the cluster, with a client that is open already."""
    top = watchdog(state)
    # A killed process that its parent has not collected yet has an id, but no start time.
    living = [pid for pid in processes.descendants(top) if processes.start_time(pid)]
    by_inner_pid = {processes.child_namespace_pid(pid): pid for pid in living}
    components = [_process("watchdog", top), _process("supervisor", by_inner_pid.get(1, 0))]
    rows = _status_file(state / "run" / "status.json") if components[1].ready else []
    if not rows:
        components.append(ComponentStatus("components", 0, False, "the supervisor has not reported yet"))
    for row in rows:
        pid = by_inner_pid.get(row["pid"], 0) if row["pid"] else 0
        ready = bool(row["ready"]) and (pid != 0 or row["starts"] == 0)  # not every component is a process
        components.append(ComponentStatus(row["name"], pid, ready, row["detail"], row["starts"]))
    if all(component.ready for component in components):
        components += [await lab_pods(kube), await _ingress(ports(state)[1]), *await _refused_policies(kube)]
    return ClusterStatus(all(component.ready for component in components), components)


def _process(name: str, pid: int) -> ComponentStatus:
    return ComponentStatus(name, pid, bool(pid), "ready" if pid else "not running")


def _status_file(file: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError):
        if time.time() - file.stat().st_mtime < STATUS_FILE_SECONDS:
            rows: list[dict[str, Any]] = json.loads(file.read_text())
            return rows
    return []


async def lab_pods(kube: Kube) -> ComponentStatus:
    """Check the Pods in the lab's own namespaces."""
    try:
        problems = await istio.pods_not_ready(kube)
        if not problems and not await kube.get("/api/v1/namespaces/bookinfo-backends"):
            problems = ["bookinfo is not applied"]
    except FAULTS as error:
        return ComponentStatus("pods", 0, False, f"the API server does not answer: {error!r}")
    return ComponentStatus("pods", 0, not problems, "; ".join(problems[:3]) or "ready")


async def _refused_policies(kube: Kube) -> list[ComponentStatus]:
    """Return a component that says why policies of layer 4 are refused; none where they are enforced."""
    with suppress(*FAULTS):
        if found := await kube.get(istio.path_of(admission.without_layer_4("")[0])):
            return [ComponentStatus(LAYER_4, 0, True, found["spec"]["validations"][0]["message"])]
    return []


async def _ingress(port: int) -> ComponentStatus:
    url = f"http://127.0.0.1:{port}/productpage"
    try:
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            detail = "ready" if answer.status == 200 else f"{url} answers {answer.status}"
            return ComponentStatus("ingress", 0, answer.status == 200, detail)
    except (OSError, aiohttp.ClientError) as error:
        return ComponentStatus("ingress", 0, False, f"{url}: {error!r}")


def memory(state: Path) -> int:
    """Return the memory of all processes of the cluster in bytes (proportional set size); 0 if none runs."""
    return sum(processes.proportional_memory(pid) for pid in processes.descendants(watchdog(state)))
