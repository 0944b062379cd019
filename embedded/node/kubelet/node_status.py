"""The Node object of this node and its heartbeat."""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from embedded.kube import FAULTS, ApiError, Kube, Object, now
from embedded.node.config import NodeConfig
from embedded.node.kubelet.logs import stamp

log = logging.getLogger(__name__)
VERSION = "v1.36.3"
LEASE_SECONDS, HEARTBEAT_SECONDS, STATUS_EVERY = 40, 10.0, 6  # the Node's status with every sixth heartbeat
# No limit of a Pod is enforced here, so requests are only a number for the scheduler: room for the whole lab.
CPUS = "32"
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID"),
    ("Ready", "True", "KubeletReady"),
)


def capacity() -> dict[str, str]:
    """Return the capacity that the Node reports."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": CPUS, "memory": f"{memory // 1024}Ki", "pods": "110", "ephemeral-storage": "100Gi"}


async def run(config: NodeConfig, kube: Kube, capacity: dict[str, str]) -> None:
    """Register the node and renew its lease and status without end."""
    beats = 0
    while True:
        try:
            if beats % STATUS_EVERY == 0:
                await _register(config, kube, capacity)
            await _renew_lease(config, kube)
            beats += 1
            await asyncio.sleep(HEARTBEAT_SECONDS)
        except FAULTS as error:
            log.info("heartbeat failed: %s", error)
            await asyncio.sleep(1)


async def _renew_lease(config: NodeConfig, kube: Kube) -> None:
    folder = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    spec = {"holderIdentity": config.node_name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": stamp()}
    try:
        await kube.patch(f"{folder}/{config.node_name}", {"spec": spec})
    except ApiError as error:
        if error.status != 404:
            raise
        with contextlib.suppress(ApiError):  # the namespace may come a little later
            await kube.create(folder, {"metadata": {"name": config.node_name}, "spec": spec})


async def _register(config: NodeConfig, kube: Kube, capacity: dict[str, str]) -> None:
    name, machine = config.node_name, os.uname()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
    }
    old = await kube.get(f"/api/v1/nodes/{name}")
    if old is None:
        old = await kube.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
    status = {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": _conditions((old.get("status") or {}).get("conditions") or []),
        # No host name: the API server would prefer it, and nothing resolves it.
        "addresses": [{"type": "InternalIP", "address": config.node_ip}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": config.kubelet_port}},
        # The API server then translates WebSockets to SPDY, which is all that the streaming library serves.
        "declaredFeatures": None,
        "nodeInfo": {
            "machineID": name,
            "systemUUID": name,
            "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
            "kernelVersion": machine.release,
            "osImage": "processes of this machine",
            "containerRuntimeVersion": "process://1",
            "kubeletVersion": VERSION,
            "kubeProxyVersion": VERSION,
            "operatingSystem": "linux",
            "architecture": architecture,
        },
    }
    await kube.patch(f"/api/v1/nodes/{name}/status", {"status": status})


def _conditions(old: list[Object]) -> list[Object]:
    since = {(each["type"], each["status"]): each["lastTransitionTime"] for each in old}
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "node agent: Pods are processes",
            "lastHeartbeatTime": now(),
            "lastTransitionTime": since.get((kind, status)) or now(),
        }
        for kind, status, reason in CONDITIONS
    ]
