"""Brings a Pod's status to the API server whenever it changes."""

import asyncio
import contextlib
import logging
from typing import Protocol

import aiohttp

from embedded.kube import ApiError, Kube, Object

log = logging.getLogger(__name__)
FAULTS = (ApiError, aiohttp.ClientError, OSError, TimeoutError)  # of talking to the API server
GATHER_SECONDS = 0.02  # changes within this time go to the API server together
RETRY_SECONDS = 0.5


class Subject(Protocol):
    """What has a status."""

    pod: Object
    uid: str

    def status(self) -> Object:
        """The status as it is now."""


class StatusWriter:
    """Writes when `dirty` is set."""

    def __init__(self, kube: Kube, subject: Subject) -> None:
        """Nothing is written yet."""
        self._kube, self._subject = kube, subject
        self.dirty = asyncio.Event()
        self._last: Object = {}

    async def _patch(self, status: Object) -> None:
        meta = self._subject.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        # With the uid, a new Pod of the same name is a conflict, not a victim.
        answer = await self._kube.patch(path, {"metadata": {"uid": self._subject.uid}, "status": status})
        self._subject.pod["status"] = answer.get("status")
        self._last = status

    async def write_once(self) -> None:
        """Writes now, if that can be done."""
        with contextlib.suppress(*FAULTS):
            await self._patch(self._subject.status())

    async def run(self) -> None:
        """Writes for ever."""
        while True:
            await self.dirty.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self.dirty.clear()
            fresh = self._subject.status()
            if fresh == self._last:
                continue
            try:
                await self._patch(fresh)
            except FAULTS as error:
                if isinstance(error, ApiError) and error.status == 404:
                    continue  # deleted: the watch will tell
                log.warning("status of Pod %s not written yet: %s", self._subject.pod["metadata"]["name"], error)
                await asyncio.sleep(RETRY_SECONDS)
                self.dirty.set()
