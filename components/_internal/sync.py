"""Waits before and after the write of an object that a waypoint serves: for its status, and for Envoy."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import pulumi

from . import enrollment, envoy, owners, service_ports, waits
from .api import ApiReadError
from .waits import Access, Failed, Problem, Session

GATEWAY = "gateway.networking.k8s.io/gateway-name"
_CLASS = "gateway.networking.k8s.io/gateway-class-name"
# istiod sends nothing if the object changes nothing for the waypoint; otherwise it sends an update within this time.
# Source: istiod, PILOT_DEBOUNCE_MAX.
PUSH_SECONDS = 10.0
Pod = tuple[str, str]  # namespace and name


def services(document: Mapping[str, Any]) -> list[str]:
    """Return the Services that a route, rule or policy is bound to."""
    spec = document["spec"]
    refs = [*(spec.get("parentRefs") or []), *(spec.get("targetRefs") or [])]
    bound = [str(ref["name"]) for ref in refs if ref.get("kind") == "Service"]
    return [*bound, *(host.split(".")[0] for host in spec.get("hosts") or [])]


def gateways(document: Mapping[str, Any]) -> list[str]:
    """Return the Gateways that a policy or Telemetry is bound to."""
    return [str(ref["name"]) for ref in document["spec"].get("targetRefs") or [] if ref.get("kind") == "Gateway"]


def backends(document: Mapping[str, Any]) -> list[str]:
    """Return the Services that a route or rule sends requests to."""
    spec = document["spec"]
    refs = [ref["name"] for rule in spec.get("rules") or [] for ref in rule.get("backendRefs") or []]
    routes = [entry for rule in spec.get("http") or [] for entry in rule.get("route") or []]
    hosts = [entry["destination"]["host"].split(".")[0] for entry in routes if entry.get("weight", 1)]
    return sorted({*map(str, refs), *hosts})


class Waypoints:
    """Running Pods of the waypoints that serve a written object, and the updates that each Envoy has processed."""

    def __init__(self, session: Session) -> None:
        """Begin without Pods."""
        self._session = session
        self.homes: set[str] = set()  # other namespaces, of the waypoints
        self.updates: dict[Pod, envoy.Updates] = {}
        self._closed: set[Pod] = set()

    async def find(self, document: Mapping[str, Any]) -> str:
        """Look up the Pods and their counters before the write.

        Args:
            document: The object that is to be written.

        Returns:
            The reason why the object would have no effect; empty if it has one.

        Raises:
            Failed: A Service has no virtual address.
        """
        bound, named = services(document), gateways(document)
        if not bound and not named:
            return ""
        space = self._session.namespace
        own = self._session.optional(f"/api/v1/namespaces/{space}", HTTPStatus.FORBIDDEN)
        items, home, pods = await asyncio.gather(service_ports.read(self._session, bound), own, self._pods(space))
        found = {(space, name) for name in named}
        for name in bound:
            if name not in items:
                return service_ports.absent(space, name)
            if enrollment.addressless(items[name]):
                raise Failed(
                    f"Service {space}/{name} has no cluster IP (headless or ExternalName), so its traffic "
                    "bypasses the waypoint; name a Service with a cluster IP"
                )
            if home is None and enrollment.PRIMARY not in enrollment.labels(items[name]):
                # If the user may not read the namespace: all its waypoints.
                found |= {(space, gateway) for gateway, waypoint in pods.values() if waypoint}
            elif chosen := enrollment.waypoints(items[name], home or {"metadata": {}}):
                found |= chosen
            else:
                return f"Service {space}/{name} has no waypoint; enroll it, or its namespace, in one"
        ports = (service_ports.problem(items[name], port) for name, port in owners.bound_ports(document, space))
        if why := next(filter(None, ports), ""):
            return why
        self.homes = {place for place, _ in found} - {space}
        for other in self.homes:
            pods |= await self._pods(other)
        mine = [pod for pod, (gateway, _) in pods.items() if (pod[0], gateway) in found]
        try:
            self.updates = dict(zip(mine, await asyncio.gather(*map(self._read, mine)), strict=True))
        except RuntimeError as error:
            if "pods/exec" not in str(error):
                raise
            pulumi.warn(f"only the status is waited for, as the waypoint's Envoy cannot be asked: {error}")
        return ""

    async def _pods(self, namespace: str) -> dict[Pod, tuple[str, bool]]:
        """Return the running Pods of Gateways: the name of each Gateway, and True for a waypoint."""
        chosen = {"labelSelector": GATEWAY, "fieldSelector": "status.phase=Running"}
        found = await self._session.read(f"/api/v1/namespaces/{namespace}/pods", **chosen)
        metas = [item["metadata"] for item in found["items"] if not item["metadata"].get("deletionTimestamp")]
        return {
            (namespace, meta["name"]): (meta["labels"][GATEWAY], meta["labels"].get(_CLASS) == "istio-waypoint")
            for meta in metas
        }

    async def _ask(self, pod: Pod, path: str) -> str:
        return await self._session.run("exec", pod[1], "--", "pilot-agent", "request", "GET", path, namespace=pod[0])

    async def _read(self, pod: Pod) -> envoy.Updates:
        """Return the counters from the Pod's port for metrics, or from inside the Pod where that cannot be reached."""
        path = f"/api/v1/namespaces/{pod[0]}/pods/{pod[1]}:{envoy.METRICS_PORT}/proxy/{envoy.METRICS}"
        if pod not in self._closed:
            try:
                return envoy.updates(await self._session.text(path, filter=envoy.FILTER))
            except ApiReadError:  # no permission, a network policy, or no such Pod
                self._closed.add(pod)
        return envoy.updates(await self._ask(pod, envoy.UPDATES))

    async def behind(self, pushed: bool) -> str:
        """Return a line on the Pod that has not processed an update since `find`; empty if all have, or if none is due.

        Args:
            pushed: False if istiod may have had nothing to send.

        Raises:
            Failed: A Pod rejected its configuration.
        """
        pods = list(self.updates)
        for pod, now in zip(pods, await asyncio.gather(*map(self._read, pods), return_exceptions=True), strict=True):
            where, before = f"waypoint Pod {'/'.join(pod)}", self.updates[pod]
            if isinstance(now, BaseException):
                if not isinstance(now, RuntimeError) or isinstance(now, Failed):
                    raise now
                if pod in await self._pods(pod[0]):
                    return f"{where}: {now}"
                del self.updates[pod]  # its replacement gets the newest configuration when it connects
                continue
            if now.rejected > before.rejected or not pushed:
                dump = json.loads(await self._ask(pod, envoy.DUMP))
                if why := envoy.rejection(dump):
                    raise Failed(f"{where} rejected the configuration: {why}; correct the values")
            if pushed and now.processed == before.processed:
                return f"{where} has not received the configuration"
            if not now.connected:
                return f"{where} is not connected to istiod"
        return ""


