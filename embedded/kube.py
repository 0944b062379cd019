"""A small asynchronous client of the Kubernetes API for the components of the embedded cluster.

No client library has an informer, and each costs the node agent more memory and a slower start; see
docs/architecture.md.
"""

import asyncio
import json
import logging
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

import aiohttp

Object = dict[str, Any]
log = logging.getLogger(__name__)


class ApiError(Exception):
    """The API server refused a request; `status` is the HTTP status."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep the status; `reason` is the reason as Kubernetes names it, for example `NotFound`."""
        super().__init__(f"{reason} ({status}): {message}")
        self.status = status


FAULTS = (ApiError, aiohttp.ClientError, OSError)  # of talking to the API server; a TimeoutError is an OSError


def now() -> str:
    """Return the present time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Kube:
    """A connection pool to one API server. Use it as an asynchronous context manager."""

    def __init__(self, server: str, *, ca_file: str, token: str, request_seconds: float = 30) -> None:
        """Prepare a client; nothing is sent yet.

        Args:
            server: The https URL.
            ca_file: The certificate authority to trust, PEM.
            token: The bearer token.
            request_seconds: The limit of one request.
        """
        self._server = server.rstrip("/")
        self._ssl = ssl.create_default_context(cafile=ca_file)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._seconds = request_seconds
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> "Kube":
        """Open the connection pool."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            # Without the clean-up, Python before 3.12.7 keeps the connection of a request that timed out open.
            connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0, enable_cleanup_closed=sys.version_info < (3, 12, 7)),
            timeout=aiohttp.ClientTimeout(total=self._seconds),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Send one request and return the decoded answer.

        Args:
            method: HTTP method.
            path: API path of an object or a collection.
            params: Query parameters.
            body: Object to send as JSON.
            content_type: Format of the body; it selects the kind of a patch.

        Raises:
            ApiError: The status is 400 or above.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content_type}
        async with self._session.request(method, self._server + path, params=params, data=data, headers=headers) as got:
            text = await got.text()
            if got.status >= 400:
                raise _error(got.status, text)
            answer: Object = json.loads(text) if text else {}
            return answer

    async def get(self, path: str) -> Object | None:
        """Return the object at `path`, or None if there is none."""
        try:
            return await self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, path: str, body: Object) -> Object:
        """Create an object in the collection at `path`."""
        return await self.request("POST", path, body=body)

    async def delete(self, path: str, body: Object | None = None) -> bool:
        """Delete the object at `path`; return False if there was none."""
        try:
            await self.request("DELETE", path, body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def patch(self, path: str, body: Object, kind: str = "merge") -> Object:
        """Patch the object at `path`; `kind` is merge, strategic-merge or json."""
        return await self.request("PATCH", path, body=body, content_type=f"application/{kind}-patch+json")

    async def apply(self, path: str, body: Object, *, manager: str) -> Object:
        """Apply `body` to the object at `path` as field manager `manager`, and take fields that others own."""
        params = {"fieldManager": manager, "force": "true"}
        return await self.request("PATCH", path, params=params, body=body, content_type="application/apply-patch+yaml")

    async def lines(self, path: str, params: dict[str, str]) -> aiohttp.ClientResponse:
        """Open a watch; the caller reads the response line by line and closes it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._seconds, sock_read=330)
        answer = await self._session.get(self._server + path, params=params, timeout=timeout)
        if answer.status >= 400:
            text = await answer.text()
            answer.release()
            raise _error(answer.status, text)
        return answer


def _error(status: int, text: str) -> ApiError:
    try:
        answer = json.loads(text)
        return ApiError(status, answer.get("reason") or "Error", answer.get("message") or text)
    except (ValueError, AttributeError):
        return ApiError(status, "Error", text.strip()[:200])


def key_of(obj: Object) -> str:
    """Return `namespace/name`, or `name` for a cluster-scoped object."""
    meta = obj["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


class Informer:
    """A copy of a collection, kept up to date by list and watch.

    `on_change(event, object)` is called with ADDED, MODIFIED or DELETED, also for changes that only a relist shows.

    Attributes:
        items: The objects by `namespace/name`.
        synced: Set after the first list.
    """

    def __init__(
        self, kube: Kube, path: str, on_change: Callable[[str, Object], None] | None = None, **params: str
    ) -> None:
        """Prepare a copy of the collection at `path`, narrowed by `params` such as fieldSelector."""
        self._kube, self._path, self._params = kube, path, params
        self._on_change = on_change or (lambda _event, _object: None)
        self.items: dict[str, Object] = {}
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Keep the copy up to date without end; retry a lost connection after half a second."""
        while True:
            try:
                await self._watch(await self._relist())
            except FAULTS as error:
                # 410 Gone and a closed stream are a watch's normal end; the relist shows the changes in between.
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
