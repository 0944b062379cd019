"""Run the node's proxies: Envoys that do the work of kube-proxy and of ztunnel."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedded.control_plane.pki import Authority
from embedded.kube import FAULTS, Informer, Kube
from embedded.node.config import NodeConfig
from embedded.node.proxy import capture, inbound_config, service_entries, unenforced
from embedded.node.proxy.envoy_config import ProxySettings
from embedded.node.proxy.envoy_process import DRAIN_SECONDS, Certificates, EnvoyFiles, run_envoy
from embedded.node.proxy.outbound_config import resources
from embedded.node.proxy.redirection import Redirection
from embedded.node.proxy.snapshot import PATHS, Object, Snapshot, clients
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from embedded.node.proxy.workload_api import WorkloadClient

DEBOUNCE_SECONDS = 0.02
# After a failure: the least time until the next try, and the most, where nothing changes.
PAUSE_SECONDS, RETRY_SECONDS = 1.0, 10.0
# Connections to a Pod whose policies changed are closed after this time, and opened again under the new ones.
INBOUND_DRAIN_SECONDS = 0
log = logging.getLogger(__name__)


async def _installed(kube: Kube, path: str) -> bool:
    """Return True if the API server has the collection at `path`; retry until it answers."""
    while True:
        try:
            return await kube.get(path) is not None
        except FAULTS as error:
            log.info("retrying %s: %s", path, error)
            await asyncio.sleep(0.5)


class Attempts:
    """Calls of a function whose failure must not end the agent, and with it all Pods."""

    def __init__(self, apply: Callable[[], Awaitable[float | None]]) -> None:
        """Call nothing yet; `apply` returns the seconds until its next call, or None."""
        self._apply = apply
        self._reported = ""

    async def next(self) -> float | None:
        """Call the function; log a failure, wait PAUSE_SECONDS, and return RETRY_SECONDS."""
        try:
            due = await self._apply()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            log.error("the proxies keep their configuration: %s", text, exc_info=text != self._reported)
            self._reported = text
            await asyncio.sleep(PAUSE_SECONDS)
            return RETRY_SECONDS
        self._reported = ""
        return due


class _Proxies:
    """Files of the outbound and the inbound proxy, and the capture of traffic to Pods."""

    def __init__(self, config: NodeConfig, snapshot: Snapshot, workloads: WorkloadClient, captures: bool) -> None:
        state = Path(config.state_dir)
        self.outbound = EnvoyFiles(state / "node-proxy")
        self.inbound = EnvoyFiles(state / "node-proxy-inbound", INBOUND_DRAIN_SECONDS)
        certificates = self.outbound.folder / "certs"
        certificates.mkdir(mode=0o700)
        ca = Path(config.mesh_ca_cert)
        self._settings = ProxySettings(
            trust_domain=config.cluster_domain,
            pod_cidr=config.pod_cidr,
            node_ip=config.node_ip,
            ca=config.mesh_ca_cert,
            certificate=Certificates(certificates, Authority(ca.parent, ca.stem, "")).files,
            captures=captures,
        )
        self._snapshot, self._workloads = snapshot, workloads
        self._tracker = WaypointTracker()
        self._captured: tuple[list[str], list[str], list[str]] | None = None

    def update(self, external: dict[str, Object]) -> tuple[float | None, set[str]]:
        """Apply the present state.

        Args:
            external: The Services of ServiceEntries.

        Returns:
            The seconds until the next call, or None, and the UIDs of the Pods that the inbound proxy is for.
        """
        snapshot = replace(self._snapshot, services={**self._snapshot.services, **external})
        due = self._tracker.update(snapshot, time.monotonic())
        if not self._settings.captures:
            self.outbound.write(resources(snapshot, self._settings, self._tracker))
            return due, set()
        pods = clients(snapshot)
        waypoints = self._workloads.state.waypoints()
        wanted = [each.address for each in pods], [each.address for each in pods if each.account], sorted(waypoints)
        if wanted != self._captured:
            capture.apply(self._settings.node_ip, self._settings.pod_cidr, *wanted)
            self._captured = wanted
        inbound, captured = inbound_config.resources(pods, self._workloads.state, self._settings)
        # The outbound proxy comes first: no connection to a new Pod may bypass its waypoint.
        self.outbound.write(resources(snapshot, self._settings, self._tracker, waypoints))
        self.inbound.write(inbound)
        return due, captured


async def run(config: NodeConfig, kube: Kube) -> None:
    """Configure the proxies by Services, endpoints, Pods, namespaces, Gateways and istiod's policies, without end."""
    changed = asyncio.Event()

    def mark(_event: str, _object: dict[str, Any]) -> None:
        changed.set()

    informers = {name: Informer(kube, path, mark) for name, path in PATHS.items()}
    workloads = WorkloadClient(config.node_ip, changed.set)
    tasks = [asyncio.create_task(each.run()) for each in informers.values()]
    try:
        if problem := await capture.find_problem(config.node_ip, config.pod_cidr):
            log.warning("no policies of layer 4: %s", problem)
            tasks.append(asyncio.create_task(unenforced.correct_status(kube, problem)))
        else:
            tasks.append(asyncio.create_task(workloads.run()))
        await unenforced.refuse(kube, problem)
        # Gateways come with the mesh, which needs this proxy to start. Where their CRD exists, starting without the
        # Gateways would carry traffic past their waypoints.
        later = {name for name in ("gateways", "entries") if not await _installed(kube, PATHS[name])}
        await asyncio.gather(*(informer.synced.wait() for name, informer in informers.items() if name not in later))
        snapshot = Snapshot(**{name: informer.items for name, informer in informers.items()})
        proxies = _Proxies(config, snapshot, workloads, captures=not problem)
        redirection = Redirection(kube, None if problem else proxies.inbound)
        routes = service_entries.Routes(config.node_ip)

        async def apply() -> float | None:
            external = service_entries.services_of(snapshot)
            await routes.update(external.values())
            due, captured = proxies.update(external)
            redirection.update(snapshot, captured)
            return due

        attempts = Attempts(apply)
        due = await attempts.next()
        tasks.append(asyncio.create_task(run_envoy(proxies.outbound.folder, DRAIN_SECONDS)))
        if not problem:
            tasks.append(asyncio.create_task(run_envoy(proxies.inbound.folder, INBOUND_DRAIN_SECONDS)))
        tasks.append(asyncio.create_task(redirection.run()))
        while True:
            # Also once a minute without a change, for drained clusters and certificate renewal.
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 60 if due is None else due)
            await asyncio.sleep(DEBOUNCE_SECONDS)
            changed.clear()
            due = await attempts.next()
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
