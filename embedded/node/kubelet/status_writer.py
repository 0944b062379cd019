"""Writes of one Pod to the API server: its status, and its deletion."""

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
DELETE_ATTEMPTS = 30


class Subject(Protocol):
    """An object with a status."""

    pod: Object
    uid: str

    def status(self) -> Object:
        """Return the present status."""


class StatusWriter:
    """Writer of the status after `dirty` is set."""

    def __init__(self, kube: Kube, subject: Subject) -> None:
        """Write nothing yet."""
        self._kube, self._subject = kube, subject
        self.dirty = asyncio.Event()
        self._last: Object = {}

    async def _patch(self, status: Object) -> None:
        meta = self._subject.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        # With the uid, a write to a new Pod of the same name is a conflict.
        answer = await self._kube.patch(path, {"metadata": {"uid": self._subject.uid}, "status": status})
        self._subject.pod["status"] = answer.get("status")
        self._last = status

    async def write_once(self) -> None:
        """Try to write now."""
        with contextlib.suppress(*FAULTS):
            await self._patch(self._subject.status())

    async def run(self) -> None:
        """Write after each change without end."""
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
                    continue  # deleted; the watch reports it
                log.warning("status of Pod %s not written yet: %s", self._subject.pod["metadata"]["name"], error)
                await asyncio.sleep(RETRY_SECONDS)
                self.dirty.set()

    async def delete(self) -> None:
        """Write the last status and delete the Pod; give up after 30 failures."""
        await self.write_once()
        meta = self._subject.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        for _ in range(DELETE_ATTEMPTS):
            try:
                await self._kube.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self._subject.uid}})
                return
            except FAULTS as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return  # another Pod of this name
                log.warning("cannot delete Pod %s: %s", meta["name"], error)
            await asyncio.sleep(1)
