"""Access of Pods to the API server: ConfigMaps and Secrets from a copy, tokens on request, and Events."""

import asyncio
import base64
import datetime
import logging
import uuid
from collections.abc import Callable

from embedded.kube import FAULTS, ApiError, Informer, Kube, Object, now

log = logging.getLogger(__name__)
EVENT_MEMORY = 1000


class ApiStore:
    """ConfigMaps, Secrets and tokens. `on_change(namespace)` is called after a change in that namespace."""

    def __init__(self, kube: Kube, on_change: Callable[[str], None]) -> None:
        """Read through `kube`."""
        self._kube = kube

        def changed(_event: str, item: Object) -> None:
            on_change(item["metadata"]["namespace"])

        self._informers = {kind: Informer(kube, f"/api/v1/{kind}", changed) for kind in ("configmaps", "secrets")}

    async def run(self) -> None:
        """Keep the copies up to date without end."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait for the first copies."""
        for informer in self._informers.values():
            await informer.synced.wait()

    async def _read(self, kind: str, namespace: str, name: str) -> Object | None:
        item = self._informers[kind].items.get(f"{namespace}/{name}")
        # An object that the copy lacks may be newer than the copy.
        return item or await self._kube.get(f"/api/v1/namespaces/{namespace}/{kind}/{name}")

    async def config_map(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Return the data of a ConfigMap, text and binary, or None if there is none."""
        item = await self._read("configmaps", namespace, name)
        if item is None:
            return None
        return _text(item) | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}

    async def config_map_text(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Return the text data of a ConfigMap, or None if there is none."""
        item = await self._read("configmaps", namespace, name)
        return None if item is None else _text(item)

    async def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        """Return the decoded data of a Secret, or None if there is none."""
        item = await self._read("secrets", namespace, name)
        if item is None:
            return None
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}

    async def token(self, pod: Object, audience: str | None, seconds: int) -> tuple[str, float]:
        """Request a service account token bound to the Pod.

        Returns:
            The token, and its expiry in seconds of `time.time`.
        """
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


def _text(config_map: Object) -> dict[str, bytes]:
    return {key: value.encode() for key, value in (config_map.get("data") or {}).items()}


class EventRecorder:
    """Writer of Events; a repeated Event increases the count of the first."""

    def __init__(self, kube: Kube, node: str) -> None:
        """Report Events as the kubelet of `node`."""
        self._kube, self._node = kube, node
        self._queue: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(EVENT_MEMORY)
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}

    def add(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Queue an Event on `pod`; drop it if the queue is full. `kind` is Normal or Warning."""
        if not self._queue.full():
            self._queue.put_nowait((pod, kind, reason, message))

    async def run(self) -> None:
        """Write queued Events without end."""
        while True:
            entry = await self._queue.get()
            try:
                await self._write(*entry)
            except FAULTS as error:
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
