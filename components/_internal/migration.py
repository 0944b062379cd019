"""Migration of traffic from one waypoint to another without a lost request, as resource hooks.

istiod removes Services from a waypoint at once, and requests on open connections are then answered with 503. So a
waypoint gets traffic only once its Envoy has the Services, and loses them only once it is drained.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pulumi

from . import enrollment, envoy, label_checks, waits, waypoint_deployment
from .sync import GATEWAY
from .waits import Access, Failed, Session
from .waypoint_parameters import Parameters

# istiod of 1.31 sends only the primary the news that a Service has a canary; the canary's Envoy gets it when it
# connects again, or with any other change that all waypoints get. Source: istiod's PushXdsAddress and
# ServiceInfo.WaypointRef, with AMBIENT_SCOPED_ADDRESS_PUSHES, which is on by default.
PATIENCE_SECONDS = 2.0


async def pods(session: Session, gateway: str, *, ending: bool = False) -> list[str]:
    """Return the running Pods of a waypoint; with `ending`, also those that are about to end."""
    found = await session.get("pods", f"--selector={GATEWAY}={gateway}", "--field-selector=status.phase=Running")
    metas = [item["metadata"] for item in found["items"]]
    return [meta["name"] for meta in metas if ending or not meta.get("deletionTimestamp")]


async def ask(session: Session, pod: str, method: str, path: str) -> str:
    """Return an answer of the admin interface of a waypoint's Envoy."""
    return await session.run("exec", pod, "--", "pilot-agent", "request", method, path)


async def _lack(session: Session, wanted: set[str], gateway: str) -> str:
    """Return which of the `wanted` Services a Pod of a waypoint does not have; empty where all have all."""
    if not (there := await pods(session, gateway)):
        return f"waypoint {gateway} has no running Pod"
    dumps = [
        json.loads(text) for text in await asyncio.gather(*(ask(session, pod, "GET", envoy.DUMP) for pod in there))
    ]
    lacking = sorted(set().union(*(wanted - envoy.services(dump) for dump in dumps)))
    if not lacking:
        return ""
    reason = next(filter(None, map(envoy.rejection, dumps)), "")
    return f"waypoint {gateway} does not have {', '.join(lacking)}" + (f"; it rejected: {reason}" if reason else "")


async def _expected(session: Session, places: Sequence[str]) -> set[str]:
    """Return the enrolled Services that istiod sends to the waypoint; `places` as `enrollment.grouped` takes them."""
    groups = enrollment.grouped(places, session.namespace)
    listed = await asyncio.gather(*(session.get("services", namespace=namespace) for namespace in groups))
    return set().union(*map(enrollment.expected, listed, groups.values()))


async def sync(session: Session, gateway: str, places: Sequence[str] = ()) -> None:
    """Wait until every Pod of a waypoint has the enrolled Services; the namespace's without `places`."""

    async def check() -> str:
        return await _lack(session, await _expected(session, places), gateway)

    await session.until(check)


async def sync_canary(session: Session, primary: str, canary: str, places: Sequence[str] = ()) -> None:
    """Wait until every Pod of a canary has the Services that the primary has.

    A canary that istiod does not update is restarted, one Pod after the other: a proxy that connects gets everything.
    """
    since, restarted = 0.0, False

    async def check() -> str:
        nonlocal since, restarted
        wanted = await _expected(session, places)
        if why := await _lack(session, wanted, primary):
            return why  # there is nothing to compare the canary with
        if why := await _lack(session, wanted, canary):
            since = since or time.monotonic()
            if "does not have" in why and not restarted and time.monotonic() - since > PATIENCE_SECONDS:
                pulumi.info(f"{why}; its Pods are restarted")
                await session.run("rollout", "restart", f"deployment/{canary}")
                restarted = True
            return f"{why} (a canary waypoint needs Istio 1.31 or newer)" if "does not have" in why else why
        # After an interrupted update: Pods that are about to be replaced would end while they serve.
        return await _rollout(session, canary)

    await session.until(check)


async def rolled_out(session: Session, gateway: str, parameters: Parameters | None) -> None:
    """Wait until a waypoint's Deployment has its parameters and is rolled out."""
    if parameters:
        await waypoint_deployment.settle(session, gateway, parameters)
    else:
        await session.until(lambda: _rollout(session, gateway))