async def _empty(session: Session, names: Sequence[str]) -> str:
    """Return a line on the Services without a ready Pod; empty if all have one."""
    path = f"/apis/discovery.k8s.io/v1/namespaces/{session.namespace}/endpointslices"
    chosen = f"kubernetes.io/service-name in ({','.join(names)})"
    return waits.endpoints_problem(names)(await session.read(path, labelSelector=chosen))


def hooks(
    name: str,
    cluster: Access,
    limit: float,
    problem: Problem | None = None,
    *,
    endpoints: bool = False,
    behind: Sequence[service_ports.Port] = (),
) -> pulumi.ResourceHookBinding:
    """Return the hooks around the writes of one object; previews do not run them.

    Before a write, the Services that the object is bound to exist, have a virtual address, the port that it names and a
    waypoint; backends and mirrors have their ports; nobody else routes the Services, or has an object of the name of a
    new one. After it, the status is that of the generation just written, and each Pod of the waypoint has processed an
    update by istiod.

    Args:
        name: Start of the hooks' names, which are unique in a stack whatever the components' types. Names and
            namespaces of objects come from the resource's own inputs and outputs.
        cluster: The cluster that kubectl asks.
        limit: Seconds that each of both waits may take.
        problem: Returns the reason why the status is not as wanted; absent for kinds without a status.
        endpoints: Wait, before a write, for a ready Pod of each backend.
        behind: More ports of Services that get requests, which a failing workload forwards.

    Raises:
        RuntimeError: In a hook, in one line: the limit is over, or waiting cannot help.
    """
    found: list[Waypoints] = []

    async def before(args: pulumi.ResourceHookArgs) -> None:
        document, old = await waits.plain(args.new_inputs), await waits.plain(args.old_inputs) or {"spec": {}}
        asked = Session.of(cluster, document, limit)
        waypoints = Waypoints(asked)
        # What was there before must not refuse a rollback.
        ports = {*service_ports.destinations(document), *behind} - {*service_ports.destinations(old)}

        async def check() -> str:
            why, looks = await waypoints.find(document), list[Awaitable[str]]()
            if document["kind"] in owners.KINDS:
                create, homes = not args.old_inputs, waypoints.homes
                looks.append(owners.check(asked, document, create=create, homes=homes))
            elif not args.old_inputs:
                looks.append(owners.untaken(asked, document))
            if endpoints and (sent := backends(document)):
                looks.append(_empty(asked, sent))
            looks.append(service_ports.missing(asked, ports))
            return next(filter(None, [why, *await asyncio.gather(*looks)]), "")

        await asked.until(check)
        found[:] = [waypoints]

    async def after(args: pulumi.ResourceHookArgs) -> None:
        document, old = await waits.plain(args.new_outputs), await waits.plain(args.old_outputs)
        asked = Session.of(cluster, document, limit)
        generation = ((old or {}).get("metadata") or {}).get("generation")
        changed = generation is None or generation != document["metadata"].get("generation")
        accepted = 0.0

        async def check() -> str:
            nonlocal accepted
            if problem and (why := problem(await asked.read(owners.path(document)))):
                return why
            accepted = accepted or time.monotonic()
            pushed = changed and time.monotonic() - accepted <= min(PUSH_SECONDS, limit / 2)
            late = await asyncio.gather(*(waypoints.behind(pushed) for waypoints in found))
            return next(filter(None, late), "")

        await asked.until(check)

    first, last = pulumi.ResourceHook(f"{name}-ready", before), pulumi.ResourceHook(f"{name}-synced", after)
    return pulumi.ResourceHookBinding(
        before_create=[first], before_update=[first], after_create=[last], after_update=[last]
    )
