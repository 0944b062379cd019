"""One Pod on this node, from its binding to its end."""

import asyncio
import contextlib
import shutil
import time
from pathlib import Path

from embedded.kube import Object, now
from embedded.node.kubelet import pod_containers, status
from embedded.node.kubelet import sandbox as sandboxes
from embedded.node.kubelet.container_end import DEFAULT_GRACE_SECONDS, GracePeriod
from embedded.node.kubelet.context import NodeContext
from embedded.node.kubelet.environment import UNAVAILABLE, MissingReference, reason
from embedded.node.kubelet.etc_files import host_name, write_etc
from embedded.node.kubelet.sandbox import Sandbox, SandboxError
from embedded.node.kubelet.security import sysctls
from embedded.node.kubelet.status_writer import StatusWriter
from embedded.node.kubelet.volumes import Volumes
from embedded.node.launcher.process import LaunchError

SETUP_RETRY_SECONDS = 1.0
FORGOTTEN_GRACE_SECONDS = 2.0  # the most for a Pod whose object is gone
REFRESH_SECONDS = 60.0


def completed(pod: Object) -> bool:
    """Return True if no container of the Pod runs again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Pod:
    """Runner of one Pod: `update` passes changes and the deletion to it; `run` returns when nothing of it is left."""

    def __init__(self, node: NodeContext, pod: Object) -> None:
        """Start nothing yet; `pod` is the object of the API server."""
        self._node = node
        self.config, self.launcher, self.store, self.capacity = node.config, node.launcher, node.store, node.capacity
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        # Without links, which the launcher does not follow in the sources of mounts.
        self.folder = Path(node.config.state_dir).resolve() / "pods" / self.uid
        self.sandbox: Sandbox | None = None
        self.volumes = Volumes(self.folder / "volumes", node.store, node.capacity)
        before = pod.get("status") or {}
        self.init, self.mains = pod_containers.create(self, pod)
        once = pod["spec"].get("restartPolicy") == "Never"
        self._finished = pod_containers.resume(before, self.init, self.mains, over=completed(pod), once=once)
        self._start = before.get("startTime") or now()
        self._wanted_ip: str | None = before.get("podIP")
        self._ip: str | None = None
        self._initialized = self._finished
        self._done = self._finished  # but for its sidecar containers
        self._ending = asyncio.Event()
        self._period = GracePeriod()  # of the Pod's deletion
        self._forgotten = False  # the API server has deleted it
        self._writer = StatusWriter(node.kube, self)
        self._refresh = asyncio.Event()

    def view(self) -> Object:
        """Return the Pod with its addresses, which the API server may not have yet."""
        addresses = {"hostIP": self.config.node_ip, "podIP": self._ip}
        return {**self.pod, "status": {**(self.pod.get("status") or {}), **addresses}}

    def changed(self) -> None:
        """Schedule a write of the status."""
        self._writer.dirty.set()

    def event(self, kind: str, reason: str, message: str) -> None:
        """Record an Event on this Pod."""
        self._node.event(self.pod, kind, reason, message)

    def update(self, pod: Object) -> None:
        """Take a new version of the object."""
        self.pod = pod
        self.changed()
        self._refresh.set()
        if pod["metadata"].get("deletionTimestamp"):
            self._period.shorten(self._deletion_grace())
            self._ending.set()

    def forget(self) -> None:
        """End the Pod at once: its object is gone."""
        self._forgotten = True
        self._period.shorten(min(self._deletion_grace(), FORGOTTEN_GRACE_SECONDS))
        self._ending.set()

    def _deletion_grace(self) -> float:
        return float(self.pod["metadata"].get("deletionGracePeriodSeconds") or 0)

    def refresh(self) -> None:
        """Update the volumes: an object that they show may have changed."""
        self._refresh.set()

    async def run(self) -> None:
        """Run the Pod to its end and leave nothing behind."""
        writer = asyncio.create_task(self._writer.run())
        live = asyncio.create_task(self._live())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({live, ending}, return_when=asyncio.FIRST_COMPLETED)
            if live.done() and not ending.done():
                live.result()
                await ending
            if not self._forgotten:
                self.event("Normal", "Killing", "Stopping the Pod's containers")
            await pod_containers.stop(self._period, self.init, self.mains)
        finally:
            for task in (live, ending, writer):
                task.cancel()
            await asyncio.gather(live, ending, writer, return_exceptions=True)
            await self._drop_sandbox()
        if not self._forgotten:
            await self._writer.delete()
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)  # may have many files

    async def _live(self) -> None:
        if self._finished:  # its containers ended with an earlier node agent and may run only once
            self.changed()
            return
        refresher = asyncio.create_task(self._keep_volumes())
        try:
            while True:
                await self._set_up()
                assert self.sandbox is not None
                work = asyncio.create_task(self._run_containers())
                lost = asyncio.create_task(self.sandbox.pause.wait())
                try:
                    await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
                    if work.done() or self._done:
                        await work
                        break
                finally:
                    for task in (work, lost):
                        task.cancel()
                    await asyncio.gather(work, lost, return_exceptions=True)
                for each in (*self.init, *self.mains):
                    each.lost()
                if completed({"status": self.status()}):
                    break
                self.event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
                self._initialized = False
                await self._drop_sandbox()
            self._finished = True
            await self._drop_sandbox()
            self.changed()
        finally:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)

    async def _set_up(self) -> None:
        reported = ""
        while True:
            try:
                if self.sandbox is None:
                    ip = self._node.addresses.take(self._wanted_ip)
                    try:
                        name = host_name(self.pod)
                        self.sandbox = await sandboxes.create(self.config, self.launcher, name, ip, sysctls(self.pod))
                    except BaseException:
                        self._node.addresses.give_back(ip)
                        raise
                    self._ip = self._wanted_ip = ip
                    write_etc(self.folder / "etc", self.config, self.pod, name, ip)
                    self.changed()
                await self.volumes.sync(self.view())
                return
            except (SandboxError, LaunchError, *UNAVAILABLE) as error:
                if reason(error) != reported:
                    reported = reason(error)
                    kind = "FailedMount" if isinstance(error, MissingReference) else "FailedCreatePodSandBox"
                    self.event("Warning", kind, reported)
                await self._wait_refresh(SETUP_RETRY_SECONDS)

    async def _run_containers(self) -> None:
        """Run all containers in their order, and end the sidecar containers when the others are done."""
        async with asyncio.TaskGroup() as group:
            sidecars: list[asyncio.Task[int]] = []
            await self._run_in_order(group, sidecars)
            self._done = True
            given = self.pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
            await pod_containers.stop(GracePeriod(float(given)), self.init, self.mains)
            for task in sidecars:
                task.cancel()

    async def _run_in_order(self, beside: asyncio.TaskGroup, sidecars: list[asyncio.Task[int]]) -> None:
        for each in self.init:
            if self._ending.is_set():
                return
            if each.spec.get("restartPolicy") == "Always":
                sidecars.append(beside.create_task(each.run()))
                await each.up.wait()
            elif await each.run() != 0:
                return
        self._initialized = True
        self.changed()
        async with asyncio.TaskGroup() as group:
            for each in self.mains:
                if each.exit_code is None:
                    group.create_task(each.run())

    async def _drop_sandbox(self) -> None:
        if self.sandbox is not None:
            dropped, self.sandbox = self.sandbox, None
            try:
                await sandboxes.destroy(self.launcher, dropped)
            finally:
                self._node.addresses.give_back(dropped.ip)

    async def _wait_refresh(self, seconds: float) -> None:
        self._refresh.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._refresh.wait()

    async def _keep_volumes(self) -> None:
        reported = ""
        while True:
            await self._wait_refresh(max(1.0, min(REFRESH_SECONDS, self.volumes.renew_at() - time.time())))
            if self.sandbox is not None:
                try:
                    await self.volumes.sync(self.view())
                    reported = ""
                except UNAVAILABLE as error:
                    if reason(error) != reported:
                        reported = reason(error)
                        self.event("Warning", "FailedMount", reported)

    def status(self) -> Object:
        """Return the present status."""
        return status.compose(
            self.pod,
            before=(self._writer.last or self.pod.get("status") or {}).get("conditions") or [],
            host_ip=self.config.node_ip,
            pod_ip=self._ip if not self._finished else None,
            start=self._start,
            initialized=self._initialized,
            init=self.init,
            mains=self.mains,
        )
