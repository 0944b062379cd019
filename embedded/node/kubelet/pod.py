"""One Pod on this node: from its binding to its end."""

import asyncio
import contextlib
import copy
import ipaddress
import logging
import shutil
import time
from pathlib import Path

from embedded.kube import ApiError, Object
from embedded.node.kubelet import sandbox as sandboxes
from embedded.node.kubelet import status
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.context import NodeContext, now
from embedded.node.kubelet.environment import MissingReference
from embedded.node.kubelet.etc_files import write_etc
from embedded.node.kubelet.mounts import Bind
from embedded.node.kubelet.sandbox import Sandbox, SandboxError
from embedded.node.kubelet.status_writer import FAULTS, StatusWriter
from embedded.node.kubelet.volumes import Volumes
from embedded.node.launcher.process import LaunchError

log = logging.getLogger(__name__)
SETUP_RETRY_SECONDS = 1.0
SIDECAR_GRACE_SECONDS = 5.0  # once the containers that they serve are done
REFRESH_SECONDS = 60.0


class Pod:
    """Runs one Pod; `update` tells it of changes and of its deletion, `run` returns when nothing of it is left."""

    def __init__(self, node: NodeContext, pod: Object) -> None:
        """`pod` is the object as the API server has it."""
        self._node = node
        self.config, self.launcher, self.store, self.capacity = node.config, node.launcher, node.store, node.capacity
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.folder = Path(node.config.state_dir) / "pods" / self.uid
        self.sandbox: Sandbox | None = None
        self._volumes = Volumes(self.folder / "volumes", node.store, node.capacity)
        policy = pod["spec"].get("restartPolicy", "Always")
        said = pod.get("status") or {}
        ran = {
            each["name"]: each["restartCount"] + (1 if each.get("containerID") else 0)
            for each in (said.get("containerStatuses") or []) + (said.get("initContainerStatuses") or [])
        }
        once = "OnFailure" if policy != "Never" else "Never"
        self.init = [
            Container(self, spec, spec.get("restartPolicy", once), ran.get(spec["name"], 0))
            for spec in pod["spec"].get("initContainers") or []
        ]
        self.mains = [Container(self, spec, policy, ran.get(spec["name"], 0)) for spec in pod["spec"]["containers"]]
        before = {each["name"]: each for each in said.get("containerStatuses") or [] if each.get("containerID")}
        self._over = policy == "Never" and bool(before)
        if self._over:
            for each in self.mains:
                each.presume_dead(before.get(each.name, {}))
        self._start = said.get("startTime") or now()
        self._wanted_ip: str | None = said.get("podIP")
        self._ip: str | None = None
        self._initialized = self._over
        self._ending = asyncio.Event()
        self._forgotten = False  # the API server knows nothing of it any more
        self._writer = StatusWriter(node.kube, self)
        self._refresh = asyncio.Event()
        self._sidecars: list[asyncio.Task[int]] = []

    # What containers ask of their Pod.

    def view(self) -> Object:
        """The Pod with its addresses, which the API server may not have yet."""
        seen = copy.copy(self.pod)
        seen["status"] = {**(self.pod.get("status") or {}), "hostIP": self.config.node_ip, "podIP": self._ip}
        return seen

    def changed(self) -> None:
        """Has the status written soon."""
        self._writer.dirty.set()

    def event(self, kind: str, reason: str, message: str) -> None:
        """Records an event on this Pod."""
        self._node.event(self.pod, kind, reason, message)

    def binds(self, container: Object) -> dict[str, Bind]:
        """The container's volumes and the files that every container has."""
        binds = {f"/etc/{name}": Bind(str(self.folder / "etc" / name)) for name in ("resolv.conf", "hosts", "hostname")}
        for mount in container.get("volumeMounts") or []:
            path = self._volumes.path(mount["name"], mount.get("subPath", ""))
            binds[mount["mountPath"]] = Bind(str(path), bool(mount.get("readOnly")))
        return binds

    def service_env(self) -> dict[str, str]:
        """Where the API server is, as every container is told: the first address of the Service range."""
        first = str(ipaddress.ip_network(self.config.service_cidr)[1])
        return {"KUBERNETES_SERVICE_HOST": first, "KUBERNETES_SERVICE_PORT": "443"}

    # What the kubelet tells.

    def update(self, pod: Object) -> None:
        """The object changed."""
        if pod["metadata"]["uid"] != self.uid:
            self.forget()
            return
        self.pod = pod
        self._refresh.set()
        if pod["metadata"].get("deletionTimestamp"):
            self._ending.set()

    def forget(self) -> None:
        """The object is gone: ends the Pod at once."""
        self._forgotten = True
        self._ending.set()

    def refresh(self) -> None:
        """Something that its volumes may show has changed."""
        self._refresh.set()

    async def run(self) -> None:
        """Runs it to its end and leaves nothing behind."""
        writer = asyncio.create_task(self._writer.run())
        live = asyncio.create_task(self._live() if not self._over else self._stay_over())
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({live, ending}, return_when=asyncio.FIRST_COMPLETED)
            if live.done() and not ending.done():
                live.result()
                await ending
            await self._stop_containers()
        finally:
            for task in (live, ending, writer):
                task.cancel()
            await asyncio.gather(live, ending, writer, return_exceptions=True)
            await self._drop_sandbox()
        if not self._forgotten:
            await self._delete()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _stop_containers(self) -> None:
        meta = self.pod["metadata"]
        grace = float(meta.get("deletionGracePeriodSeconds") or 0)
        if self._forgotten:
            grace = min(grace, 2.0)
        self.event("Normal", "Killing", "Stopping the Pod's containers") if not self._forgotten else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace + 1):
                await asyncio.gather(*(each.stop(grace) for each in self.mains))
                await asyncio.gather(*(each.stop(grace) for each in self.init))

    async def _delete(self) -> None:
        meta = self.pod["metadata"]
        await self._writer.write_once()
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        for _ in range(30):
            try:
                await self._node.kube.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
                return
            except FAULTS as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return  # another Pod of this name
                log.warning("cannot delete Pod %s: %s", meta["name"], error)
            await asyncio.sleep(1)

    # Life.

    async def _live(self) -> None:
        refresher = asyncio.create_task(self._keep_volumes())
        try:
            while True:
                await self._set_up()
                assert self.sandbox is not None
                work = asyncio.create_task(self._run_containers())
                lost = asyncio.create_task(self.sandbox.pause.wait())
                try:
                    await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
                    if work.done():
                        work.result()
                        await asyncio.gather(*(each.stop(SIDECAR_GRACE_SECONDS) for each in self.init))
                        break
                finally:
                    for task in (work, lost, *self._sidecars):
                        task.cancel()
                    await asyncio.gather(work, lost, *self._sidecars, return_exceptions=True)
                    self._sidecars = []
                self.event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
                self._initialized = False
                for each in (*self.init, *self.mains):
                    each.lost()
                await self._drop_sandbox()
            self._over = True
            await self._drop_sandbox()
            self.changed()
        finally:
            refresher.cancel()
            await asyncio.gather(refresher, return_exceptions=True)

    async def _stay_over(self) -> None:
        """Containers that may run only once ended with the node agent's earlier life."""
        self.changed()

    async def _set_up(self) -> None:
        said = ""
        while True:
            try:
                if self.sandbox is None:
                    ip = self._node.addresses.take(self._wanted_ip)
                    try:
                        name = self.pod["spec"].get("hostname") or self.pod["metadata"]["name"]
                        self.sandbox = await sandboxes.create(self.config, self.launcher, name[:63], ip)
                    except BaseException:
                        self._node.addresses.give_back(ip)
                        raise
                    self._ip = self._wanted_ip = ip
                    write_etc(self.folder / "etc", self.config, self.pod, name, ip)
                    self.changed()
                await self._volumes.sync(self.view())
                return
            except (MissingReference, SandboxError, LaunchError, *FAULTS) as error:
                if str(error) != said:
                    said = str(error)
                    reason = "FailedMount" if isinstance(error, MissingReference) else "FailedCreatePodSandBox"
                    self.event("Warning", reason, said)
                await self._wait_refresh(SETUP_RETRY_SECONDS)

    async def _run_containers(self) -> None:
        for each in self.init:
            if each.spec.get("restartPolicy") == "Always":
                self._sidecars.append(asyncio.create_task(each.run()))
                await each.up.wait()
            else:
                each.exit_code = None
                if await each.run() != 0:
                    return
        self._initialized = True
        self.changed()
        async with asyncio.TaskGroup() as group:
            for each in self.mains:
                group.create_task(each.run())

    async def _drop_sandbox(self) -> None:
        if self.sandbox is not None:
            dropped, self.sandbox = self.sandbox, None
            await sandboxes.destroy(self.launcher, dropped)
            self._node.addresses.give_back(dropped.ip)

    async def _wait_refresh(self, seconds: float) -> None:
        self._refresh.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._refresh.wait()

    async def _keep_volumes(self) -> None:
        while True:
            await self._wait_refresh(max(1.0, min(REFRESH_SECONDS, self._volumes.renew_at() - time.time())))
            if self.sandbox is not None:
                try:
                    await self._volumes.sync(self.view())
                except (MissingReference, *FAULTS) as error:
                    log.info("volumes of %s stay as they are: %s", self.pod["metadata"]["name"], error)

    # Status.

    def status(self) -> Object:
        """The status as it is now."""
        return status.compose(
            self.pod,
            host_ip=self.config.node_ip,
            pod_ip=self._ip if not self._over else None,
            start=self._start,
            initialized=self._initialized,
            init=self.init,
            mains=self.mains,
        )
