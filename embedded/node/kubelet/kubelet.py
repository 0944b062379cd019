"""The node itself: its Node object and heartbeat, and a task for every Pod that is bound to it."""

import asyncio
import contextlib
import logging
import os
import shutil
from pathlib import Path

import aiohttp

from embedded.kube import ApiError, Informer, Kube, Object
from embedded.node.config import NodeConfig
from embedded.node.kubelet.api_cache import ApiStore, EventRecorder, micro_time
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.context import now
from embedded.node.kubelet.pod import Pod
from embedded.node.kubelet.sandbox import Addresses, prepare_node
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import LauncherGone

log = logging.getLogger(__name__)
VERSION = "v1.36.3"
LEASE_SECONDS, HEARTBEAT_SECONDS, STATUS_EVERY = 40, 10.0, 6  # the Node's status with every sixth heartbeat
AGAIN_SECONDS = 5.0
# Nothing here enforces a Pod's limits, so requests are only a number to the scheduler: room for the whole lab.
CPUS = "32"
FAULTS = (ApiError, aiohttp.ClientError, OSError, TimeoutError)


def capacity() -> dict[str, str]:
    """What the Node says it has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": CPUS, "memory": f"{memory // 1024}Ki", "pods": "110", "ephemeral-storage": "100Gi"}


class Kubelet:
    """Runs all Pods of one node. `run` ends only when the launcher does, or when it is cancelled."""

    def __init__(self, config: NodeConfig, kube: Kube) -> None:
        """Nothing runs yet."""
        self.config, self.kube = config, kube
        self.launcher = LauncherClient()
        self.store = ApiStore(kube, self._data_changed)
        self.events = EventRecorder(kube, config.node_name)
        self.addresses = Addresses(config.pod_cidr)
        self.capacity = capacity()
        self._pods: dict[str, Pod] = {}  # by uid
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._informer = Informer(
            kube, "/api/v1/pods", self._pod_changed, fieldSelector=f"spec.nodeName={config.node_name}"
        )

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Records an event on a Pod."""
        self.events.add(pod, kind, reason, message)

    async def run(self) -> None:
        """Registers the node and runs its Pods; raises LauncherGone when they were lost all at once."""
        prepare_node()
        Path(self.config.state_dir, "pods").mkdir(parents=True, exist_ok=True)
        await self.launcher.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_launcher())
                group.create_task(self.events.run())
                group.create_task(self.store.run())
                group.create_task(self._heartbeat())
                await self.store.synced()
                await self._first_look()
                group.create_task(self._informer.run())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self.launcher.close()

    async def _watch_launcher(self) -> None:
        await self.launcher.gone.wait()
        raise LauncherGone("the launcher of Pods ended, and all Pods with it")

    async def _first_look(self) -> None:
        """Clears what an earlier life left of Pods that are gone, and keeps the others' addresses free for them."""
        path, selector = "/api/v1/pods", {"fieldSelector": f"spec.nodeName={self.config.node_name}"}
        while True:
            try:
                answer = await self.kube.request("GET", path, params=selector)
                break
            except FAULTS as error:
                log.info("cannot list Pods yet: %s", error)
                await asyncio.sleep(0.5)
        items = answer.get("items") or []
        known = {item["metadata"]["uid"] for item in items}
        for item in items:
            if ip := (item.get("status") or {}).get("podIP"):
                self.addresses.reserve(ip)
        for folder in Path(self.config.state_dir, "pods").iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    # Pods.

    def _pod_changed(self, event: str, item: Object) -> None:
        meta = item["metadata"]
        running = self._pods.get(meta["uid"])
        if event == "DELETED":
            if running:
                running.forget()
            return
        if running:
            running.update(item)
            return
        for other in self._pods.values():
            if (
                other.pod["metadata"]["name"] == meta["name"]
                and other.pod["metadata"]["namespace"] == meta["namespace"]
            ):
                other.forget()
        if (item.get("status") or {}).get("phase") in ("Succeeded", "Failed") and not meta.get("deletionTimestamp"):
            return
        pod = Pod(self, item)
        self._pods[pod.uid] = pod
        if meta.get("deletionTimestamp"):
            pod.update(item)
        self._tasks[pod.uid] = asyncio.create_task(self._run_pod(pod))

    async def _run_pod(self, pod: Pod) -> None:
        name = f"{pod.pod['metadata']['namespace']}/{pod.pod['metadata']['name']}"
        again: Object | None = None
        try:
            await pod.run()
        except (LauncherGone, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("Pod %s starts again in %g s", name, AGAIN_SECONDS)
            await asyncio.sleep(AGAIN_SECONDS)
            again = self._informer.items.get(name)
        finally:
            self._pods.pop(pod.uid, None)
            self._tasks.pop(pod.uid, None)
        if again is not None and again["metadata"]["uid"] == pod.uid:
            self._pod_changed("ADDED", again)

    def _data_changed(self, namespace: str) -> None:
        for pod in self._pods.values():
            if pod.pod["metadata"]["namespace"] == namespace:
                pod.refresh()

    def find(self, namespace: str, name: str, container: str) -> tuple[Pod, Container] | None:
        """The running Pod's container of that name."""
        for pod in self._pods.values():
            meta = pod.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                for each in (*pod.mains, *pod.init):
                    if each.name == container:
                        return pod, each
        return None

    # The Node object.

    async def _heartbeat(self) -> None:
        beats = 0
        while True:
            try:
                if beats % STATUS_EVERY == 0:
                    await self._register()
                await self._renew_lease()
                beats += 1
                await asyncio.sleep(HEARTBEAT_SECONDS)
            except FAULTS as error:
                log.info("heartbeat not taken: %s", error)
                await asyncio.sleep(1)

    async def _renew_lease(self) -> None:
        folder = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": self.config.node_name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_time(),
        }
        try:
            await self.kube.patch(f"{folder}/{self.config.node_name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            with contextlib.suppress(ApiError):  # the namespace may come a little later
                await self.kube.create(folder, {"metadata": {"name": self.config.node_name}, "spec": spec})

    async def _register(self) -> None:
        name, machine = self.config.node_name, os.uname()
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        labels["kubernetes.io/arch"] = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine.machine, machine.machine)
        old = await self.kube.get(f"/api/v1/nodes/{name}")
        if old is None:
            old = await self.kube.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        was = {each["type"]: each for each in (old.get("status") or {}).get("conditions") or []}
        conditions = []
        for kind, good, reason in (
            ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID"),
            ("Ready", "True", "KubeletReady"),
        ):
            before = was.get(kind)
            since = before["lastTransitionTime"] if before and before["status"] == good else now()
            conditions.append(
                {
                    "type": kind,
                    "status": good,
                    "reason": reason,
                    "message": "node agent: Pods are processes",
                    "lastHeartbeatTime": now(),
                    "lastTransitionTime": since,
                }
            )
        status = {
            "capacity": self.capacity,
            "allocatable": self.capacity,
            "conditions": conditions,
            # No host name: the API server would prefer it, and nothing resolves it.
            "addresses": [{"type": "InternalIP", "address": self.config.node_ip}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.config.kubelet_port}},
            # With it, exec's WebSocket is handed through, instead of being turned into SPDY.
            "declaredFeatures": ["ExtendWebSocketsToKubelet"],
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
                "architecture": labels["kubernetes.io/arch"],
            },
        }
        await self.kube.patch(f"/api/v1/nodes/{name}/status", {"status": status})
