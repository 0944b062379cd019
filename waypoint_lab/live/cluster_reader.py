"""Read counters, routes, logs and objects of a stack's cluster for the sampler."""

import asyncio
import json
import time
from pathlib import Path

from components._internal import envoy
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ODD
from waypoint_lab.live import envoy_state, updates
from waypoint_lab.live.cluster_objects import PATHS, POD, SERVICE, ClusterObjects
from waypoint_lab.live.connection import Admin, Api
from waypoint_lab.live.envoy_state import ServiceRoutes
from waypoint_lab.live.model import Change
from waypoint_lab.live.objects import RouteTarget
from waypoint_lab.live.window import Window, logged
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import GATEWAY_LABEL, EndpointCounters, Endpoints

LISTENERS = "config_dump?resource=dynamic_listeners"
NOT_INSTALLED = "404 page not found"  # answer of an API server that does not know a kind
ASK_SECONDS = 0.4  # for one round of questions; a later round takes the answer of a Pod that needs longer
AGAIN_SECONDS = 1.0  # between two tries of a watch, a log or a Pod that did not answer
MOST_CHANGES = 50


class ClusterReader:
    """Reader of one namespace's waypoints."""

    def __init__(self, config: LabConfig, folder: Path, stack: str, window_seconds: float, api: Api) -> None:
        """Keep the parts; nothing is read yet."""
        self.config, self._folder, self._stack, self._api = config, folder, stack, api
        self.objects, self.window = ClusterObjects(), Window(window_seconds)
        self.routes: dict[RouteTarget, ServiceRoutes] = {}  # of all Envoys; where they differ, of the last to change
        self._routes: dict[str, dict[RouteTarget, ServiceRoutes]] = {}  # by Pod, the last to change at the end
        self.live_changes: list[Change] = []
        self.updates: list[Change] = []
        self.woken = asyncio.Event()  # by a change of an object
        self._problems: dict[str, str] = {}
        self._admins: dict[str, Admin] = {}
        self._asking: dict[str, asyncio.Task[tuple[Endpoints, int] | None]] = {}
        self._logs: dict[str, asyncio.Task[None]] = {}
        self._processed: dict[str, int] = {}
        self._again: dict[str, float] = {}  # time by the monotonic clock before which a Pod is not asked again
        self._old_pods: set[str] | None = None  # of the start and not counted yet: their first counters are from before

    def problem(self) -> str:
        """Return the reason why something cannot be read; empty where all is read."""
        return next(iter(self._problems.values()), "")

    def start(self) -> list["asyncio.Task[None]"]:
        """Start the watches, and the reader of the stack's updates."""
        work = [self._follow_waypoints(), *(self._watch(kind) for kind in PATHS if kind != POD), self._follow_updates()]
        return [asyncio.create_task(one) for one in work]

    def take(self, config: LabConfig) -> None:
        """Take the stack's config, which has changed. Another cluster or namespace needs a new reader."""
        self._problems.pop("config", None)
        if _places(config) == _places(self.config):
            self.config = config
        else:
            self._problems["config"] = f"stack {self._stack}: its cluster or namespaces changed; start the view again"

    async def close(self) -> None:
        """End the logs and the processes."""
        tasks = [*self._logs.values(), *self._asking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(admin.close() for admin in self._admins.values()))

    async def _follow_waypoints(self) -> None:
        """Watch the Pods of the waypoints that the config names at each time."""
        while True:
            names = {*self.config.waypoints}
            watch = asyncio.create_task(self._watch(POD))
            try:
                while names == {*self.config.waypoints}:
                    await asyncio.wait([watch], timeout=AGAIN_SECONDS)
                    if watch.done():  # by an error alone
                        watch.result()
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, kind: str) -> None:
        namespace = self.config.waypoint_namespace if kind == POD else self.config.app.namespace
        selector = f"{GATEWAY_LABEL} in ({','.join(self.config.waypoints)})" if kind == POD else ""
        while True:
            try:
                async for event, item in self._api.watch(PATHS[kind].format(namespace), selector):
                    self.objects.take(kind, event, item)
                    if kind not in (POD, SERVICE):
                        self.woken.set()
                    self._problems.pop(kind, None)
            except KubectlError as error:
                if NOT_INSTALLED not in str(error):
                    self._problems[kind] = f"{kind}s of namespace {namespace} cannot be watched ({error})"
            except ODD as error:
                self._problems[kind] = f"{kind}s of namespace {namespace}: unknown answer ({type(error).__name__})"
            await asyncio.sleep(AGAIN_SECONDS)

    async def _follow_log(self, pod: str) -> None:
        what = f"log of {pod}"
        while True:
            # A refusal comes at once; the status of a log without a line does not.
            opened = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._problems.pop, what, None)
            try:
                async for line in self._api.log(self.config.waypoint_namespace, pod):
                    for one in logged(line.decode(errors="replace"), time.monotonic(), pod):
                        self.window.add_line(one)
                    self._problems.pop(what, None)
            except KubectlError as error:
                if "forbidden" in str(error):
                    self._problems[what] = f"{what} cannot be read ({error}); grant `get` on pods/log there"
            except ODD as error:
                self._problems[what] = f"{what}: unknown line ({type(error).__name__})"
            finally:
                opened.cancel()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _follow_updates(self) -> None:
        async for found in updates.follow(self._folder, self._stack, lambda: self.objects.by_pulumi):
            self.updates = found

    async def read(self) -> bool:
        """Read the counters once. Return True if the routes of an Envoy have changed."""
        if not self.objects.complete:
            return False
        pods = self.objects.pods()
        await self._follow_pods(pods)
        if not pods:
            what = f"{', '.join(self.config.waypoints)} of namespace {self.config.waypoint_namespace}"
            self._problems["pods"] = f"no Pod of waypoint {what} runs; turn stages.waypoint on"
            if self.window.began:
                self._add({})  # so that the traffic of before leaves the window
            return False
        self._problems.pop("pods", None)
        answers = await self._answers(pods)
        self._add({pod: found[0] for pod, found in answers.items()})
        changed = False
        for pod, found in answers.items():
            if found[1] != self._processed.get(pod):
                changed |= await self._read_routes(pod, found[1])
        if changed:
            known = {pod: found[0] for pod, found in (await self._answers(pods)).items()}
            self.window.start(EndpointCounters(known), time.monotonic())
        return changed

    async def _answers(self, pods: list[str]) -> dict[str, tuple[Endpoints, int]]:
        """Ask each Pod that is not being asked, and return the answers that came within ASK_SECONDS."""
        for pod in pods:
            if pod not in self._asking:
                self._asking[pod] = asyncio.create_task(self._ask(pod))
        await asyncio.wait([self._asking[pod] for pod in pods], timeout=ASK_SECONDS)
        came = {pod: self._asking.pop(pod).result() for pod in pods if self._asking[pod].done()}
        return {pod: found for pod, found in came.items() if found}

    def _add(self, counters: dict[str, Endpoints]) -> None:
        now, waited = time.monotonic(), self._old_pods or set()
        self.window.baseline(EndpointCounters({pod: found for pod, found in counters.items() if pod in waited}))
        waited.difference_update(counters)
        if not self.window.began:
            self.window.start(EndpointCounters(counters), now)
        else:
            self.window.add(EndpointCounters(counters), now)

    async def _follow_pods(self, pods: list[str]) -> None:
        if self._old_pods is None:
            self._old_pods = set(pods)
        for pod in set(self._admins) - set(pods):
            self._logs.pop(pod).cancel()
            self._processed.pop(pod, None)
            self._routes.pop(pod, None)
            self._merge_routes()
            for what in ("counters", "routes", "log"):
                self._problems.pop(f"{what} of {pod}", None)
            if asking := self._asking.pop(pod, None):
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            await self._admins.pop(pod).close()
        for pod in pods:
            if pod not in self._admins:
                self._admins[pod] = Admin(self.config.target, self.config.waypoint_namespace, pod)
                self._logs[pod] = asyncio.create_task(self._follow_log(pod))

    async def _ask(self, pod: str) -> tuple[Endpoints, int] | None:
        """Return the counters of a Pod and the number of updates that its Envoy has processed; None without answer."""
        namespace, admin = self.config.waypoint_namespace, self._admins[pod]
        if time.monotonic() < self._again.get(pod, 0.0):
            return None
        try:
            text, stats = await admin.ask(envoy.REQUESTS), await admin.ask(envoy.UPDATES)
            with kubectl.readable(f"counters of {namespace}/{pod}"):
                found = endpoint_counters.endpoints(json.loads(text)), envoy.updates(stats).processed
        except KubectlError as error:
            self._problems[f"counters of {pod}"] = str(endpoint_counters.explained(error, namespace))
            self._again[pod] = time.monotonic() + AGAIN_SECONDS
            return None
        self._problems.pop(f"counters of {pod}", None)
        return found

    async def _read_routes(self, pod: str, processed: int) -> bool:
        """Read the routes of a Pod's Envoy after so many updates. Return True if they have changed."""
        what = f"routes of {pod}"
        if time.monotonic() < self._again.get(what, 0.0):
            return False
        try:
            text = await self._admins[pod].ask(LISTENERS)
            with kubectl.readable(f"routes of {self.config.waypoint_namespace}/{pod}"):
                now = envoy_state.read(json.loads(text))
        except KubectlError as error:
            self._problems[what] = str(error)
            self._again[what] = time.monotonic() + AGAIN_SECONDS
            return False
        self._problems.pop(what, None)
        self._processed[pod] = processed
        if self._routes.get(pod) == now:
            return False
        self._routes.pop(pod, None)
        self._routes[pod] = now
        self._merge_routes()
        return True

    def _merge_routes(self) -> None:
        """Take the routes of all Pods, and note what changed. Without a Pod, the last ones are kept."""
        before = self.routes
        now = {place: routes for of_pod in self._routes.values() for place, routes in of_pod.items()}
        if not self._routes:
            return
        self.routes = now
        if before and before != now:  # the first routes are no change
            texts = envoy_state.changes(before, now)
            self.live_changes += [Change(time=time.time(), kind="live", text=text) for text in texts]
            del self.live_changes[:-MOST_CHANGES]


def _places(config: LabConfig) -> tuple[object, ...]:
    """Return the parts of a config that tell where a reader reads."""
    return config.target, config.app.namespace, config.waypoint_namespace
