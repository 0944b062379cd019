"""Writes of one Pod to the API server: its status, and its deletion."""

import asyncio
import contextlib
import logging
from typing import Protocol

from embedded.kube import FAULTS, ApiError, Kube, Object

log = logging.getLogger(__name__)
GATHER_SECONDS = 0.02  # changes within this time go to the API server together
RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 10.0  # the longest pause between two attempts


class Subject(Protocol):
    """An object with a status."""

    pod: Object
    uid: str

    def status(self) -> Object:
        """Return the present status."""


class StatusWriter:
    """Writer of the status after `dirty` is set; `last` is the status that it wrote last."""

    def __init__(self, kube: Kube, subject: Subject) -> None:
        """Write nothing yet."""
        self._kube, self._subject = kube, subject
        self.dirty = asyncio.Event()
        self.last: Object = {}

    async def _patch(self, status: Object) -> None:
        meta = self._subject.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}/status"
        # Conditions are merged by their type: those of others stay. Addresses of an earlier start do not.
        addresses = {key: [*status[key], {"$patch": "replace"}] for key in ("hostIPs", "podIPs") if status.get(key)}
        # With the uid, a write to a new Pod of the same name is a conflict.
        body = {"metadata": {"uid": self._subject.uid}, "status": status | addresses}
        answer = await self._kube.patch(path, body, "strategic-merge")
        self._subject.pod["status"] = answer.get("status")
        self.last = status

    def _shown(self, status: Object) -> bool:
        """Return True if the object has the conditions of `status`; the node controller may have changed them."""
        there = (self._subject.pod.get("status") or {}).get("conditions") or []
        ours, theirs = ({(row["type"], row["status"]) for row in rows} for rows in (status["conditions"], there))
        return ours <= theirs

    async def run(self) -> None:
        """Write after each change without end."""
        pause = RETRY_SECONDS
        while True:
            await self.dirty.wait()
            await asyncio.sleep(GATHER_SECONDS)
            self.dirty.clear()
            fresh = self._subject.status()
            if fresh == self.last and self._shown(fresh):
                continue
            try:
                await self._patch(fresh)
                pause = RETRY_SECONDS
            except FAULTS as error:
                if isinstance(error, ApiError) and error.status == 404:
                    continue  # deleted; the watch reports it
                log.warning("status of Pod %s not written yet: %s", self._subject.pod["metadata"]["name"], error)
                if isinstance(error, ApiError) and error.status == 422:  # refused until the Pod or its object changes
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self.dirty.wait(), pause)
                    pause = min(2 * pause, LONGEST_RETRY_SECONDS)
                else:
                    await asyncio.sleep(RETRY_SECONDS)
                self.dirty.set()

    async def delete(self) -> None:
        """Write the last status and delete the Pod; try until it is gone."""
        meta = self._subject.pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        pause = RETRY_SECONDS
        while True:
            with contextlib.suppress(*FAULTS):
                await self._patch(self._subject.status())
            try:
                await self._kube.delete(path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self._subject.uid}})
                return
            except FAULTS as error:
                if isinstance(error, ApiError) and error.status == 409:
                    return  # another Pod of this name
                log.warning("cannot delete Pod %s: %s", meta["name"], error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)
