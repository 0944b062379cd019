"""A small asynchronous client of the Kubernetes API for the parts that run inside the cluster.

The official Python client was turned down: importing it costs more memory than all that the node agent does.
"""

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp

Object = dict[str, Any]
log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server refused; `status` is the HTTP status, `reason` Kubernetes' own word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keeps what a caller may decide on."""
        super().__init__(f"{reason} ({status}): {message}")
        self.status, self.reason, self.message = status, reason, message


class Kube:
    """One connection pool to one API server. Use as an asynchronous context manager."""

    def __init__(self, server: str, *, ca_file: str, token: str, request_seconds: float = 30) -> None:
        """Talks to `server` (https URL), trusting `ca_file`, as the owner of the bearer `token`."""
        self._server = server.rstrip("/")
        self._ssl = ssl.create_default_context(cafile=ca_file)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._seconds = request_seconds
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Kube":
        """Opens the connection pool."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection pool."""
        if self._session:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use Kube as an asynchronous context manager")
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; raises ApiError for every status of 400 and above."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._open().request(method, self._server + path, params=params, data=data, headers=headers) as got:
            text = await got.text()
            if got.status >= 400:
                raise _error(got.status, text)
            answer: Object = json.loads(text) if text else {}
            return answer

    async def get(self, path: str) -> Object | None:
        """The object at `path`, or None where there is none."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, path: str, body: Object, **params: str) -> Object:
        """Creates in the collection at `path`."""
        return await self.request("POST", path, params=params, body=body)

    async def delete(self, path: str, body: Object | None = None) -> bool:
        """Deletes the object at `path`; False where there was none."""
        try:
            await self.request("DELETE", path, body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def patch(self, path: str, body: Object, kind: str = "merge") -> Object:
        """Patches with `kind` merge, strategic-merge or json."""
        return await self.request("PATCH", path, body=body, content_type=f"application/{kind}-patch+json")

    async def apply(self, path: str, body: Object, *, manager: str, force: bool = True) -> Object:
        """Server-side apply of `body` to the object at `path`."""
        params = {"fieldManager": manager, "force": str(force).lower()}
        return await self.request("PATCH", path, params=params, body=body, content_type="application/apply-patch+yaml")

    async def lines(self, path: str, params: dict[str, str]) -> aiohttp.ClientResponse:
        """A watch: the open response, to be read line by line and closed by the caller."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._seconds, sock_read=330)
        answer = await self._open().get(self._server + path, params=params, timeout=timeout)
        if answer.status >= 400:
            text = await answer.text()
            answer.release()
            raise _error(answer.status, text)
        return answer


def _error(status: int, text: str) -> ApiError:
    try:
        said = json.loads(text)
        return ApiError(status, said.get("reason") or "Error", said.get("message") or text)
    except (ValueError, AttributeError):
        return ApiError(status, "Error", text.strip()[:200])


def key_of(obj: Object) -> str:
    """`namespace/name`, or `name` for what is cluster-scoped."""
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Informer:
    """Keeps a copy of a collection: list, then watch, again and again for as long as it runs.

    `on_change(event, object)` is called with ADDED, MODIFIED or DELETED; after a relist too, for all it missed.
    """

    def __init__(
        self, kube: Kube, path: str, on_change: Callable[[str, Object], None] | None = None, **params: str
    ) -> None:
        """Watches `path`, narrowed by `params` such as fieldSelector."""
        self._kube, self._path, self._params = kube, path, params
        self._on_change = on_change or (lambda _event, _object: None)
        self.items: dict[str, Object] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Never returns; a lost connection is tried again after half a second."""
        while True:
            try:
                await self._watch(await self._relist())
            except (ApiError, aiohttp.ClientError, TimeoutError, OSError) as error:
                # 410 Gone and a closed stream are a watch's ordinary end; the relist tells what was missed.
                log.info("watch of %s starts again: %s", self._path, error)
                await asyncio.sleep(0.5)

    async def _relist(self) -> str:
        answer = await self._kube.request("GET", self._path, params=self._params)
        fresh = {key_of(item): item for item in answer.get("items") or []}
        for key in [key for key in self.items if key not in fresh]:
            self._on_change("DELETED", self.items.pop(key))
        for key, item in fresh.items():
            before = self.items.get(key)
            self.items[key] = item
            if before is None:
                self._on_change("ADDED", item)
            elif before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                self._on_change("MODIFIED", item)
        self.synced.set()
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        params = {**self._params, "watch": "1", "resourceVersion": version, "timeoutSeconds": "300"}
        answer = await self._kube.lines(self._path, params)
        buffer = b""
        try:
            # Objects can be larger than a stream reader's line limit, so lines are put together here.
            async for chunk in answer.content.iter_any():
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        finally:
            answer.close()

    def _take(self, event: Object) -> None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise ApiError(item.get("code", 500), item.get("reason", "Error"), item.get("message", ""))
        if kind == "DELETED":
            self.items.pop(key_of(item), None)
        elif kind in ("ADDED", "MODIFIED"):
            self.items[key_of(item)] = item
        else:
            return
        self._on_change(kind, item)
