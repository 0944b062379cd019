"""The kubelet: a task for every Pod that is bound to this node."""

import asyncio
import logging
import shutil
from pathlib import Path

from embedded.kube import FAULTS, Informer, Kube, Object
from embedded.node.config import NodeConfig
from embedded.node.kubelet import node_status
from embedded.node.kubelet.api_cache import ApiStore, EventRecorder
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.node_pods import NodePods, is_mirror
from embedded.node.kubelet.pod import Pod, completed
from embedded.node.kubelet.sandbox import Addresses, prepare_node
from embedded.node.launcher.client import LauncherClient
from embedded.node.launcher.process import LauncherGone

log = logging.getLogger(__name__)
RETRY_SECONDS = 5.0


class Kubelet:
    """Runner of all Pods of one node."""

    def __init__(self, config: NodeConfig, kube: Kube) -> None:
        """Start nothing yet."""
        self.config, self.kube = config, kube
        self.launcher = LauncherClient()
        self.store = ApiStore(kube, self._data_changed)
        self.events = EventRecorder(kube, config.node_name)
        self.addresses = Addresses(config.pod_cidr)
        self.capacity = node_status.capacity()
        self.node_pods = NodePods(config, kube)
        self._pods: dict[str, Pod] = {}  # by uid
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._informer = Informer(
            kube, "/api/v1/pods", self._pod_changed, fieldSelector=f"spec.nodeName={config.node_name}"
        )

    def event(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Record an Event on a Pod."""
        self.events.add(pod, kind, reason, message)

    async def run(self) -> None:
        """Register the node and run its Pods until cancelled.

        Raises:
            LauncherGone: The launcher ended, and all Pods with it.
        """
        prepare_node()
        Path(self.config.state_dir, "pods").mkdir(parents=True, exist_ok=True)
        await self.launcher.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch_launcher())
                group.create_task(self.events.run())
                group.create_task(self.store.run())
                group.create_task(node_status.run(self.config, self.kube, self.capacity))
                await self.store.synced()
                await self._clean_up()
                group.create_task(self._informer.run())
                group.create_task(self.node_pods.run())
        finally:
            for task in self._tasks.values():
                task.cancel()
            await self.launcher.close()

    async def _watch_launcher(self) -> None:
        await self.launcher.gone.wait()
        raise LauncherGone("the launcher of Pods ended, and all Pods with it")

    async def _clean_up(self) -> None:
        """Delete the folders of Pods that are gone, and reserve the addresses of the others."""
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
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _pod_changed(self, event: str, item: Object) -> None:
        if is_mirror(item):
            return
        meta = item["metadata"]
        running = self._pods.get(meta["uid"])
        if event == "DELETED":
            if running:
                running.forget()
            else:  # it had completed before this process started
                folder = Path(self.config.state_dir, "pods", meta["uid"])
                asyncio.get_running_loop().run_in_executor(None, shutil.rmtree, folder, True)
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
        if completed(item) and not meta.get("deletionTimestamp"):
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
            log.exception("Pod %s starts again in %g s", name, RETRY_SECONDS)
            await asyncio.sleep(RETRY_SECONDS)
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

    def find(self, namespace: str, name: str, container: str = "") -> tuple[Pod, Container] | None:
        """Return a Pod and its container, the first one without a name; None if there is none.

        A Pod that had completed before this process started does not run; it has logs.
        """
        item = self._informer.items.get(f"{namespace}/{name}")
        ended = [Pod(self, item)] if item and completed(item) else []
        for pod in (*reversed(self._pods.values()), *ended):  # the files of an earlier one may still be removed
            meta = pod.pod["metadata"]
            if (meta["namespace"], meta["name"]) == (namespace, name):
                for each in (*pod.mains, *pod.init):
                    if container in ("", each.name):
                        return pod, each
        return None