async def _rollout(session: Session, gateway: str) -> str:
    """Return why a waypoint's Deployment is not rolled out; empty if it is."""
    why = waits.rollout_problem(await session.get("deployment", gateway))
    return f"waypoint {gateway}: {why}" if why else ""


async def drain(session: Session, gateway: str, enrolled: Sequence[Mapping[str, Any]]) -> None:
    """Drain a waypoint's open connections, then end its Pods, so that it can lose its Services.

    Each client reads in its next answer that it has to connect again, and then gets the other waypoint. Requests may
    take as long as the session; streams of TCP without HTTP are cut, as by any restart.

    Args:
        session: kubectl in the waypoint's namespace.
        gateway: Name of the waypoint's Gateway.
        enrolled: The objects with the labels.

    Raises:
        RuntimeError: `enrolled` still send new connections to the waypoint, and it can take them.
    """
    if not await pods(session, gateway, ending=True):
        return
    left = max(enrollment.share(item, gateway) for item in enrolled)
    if left and await _ready(session, gateway):
        raise Failed(
            f"waypoint {gateway} still gets {left} % of the new connections, so requests would be lost: bring it to 0 "
            f"first by the canary's weight (100 for a canary that takes over, 0 for one that is removed)"
        )
    pulumi.info(f"waypoint {gateway}: its open connections are drained, then its Pods end")
    drained: set[str] = set()

    async def idle() -> str:
        there = await pods(session, gateway)
        for pod in set(there) - drained:
            # Each answer then ends its connection; new ones are still served, should the wait below fail.
            await ask(session, pod, "POST", envoy.DRAIN)
            drained.add(pod)
        answers = await asyncio.gather(*(ask(session, pod, "GET", envoy.REQUESTS) for pod in there))
        active = sum(envoy.active_requests(json.loads(answer)) for answer in answers)
        return f"{active} requests through waypoint {gateway} are still active" if active else ""

    async def ended() -> str:
        there = await pods(session, gateway, ending=True)
        return f"waypoint {gateway} has not ended: {', '.join(there)}" if there else ""

    await session.until(idle)
    await waypoint_deployment.release(session, gateway)
    await session.run("scale", f"deployment/{gateway}", "--replicas=0")
    await session.until(ended)


async def _ready(session: Session, gateway: str) -> bool:
    """Check that a waypoint has a Pod that takes traffic."""
    found = await session.get("deployments", f"--selector={GATEWAY}={gateway}")
    return any(item.get("status", {}).get("availableReplicas", 0) for item in found["items"])


async def _begin(home: pulumi.Input[str], cluster: Access, limit: float) -> Session:
    """Begin a session in the namespace of the waypoint."""
    space = str(await waits.plain(home))
    return Session(cluster, space, limit, where=f"namespace {space}")


def before_labels(
    name: str, cluster: Access, home: pulumi.Input[str], places: Sequence[str], limit: float
) -> pulumi.ResourceHook:
    """Return a hook before the labels change: check a new canary, and drain the waypoints that they name no more."""

    async def before(args: pulumi.ResourceHookArgs) -> None:
        document = await waits.plain(args.new_inputs)
        old, new = enrollment.labels(await waits.plain(args.old_inputs)), enrollment.labels(document)
        session = await _begin(home, cluster, limit)
        await label_checks.check_labels(session, places, enrollment.every_label(document))
        if canary := new.get(enrollment.CANARY):
            if canary not in old.values():
                label_checks.check_canary(canary, await label_checks.enrolled_objects(session, places))
            if left := await label_checks.with_own_label(session, places, new[enrollment.PRIMARY]):
                pulumi.warn(f"waypoint {canary} gets no connections to {label_checks.own_label_line(left)}")
        for gateway in sorted({*old.values()} - {*new.values()}):
            session = await _begin(home, cluster, limit)
            if left := await label_checks.with_own_label(session, places, gateway):
                raise Failed(f"waypoint {gateway} is still that of {label_checks.own_label_line(left)}")
            await drain(session, gateway, await label_checks.enrolled_objects(session, places))

    return pulumi.ResourceHook(name, before)


def hook(
    name: str, cluster: Access, home: pulumi.Input[str], limit: float, wait: Callable[[Session], Awaitable[None]]
) -> pulumi.ResourceHook:
    """Return a hook that waits as `wait` does, with a session in the namespace of the waypoint."""

    async def run(_args: pulumi.ResourceHookArgs) -> None:
        await wait(await _begin(home, cluster, limit))

    return pulumi.ResourceHook(name, run)
