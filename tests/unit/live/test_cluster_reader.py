"""Readings of a cluster: the first counters, a change of the routes, Pods that come and go, and missing permissions."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.configs import lab_config
from tests.unit.live.answers import BASELINE, CANARY, CONFIG, counters, listeners, pod
from tests.unit.live.test_window import BASE, NEXT
from waypoint_lab.errors import KubectlError
from waypoint_lab.live import cluster_reader
from waypoint_lab.live.cluster_objects import POD
from waypoint_lab.live.cluster_reader import ClusterReader
from waypoint_lab.live.connection import Api

WAYPOINTS = "waypoint,waypoint-b"
UPDATES = "listener_manager.lds.update_success: {}"
FORBIDDEN = 'kubectl exec: pods "w-1" is forbidden: User "ci" cannot create resource "pods/exec"'


class Envoys:
    """Answers of the admin interface of each Pod; an error is raised."""

    def __init__(self) -> None:
        self.requests: dict[str, dict[str, int] | KubectlError] = {"w-1": {"reviews_baseline": 500}}
        self.routes = listeners({BASELINE: 100})
        self.routes_of: dict[str, Any] = {}  # of single Pods; an error is raised
        self.processed = 1
        self.closed: list[str] = []
        self.hanging: set[str] = set()

    def admin(self, _target: object, _namespace: str, name: str) -> "Admin":
        return Admin(self, name)


class Admin:
    """The admin interface of one Pod."""

    def __init__(self, envoys: Envoys, name: str) -> None:
        self._envoys, self._name = envoys, name

    async def ask(self, path: str) -> str:
        while self._name in self._envoys.hanging:
            await asyncio.sleep(0.01)
        found = self._envoys.requests[self._name]
        if isinstance(found, KubectlError):
            raise found
        if path.startswith("clusters"):
            return json.dumps(counters(**found))
        if "dump" not in path:
            return UPDATES.format(self._envoys.processed)
        routes = self._envoys.routes_of.get(self._name, self._envoys.routes)
        if isinstance(routes, KubectlError):
            raise routes
        return json.dumps(routes)

    async def close(self) -> str:
        self._envoys.closed.append(self._name)
        return ""


class Logs:
    """An API server whose logs are silent, with watches that end by an error or never."""

    def __init__(self) -> None:
        self.error = ""
        self.watched: list[str] = []

    async def watch(self, _path: str, selector: str = "") -> Any:
        self.watched.append(selector)
        if self.error:
            raise KubectlError(self.error)
        yield "LIST", {"items": []}
        await asyncio.sleep(60)

    async def log(self, _namespace: str, _pod: str) -> Any:
        await asyncio.sleep(60)
        yield b""


Read = Callable[[Callable[[ClusterReader, Envoys], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Read:
    """Run a test with a reader of a cluster with one Pod."""
    envoys = Envoys()
    monkeypatch.setattr(cluster_reader, "Admin", envoys.admin)

    def run(test: Callable[[ClusterReader, Envoys], Coroutine[Any, Any, None]]) -> None:
        async def inside() -> None:
            reader = ClusterReader(CONFIG, tmp_path, "dev", 10.0, cast(Api, Logs()))
            reader.objects.take(POD, "LIST", {"items": [pod("w-1")]})
            try:
                await test(reader, envoys)
            finally:
                await reader.close()

        asyncio.run(inside())

    return run


def test_read_requests_of_before_are_not_counted(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        assert await reader.read()
        envoys.requests["w-1"] = {"reviews_baseline": 520}
        assert not await reader.read()
        assert reader.window.counts[BASE].requests == 20
        assert reader.live_changes == []
        assert reader.problem() == ""

    read(test)


def test_read_new_routes_start_the_window_again(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        await reader.read()
        envoys.routes, envoys.processed = listeners({BASELINE: 50, CANARY: 50}), 2
        envoys.requests["w-1"] = {"reviews_baseline": 560}
        assert await reader.read()
        assert [one.text for one in reader.live_changes] == ["reviews: 50 % reviews-baseline, 50 % reviews-stable"]
        envoys.requests["w-1"] = {"reviews_baseline": 562, "reviews_stable": 3}
        assert not await reader.read()
        assert {place: counts.requests for place, counts in reader.window.counts.items()} == {BASE: 2, NEXT: 3}

    read(test)


def test_read_update_without_new_routes_keeps_the_window(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        await reader.read()
        envoys.processed = 2
        assert not await reader.read()

    read(test)


def test_read_new_pod_counts_whole_and_an_old_one_ends(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        await reader.read()
        envoys.requests["w-2"] = {"reviews_baseline": 30}
        reader.objects.take(POD, "ADDED", pod("w-2"))
        await reader.read()
        assert reader.window.totals[BASE].requests == 30
        reader.objects.take(POD, "DELETED", pod("w-1"))
        await reader.read()
        assert envoys.closed == ["w-1"]

    read(test)


def test_read_without_permission_names_it(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        envoys.requests["w-1"] = KubectlError(FORBIDDEN)
        assert not await reader.read()
        assert "grant `get` and `list` on pods and `create` on pods/exec there" in reader.problem()
        envoys.requests["w-1"] = {"reviews_baseline": 900}
        assert not await reader.read()
        assert reader.problem()  # asked again a moment later only
        reader._again.clear()
        await reader.read()
        assert reader.problem() == ""
        assert BASE not in reader.window.counts

    read(test)


def test_read_without_pods_says_so(read: Read) -> None:
    async def test(reader: ClusterReader, _envoys: Envoys) -> None:
        reader.objects.take(POD, "LIST", {"items": []})
        assert not await reader.read()
        assert "no Pod of waypoint waypoint of namespace" in reader.problem()

    read(test)


def test_read_routes_that_failed_once_are_read_again_a_moment_later(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        envoys.routes_of["w-1"] = KubectlError("kubectl exec: no answer within 10 s")
        assert not await reader.read()
        del envoys.routes_of["w-1"]
        envoys.requests["w-1"] = {"reviews_baseline": 520}
        assert not await reader.read()
        assert "no answer" in reader.problem()
        assert reader.window.counts[BASE].requests == 20
        reader._again.clear()
        assert await reader.read()
        assert ([place.name for place in reader.routes], reader.problem()) == (["reviews"], "")

    read(test)


def test_read_routes_of_all_pods_are_merged(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        envoys.requests["b-1"] = {}
        envoys.routes_of["b-1"] = listeners()
        reader.objects.take(POD, "ADDED", pod("b-1"))
        await reader.read()
        assert [place.name for place in reader.routes] == ["reviews"]
        envoys.routes_of, envoys.processed = {"w-1": {"configs": []}}, 2
        await reader.read()
        reader.objects.take(POD, "DELETED", pod("w-1"))
        await reader.read()
        assert [place.name for place in reader.routes] == ["reviews"]
        assert reader.live_changes == []

    read(test)


def test_read_routes_that_only_a_deleted_pod_had_are_gone(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        envoys.requests["b-1"], envoys.routes_of["b-1"] = {}, {"configs": []}
        reader.objects.take(POD, "ADDED", pod("b-1"))
        await reader.read()
        reader.objects.take(POD, "DELETED", pod("w-1"))
        await reader.read()
        assert [one.text for one in reader.live_changes] == ["reviews: no route"]
        reader.objects.take(POD, "DELETED", pod("b-1"))
        reader.objects.take(POD, "ADDED", pod("w-1"))
        await reader.read()
        assert [place.name for place in reader.routes] == ["reviews"]

    read(test)


def test_read_does_not_wait_for_a_pod_that_hangs_and_takes_its_answer_later(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_reader, "ASK_SECONDS", 0.05)

    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        envoys.requests["w-2"] = {"reviews_baseline": 0}
        reader.objects.take(POD, "ADDED", pod("w-2"))
        await reader.read()
        envoys.hanging = {"w-2"}
        envoys.requests = {"w-1": {"reviews_baseline": 520}, "w-2": {"reviews_baseline": 7}}
        await asyncio.wait_for(reader.read(), 5)
        assert reader.window.counts[BASE].requests == 20
        envoys.hanging.clear()
        await reader.read()
        assert reader.window.counts[BASE].requests == 27
        envoys.hanging = {"w-1", "w-2"}
        await asyncio.wait_for(reader.read(), 5)
        reader.objects.take(POD, "DELETED", pod("w-2"))
        await asyncio.wait_for(reader.read(), 5)
        assert envoys.closed == ["w-2"]

    read(test)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, at most five seconds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def test_take_config_of_a_migration_watches_the_pods_of_both_waypoints(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_reader, "AGAIN_SECONDS", 0.01)

    async def test(reader: ClusterReader, _envoys: Envoys) -> None:
        watched = cast(Logs, reader._api).watched
        task = asyncio.create_task(reader._follow_waypoints())
        await until(lambda: watched)
        reader.take(lab_config("waypoint", waypoint={"canary": {"name": "waypoint-b", "weight": 10}}))
        await until(lambda: len(watched) > 1)
        task.cancel()
        assert watched == [f"gateway.networking.k8s.io/gateway-name in ({it})" for it in ("waypoint", WAYPOINTS)]
        assert reader.problem() == ""
        reader.take(lab_config("waypoint", waypoint={"namespace": "mesh"}))
        assert reader.problem() == "stack dev: its cluster or namespaces changed; start the view again"
        reader.take(lab_config("waypoint"))
        assert reader.problem() == ""

    read(test)


@pytest.mark.parametrize("error", ["API server: 404 page not found", "API server: connection refused"])
def test_watch_of_a_kind_that_is_not_installed_is_no_problem(read: Read, error: str) -> None:
    async def test(reader: ClusterReader, _envoys: Envoys) -> None:
        api = cast(Logs, reader._api)
        api.error = error
        task = asyncio.create_task(reader._watch("VirtualService"))
        await until(lambda: api.watched)
        task.cancel()
        assert ("connection refused" in error) == bool(reader.problem())

    read(test)


def test_read_without_pods_any_more_empties_the_window(read: Read) -> None:
    async def test(reader: ClusterReader, envoys: Envoys) -> None:
        reader.window.seconds = 0.0  # each reading drops those of before
        await reader.read()
        envoys.requests["w-1"] = {"reviews_baseline": 520}
        reader.window.seconds = 60.0
        await reader.read()
        assert (reader.window.counts[BASE].requests, reader.window.active[BASE]) == (20, 1)
        reader.window.seconds = 0.0
        reader.objects.take(POD, "DELETED", pod("w-1"))
        await reader.read()
        assert (reader.window.counts, reader.window.active) == ({}, {})

    read(test)


def test_log_that_is_not_refused_any_more_is_no_problem(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_reader, "AGAIN_SECONDS", 0.05)
    refused = True

    async def log(_namespace: str, _pod: str) -> Any:
        if refused:
            raise KubectlError('API server: pods "w-1" is forbidden')
        await asyncio.sleep(60)
        yield b""

    async def test(reader: ClusterReader, _envoys: Envoys) -> None:
        nonlocal refused
        monkeypatch.setattr(reader._api, "log", log)
        task = asyncio.create_task(reader._follow_log("w-1"))
        await until(reader.problem)
        assert reader.problem().endswith("is forbidden); grant `get` on pods/log there")
        refused = False
        await until(lambda: not reader.problem())
        task.cancel()

    read(test)
