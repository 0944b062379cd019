"""Copies of ConfigMaps and Secrets, and Events."""

import asyncio
import base64
from typing import Any

import pytest

from embedded.kube import ApiError
from embedded.node.kubelet.api_cache import ApiStore, EventRecorder
from tests.unit.embedded.node.documents import POD
from tests.unit.embedded.node.kubelet.fake_pod import until


class Kube:
    """An API server with one ConfigMap and one Secret, which the copies lack; it keeps what is written."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    async def get(self, path: str) -> dict[str, Any] | None:
        encoded = {"key": base64.b64encode(b"\x00").decode()}
        return {
            "/api/v1/namespaces/ns/configmaps/new": {"binaryData": encoded},
            "/api/v1/namespaces/ns/secrets/new": {"data": encoded},
        }.get(path)

    async def create(self, path: str, body: dict[str, Any]) -> None:
        self.events[f"{path}/{body['metadata']['name']}"] = body

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        if path not in self.events:
            raise ApiError(404, "NotFound", "expired")
        self.events[path].update(body)


@pytest.mark.asyncio
async def test_store_without_a_copy_asks_the_api_server() -> None:
    store = ApiStore(Kube(), lambda _: None)  # type: ignore[arg-type]
    assert await store.config_map("ns", "new") == {"key": b"\x00"}
    assert await store.secret("ns", "new") == {"key": b"\x00"}
    assert await store.config_map("ns", "none") is None
    assert await store.secret("ns", "none") is None


@pytest.mark.asyncio
async def test_event_that_repeats_is_counted_until_it_expires() -> None:
    kube = Kube()
    recorder = EventRecorder(kube, "node")  # type: ignore[arg-type]
    run = asyncio.create_task(recorder.run())
    for message in ("one", "two", "one"):
        recorder.add(POD, "Warning", "Failed", message)
    await until(lambda: [event["count"] for event in kube.events.values()] == [2, 1])
    first = next(iter(kube.events.values()))
    assert (first["type"], first["reason"], first["message"]) == ("Warning", "Failed", "one")
    assert first["involvedObject"]["uid"] == "u-1"
    kube.events.clear()
    recorder.add(POD, "Warning", "Failed", "one")
    await until(lambda: [event["count"] for event in kube.events.values()] == [1])
    run.cancel()
