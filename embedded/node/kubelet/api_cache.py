"""What Pods read from the API server: config maps and secrets from a watched copy, tokens on request; and Events."""

import asyncio
import base64
import datetime
import logging
import time
import uuid
from collections.abc import Callable

import aiohttp

from embedded.kube import ApiError, Informer, Kube, Object
from embedded.node.kubelet.context import now

log = logging.getLogger(__name__)
EVENT_MEMORY = 1000


class ApiStore:
    """Config maps, secrets and tokens. `on_change(namespace)` is called when one of a namespace's has changed."""

    def __init__(self, kube: Kube, on_change: Callable[[str], None]) -> None:
        """Reads through `kube`."""
        self._kube = kube

        def changed(_event: str, item: Object) -> None:
            on_change(item["metadata"]["namespace"])

        self._informers = {kind: Informer(kube, f"/api/v1/{kind}", changed) for kind in ("configmaps", "secrets")}

    async def run(self) -> None:
        """Keeps the copy fresh, for ever."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Waits until the copy is there."""
        for informer in self._informers.values():
            await informer.synced.wait()

    async def _read(self, kind: str, namespace: str, name: str) -> Object | None:
        item = self._informers[kind].items.get(f"{namespace}/{name}")
        # What the copy lacks may be newer than the copy.
        return item or await self._kube.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Its data, text and binary, or None where there is none."""
        item = await self._read("configmaps", namespace, name)
        if item is None:
            return None
        text = {key: value.encode() for key, value in (item.get("data") or {}).items()}
        return text | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Its data, decoded, or None where there is none."""
        item = await self._read("secrets", namespace, name)
        if item is None:
            return None
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}

    async def token(self, pod: Object, audience: str | None, seconds: int) -> tuple[str, float]:
        """A service account token bound to the Pod, and when it ends (seconds of `time.time`)."""
        meta = pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        account = pod["spec"].get("serviceAccountName") or "default"
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = (await self._kube.create(path, body))["status"]
        end = datetime.datetime.fromisoformat(answer["expirationTimestamp"]).timestamp()
        return answer["token"], end


class EventRecorder:
    """Writes Events, the same one again as a higher count."""

    def __init__(self, kube: Kube, node: str) -> None:
        """`node` is named as where the Events come from."""
        self._kube, self._node = kube, node
        self._queue: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(EVENT_MEMORY)
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}

    def add(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Has an Event on `pod` written soon; drops it where too many wait."""
        if not self._queue.full():
            self._queue.put_nowait((pod, kind, reason, message))

    async def run(self) -> None:
        """Writes for ever."""
        while True:
            entry = await self._queue.get()
            try:
                await self._write(*entry)
            except (ApiError, aiohttp.ClientError, OSError, TimeoutError) as error:
                log.info("event %s dropped: %s", entry[2], error)  # e.g. its namespace is being deleted

    async def _write(self, pod: Object, kind: str, reason: str, message: str) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/events"
        key = (meta["uid"], reason, message)
        name, count = self._known.get(key, ("", 0))
        if count:
            self._known[key] = (name, count + 1)
            try:
                await self._kube.patch(f"{path}/{name}", {"count": count + 1, "lastTimestamp": now()})
                return
            except ApiError as error:
                if error.status != 404:  # it has expired otherwise
                    raise
        name = f"{meta['name']}.{uuid.uuid4().hex[:12]}"
        if len(self._known) > EVENT_MEMORY:
            self._known.clear()
        self._known[key] = (name, 1)
        about = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "namespace": meta["namespace"]}
        body = {
            "metadata": {"name": name, "namespace": meta["namespace"]},
            "involvedObject": {**about, "uid": meta["uid"]},
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": now(),
            "lastTimestamp": now(),
            "count": 1,
        }
        await self._kube.create(path, body)


def micro_time() -> str:
    """Now as Leases write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
