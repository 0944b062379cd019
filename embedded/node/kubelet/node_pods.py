"""Pods that stand for processes of the node: istiod and the node proxy, as the mirror Pods of a kubelet's static Pods.

Their processes belong to the supervisor and to the node agent. The Pods show status and logs, and carry port-forward.
"""

import asyncio
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from embedded.kube import FAULTS, Kube, Object, now
from embedded.node.config import NodeConfig

NAMESPACE = "istio-system"
MIRROR = "kubernetes.io/config.mirror"
CHECK_SECONDS = 2.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeProcess:
    """One process of the node.

    Attributes:
        name: Name of its log, and the Pod's name before the node's.
        container: Name of the Pod's container.
        component: Name of the supervisor's component that runs it.
        image: Image that a cluster would run.
        labels: Labels of the Pod, by which tools find it.
        ports: Ports of the node that it serves.
    """

    name: str
    container: str
    component: str
    image: str
    labels: dict[str, str]
    ports: tuple[int, ...] = ()


PROCESSES = (
    NodeProcess(
        "istiod",
        "discovery",
        "istiod",
        "docker.io/istio/pilot",
        {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
        (15010, 15012, 15014, 15017),
    ),
    NodeProcess("ztunnel", "istio-proxy", "node-agent", "docker.io/envoyproxy/envoy", {"app": "ztunnel"}),
)


class NodePods:
    """Writer of the Pods of PROCESSES."""

    def __init__(self, config: NodeConfig, kube: Kube) -> None:
        """Write through `kube`."""
        self._config, self._kube = config, kube
        self._state = Path(config.state_dir).parent
        self._written: dict[str, Object] = {}

    async def run(self) -> None:
        """Keep the Pods up to date without end."""
        while True:
            for process in PROCESSES:
                try:
                    await self._sync(process)
                except FAULTS as error:  # such as the namespace, which comes with the mesh
                    log.info("Pod of %s not written yet: %s", process.name, error)
            await asyncio.sleep(CHECK_SECONDS)

    def find(self, namespace: str, name: str) -> NodeProcess | None:
        """Return the process that a Pod stands for, or None."""
        names = {self._name(process): process for process in PROCESSES}
        return names.get(name) if namespace == NAMESPACE else None

    def log(self, process: NodeProcess) -> Path:
        """Return the file with the output of a process."""
        return self._state / "logs" / f"{process.name}.log"

    def _name(self, process: NodeProcess) -> str:
        return f"{process.name}-{self._config.node_name}"

    def _row(self, process: NodeProcess) -> Object:
        """Return the supervisor's row about the process; empty while there is none."""
        try:
            rows: list[Object] = json.loads((self._state / "run" / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return next((row for row in rows if row["name"] == process.component), {})

    async def _sync(self, process: NodeProcess) -> None:
        folder, name, row = f"/api/v1/namespaces/{NAMESPACE}/pods", self._name(process), self._row(process)
        kept = self._written.get(name, {})
        seen = (bool(row.get("ready")), int(row.get("starts", 1)))
        pod = await self._kube.get(f"{folder}/{name}")
        if pod is not None and pod["metadata"].get("deletionTimestamp"):
            await self._kube.delete(f"{folder}/{name}", {"gracePeriodSeconds": 0})
            pod = None
        if pod is None:
            pod = await self._kube.create(folder, self._pod(process))
            kept = {}
        if kept.get("seen") == seen and kept.get("uid") == pod["metadata"]["uid"]:
            return
        await self._kube.patch(f"{folder}/{name}/status", {"status": self._status(process, pod, *seen)})
        self._written[name] = {"seen": seen, "uid": pod["metadata"]["uid"]}

    def _pod(self, process: NodeProcess) -> Object:
        meta = {"name": self._name(process), "namespace": NAMESPACE, "labels": process.labels}
        ports = [{"containerPort": port, "hostPort": port} for port in process.ports]
        return {
            "metadata": {**meta, "annotations": {MIRROR: self._config.node_name}},
            "spec": {
                "nodeName": self._config.node_name,
                "hostNetwork": True,
                "containers": [{"name": process.container, "image": process.image, "ports": ports}],
            },
        }

    def _status(self, process: NodeProcess, pod: Object, ready: bool, starts: int) -> Object:
        since = pod["metadata"]["creationTimestamp"]
        word = "True" if ready else "False"
        conditions = [
            {"type": kind, "status": word, "lastTransitionTime": now()}
            for kind in ("Initialized", "ContainersReady", "Ready")
        ]
        container = {
            "name": process.container,
            "image": process.image,
            "imageID": "",
            "containerID": f"process://{process.name}",
            "state": {"running": {"startedAt": since}},
            "ready": ready,
            "started": ready,
            "restartCount": max(0, starts - 1),
        }
        address = self._config.node_ip
        return {
            "phase": "Running",
            "conditions": conditions,
            "hostIP": address,
            "hostIPs": [{"ip": address}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": since,
            "containerStatuses": [container],
        }


def is_mirror(pod: Object) -> bool:
    """Return True for a Pod that only shows a process of the node."""
    return MIRROR in (pod["metadata"].get("annotations") or {})
