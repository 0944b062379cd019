"""The mark of captured Pods: with it istiod tells waypoints and gateways to reach a Pod by HBONE."""

import asyncio
import logging

from embedded.kube import FAULTS, ApiError, Kube
from embedded.node.proxy.envoy_process import EnvoyFiles, listeners_version
from embedded.node.proxy.snapshot import Object, Snapshot, annotations, enrolled

REDIRECTION = "ambient.istio.io/redirection"
POLL_SECONDS = 0.05
RETRY_SECONDS = 1.0
log = logging.getLogger(__name__)


class Redirection:
    """Writes the annotation that Istio's CNI agent writes on other clusters."""

    def __init__(self, kube: Kube, inbound: EnvoyFiles | None) -> None:
        """Write nothing yet.

        Args:
            kube: Client of the API server.
            inbound: Files of the inbound proxy, which must have filter chains for a Pod before it is marked; None if no
                Pod is captured.
        """
        self._kube, self._inbound = kube, inbound
        self._wanted: dict[str, tuple[Object, bool]] = {}
        self._dirty = asyncio.Event()

    def update(self, snapshot: Snapshot, captured: set[str]) -> None:
        """Take the present Pods, and the UIDs of those for which the inbound proxy's files have filter chains."""
        wanted = {}
        for key, pod in snapshot.pods.items():
            uid = pod["metadata"]["uid"]
            marked = annotations(pod).get(REDIRECTION) == "enabled"
            if marked != (self._inbound is not None and enrolled(snapshot, pod) and (marked or uid in captured)):
                wanted[key] = pod, not marked
        self._wanted = wanted
        if wanted:
            self._dirty.set()

    async def run(self) -> None:
        """Mark Pods without end, each after the inbound proxy has taken its configuration."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            todo, inbound = list(self._wanted.values()), self._inbound
            while inbound and await listeners_version(inbound.folder) != inbound.version:
                await asyncio.sleep(POLL_SECONDS)
            await asyncio.gather(*(self._mark(pod, wanted) for pod, wanted in todo))

    async def _mark(self, pod: Object, wanted: bool) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        value = {REDIRECTION: "enabled" if wanted else None}
        try:
            await self._kube.patch(path, {"metadata": {"uid": meta["uid"], "annotations": value}})
        except FAULTS as error:
            if isinstance(error, ApiError) and error.status in (404, 409):
                return  # gone, or another Pod of this name
            log.info("Pod %s/%s not marked yet: %s", meta["namespace"], meta["name"], error)
            await asyncio.sleep(RETRY_SECONDS)
            self._dirty.set()
