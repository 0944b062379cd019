"""How traffic goes over from one waypoint to another, and no request is lost: waits and deeds as resource hooks.

What istiod takes away from a waypoint it takes at once, open connections or not: a request on one of them is then
answered 503. So a waypoint gets traffic only once its Envoy knows the Services, and loses them only once nothing comes.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from . import waits
from .waits import Look, Target

PRIMARY, CANARY = "istio.io/use-waypoint", "istio.io/use-waypoint-canary"
WEIGHT = "istio.io/use-waypoint-canary-weight"
_OF_GATEWAY = "gateway.networking.k8s.io/gateway-name"
# istiod of 1.31 tells only the primary that a Service has a canary now; the canary's Envoy learns of it when it
# connects anew, or with any other change that all waypoints are told of. Source: istiod's PushXdsAddress and
# ServiceInfo.WaypointRef, with AMBIENT_SCOPED_ADDRESS_PUSHES, which is on by default.
PATIENCE_SECONDS = 2.0
_SERVICE = re.compile(r"inbound-vip\|.*\|([^|.]+)\.([^|.]+)\.svc\.[^|]*")
_WEIGHT = re.compile(r"[+-]?0{0,9}[0-9]{1,3}")  # as Go's Atoi reads it


class Cluster:
    """What the hooks ask of one namespace's waypoints, and do to them. All raise RuntimeError, in one line."""

    def __init__(self, target: Target, namespace: str, limit_seconds: float, look: Look = waits.look) -> None:
        """`look` runs one kubectl command; everything ends `limit_seconds` after the hook began."""
        self._target, self._namespace, self._look = target, namespace, look
        self.limit = limit_seconds
        self.end = time.monotonic() + limit_seconds

    async def run(self, *arguments: str) -> str:
        """What kubectl answers."""
        command = self._target.kubectl(arguments[0], "--namespace", self._namespace, *arguments[1:])
        done = await asyncio.to_thread(self._look, command)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["kubectl said nothing"])[-1])
        return done.stdout

    async def get(self, *what: str) -> dict[str, Any]:
        """An object, or a list of them."""
        found: dict[str, Any] = json.loads(await self.run("get", *what, "--output", "json"))
        return found

    async def pods(self, gateway: str, *, ending: bool = False) -> list[str]:
        """The running Pods of a waypoint; with `ending`, those that are about to end among them."""
        found = await self.get("pods", f"--selector={_OF_GATEWAY}={gateway}", "--field-selector=status.phase=Running")
        metas = [item["metadata"] for item in found["items"]]
        return [meta["name"] for meta in metas if ending or not meta.get("deletionTimestamp")]

    async def ready(self, gateway: str) -> bool:
        """Whether the waypoint has a Pod that takes traffic."""
        found = await self.get("deployments", f"--selector={_OF_GATEWAY}={gateway}")
        return any(item.get("status", {}).get("availableReplicas", 0) for item in found["items"])

    async def envoy(self, pod: str, method: str, path: str) -> str:
        """An answer of the admin interface of a waypoint's Envoy."""
        return await self.run("exec", pod, "--", "pilot-agent", "request", method, path)

    async def pause(self, what: str) -> None:
        """Waits a moment for `what`; raises where the time is over."""
        if time.monotonic() >= self.end:
            raise RuntimeError(f"waited {self.limit:g} s: {what}")
        await asyncio.sleep(waits.POLL_SECONDS)


def known(dump: Mapping[str, Any]) -> set[str]:
    """The Services, as `name.namespace`, that a waypoint's Envoy takes requests for, and knows a way on for.

    Both are looked at: any change of its listeners tells a canary of Services whose clusters istiod does not send.
    """
    parts = dump.get("configs", [])
    clusters = {
        item.get("cluster", {}).get("name") for part in parts for item in part.get("dynamic_active_clusters", [])
    }
    chains = {
        str(chain.get("name", ""))
        for part in parts
        for item in part.get("dynamic_listeners", [])
        for chain in item.get("active_state", {}).get("listener", {}).get("filter_chains", [])
    }
    return {f"{found[1]}.{found[2]}" for name in chains & clusters if (found := _SERVICE.match(name))}


def expected(services: Mapping[str, Any], names: Sequence[str]) -> set[str]:
    """The Services of a list, as `name.namespace`, that have the canary: `names`, or without them all but exceptions.

    Source: istiod: no waypoint for gateways, for Services without an address of their own, or for UDP alone; and the
    namespace's canary is not that of a Service with a label of its own (buildWeightedWaypoints).
    """
    found = set()
    for item in services["items"]:
        meta, spec = item["metadata"], item["spec"]
        labels = meta.get("labels") or {}
        chosen = meta["name"] in names if names else PRIMARY not in labels
        ports = [port for port in spec.get("ports") or [] if port.get("protocol", "TCP") == "TCP"]
        if chosen and ports and spec.get("clusterIP", "None") != "None" and "gateway.istio.io/managed" not in labels:
            found.add(f"{meta['name']}.{meta['namespace']}")
    return found


def under_way(clusters: Mapping[str, Any]) -> int:
    """Requests that a waypoint's Envoy waits for answers to. Source: Envoy, admin interface, /clusters?format=json."""
    return sum(
        int(stat.get("value", 0))
        for item in clusters.get("cluster_statuses", [])
        if item["name"].startswith("inbound-vip|")
        for host in item.get("host_statuses", [])
        for stat in host.get("stats", [])
        if stat["name"] == "rq_active"
    )


def weight(item: Mapping[str, Any]) -> int:
    """Percent of the new connections that the weight on a Namespace or Service gives to a canary, if there is one.

    Source: istiod: a weight that is no whole number from 0 to 100 leaves all to the primary.
    """
    text = str((item["metadata"].get("annotations") or {}).get(WEIGHT, "0"))
    found = int(text) if _WEIGHT.fullmatch(text) else 0
    return found if 0 <= found <= 100 else 0


def share(item: Mapping[str, Any], gateway: str) -> int:
    """Percent of the new connections to a Namespace's or Service's waypoints that `gateway` gets.

    Source: istiod: a canary that is none leaves all to the primary.
    """
    labels = item["metadata"].get("labels") or {}
    primary, canary = labels.get(PRIMARY), labels.get(CANARY)
    found = weight(item) if canary not in (None, "", "none", primary) else 0
    return {canary: found, primary: 100 - found}.get(gateway, 0)


async def _known(cluster: Cluster, gateway: str) -> list[set[str]]:
    """What each Pod of a waypoint knows. Raises RuntimeError where there is none."""
    pods = await cluster.pods(gateway)
    if not pods:
        raise RuntimeError(f"waypoint {gateway} has no running Pod")
    return [known(json.loads(await cluster.envoy(pod, "GET", "config_dump"))) for pod in pods]


async def told(cluster: Cluster, primary: str, canary: str, names: Sequence[str] = ()) -> None:
    """Waits until every Pod of the canary takes requests for the Services, as the primary's do.

    A canary that istiod does not tell is started anew, one Pod after the other: whoever connects is told of everything.
    `names` are the Services that are enrolled; the namespace's without them.
    """
    since, again = None, False
    while True:
        try:
            wanted = expected(await cluster.get("services"), names)
            if why := _lack(wanted, primary, await _known(cluster, primary)):
                pass  # the canary is asked once there is something to compare it with
            elif why := _lack(wanted, canary, await _known(cluster, canary)):
                since = since or time.monotonic()
                if not again and time.monotonic() - since > PATIENCE_SECONDS:
                    pulumi.info(f"{why}; its Pods are started anew")
                    await cluster.run("rollout", "restart", f"deployment/{canary}")
                    again = True
                why += " (a canary waypoint needs Istio 1.31 or newer)"
            elif why := waits.rollout_problem(await cluster.get("deployment", canary)):
                # After an update that was cut off: Pods that are about to be replaced would go while they serve.
                why = f"waypoint {canary}: {why}"
            else:
                return
        except RuntimeError as error:
            why = str(error)  # of a Pod that has just ended, most likely
        await cluster.pause(why)


def _lack(wanted: set[str], gateway: str, pods: Sequence[set[str]]) -> str:
    lacking = sorted(service for service in wanted if any(service not in pod for pod in pods))
    return f"waypoint {gateway} is not told of {', '.join(lacking)}" if lacking else ""


async def let_go(cluster: Cluster, gateway: str, enrolled: Sequence[Mapping[str, Any]]) -> None:
    """Ends a waypoint's open connections in an orderly way, then its Pods, so that it can lose its Services.

    Each client is told with its next answer to connect anew, and then gets the other waypoint. Requests may take
    `limit_seconds`; streams of TCP without HTTP are cut, as by any restart. Raises RuntimeError where `enrolled`, the
    objects with the labels, still send new connections to it, and it can take them.
    """
    if not await cluster.pods(gateway, ending=True):
        return
    if (left := max(share(item, gateway) for item in enrolled)) and await cluster.ready(gateway):
        raise RuntimeError(
            f"waypoint {gateway} still gets {left} % of the new connections, so requests would be lost: bring it to 0 "
            f"first by the canary's weight (100 for a canary that takes over, 0 for one that is taken away)"
        )
    pulumi.info(f"waypoint {gateway}: its open connections are ended, then its Pods")
    asked: set[str] = set()
    while pods := await cluster.pods(gateway):
        try:
            for pod in set(pods) - asked:
                # Each answer then ends its connection; new ones are served still, should the wait below fail.
                await cluster.envoy(pod, "POST", "drain_listeners?graceful&skip_exit")
                asked.add(pod)
            busy = [under_way(json.loads(await cluster.envoy(pod, "GET", "clusters?format=json"))) for pod in pods]
            if not sum(busy):
                break
            why = f"{sum(busy)} requests are still under way through waypoint {gateway}"
        except RuntimeError as error:
            why = str(error)
        await cluster.pause(why)
    await cluster.run("scale", f"deployment/{gateway}", "--replicas=0")
    while pods := await cluster.pods(gateway, ending=True):
        await cluster.pause(f"waypoint {gateway} has not ended: {', '.join(pods)}")


def let_in(gateway: str, enrolled: Sequence[Mapping[str, Any]]) -> None:
    """Raises RuntimeError where a canary that is new would get connections at once, by the weight of one before it."""
    for item in enrolled:
        if left := weight(item):
            raise RuntimeError(
                f"waypoint {gateway} would get {left} % of the new connections before it knows the Services, because "
                f"{item['metadata']['name']} still has the weight of the canary before: take that away first, by an "
                f"update without a canary"
            )


def _labels(inputs: Mapping[str, Any] | None) -> dict[str, str]:
    labels = ((inputs or {}).get("metadata") or {}).get("labels") or {}
    return {name: str(labels[name]) for name in (PRIMARY, CANARY) if labels.get(name)}


def leaving(name: str, target: Target, namespace: str, enrolled: list[list[str]], limit: float) -> pulumi.ResourceHook:
    """A hook before the labels change: a new canary is let in, and what they no longer name is let go.

    `enrolled` are the objects that have the labels.
    """

    async def before(args: pulumi.ResourceHookArgs) -> None:
        old, new = _labels(args.old_inputs), _labels(args.new_inputs)
        if CANARY in new and new[CANARY] not in old.values():
            cluster = Cluster(target, namespace, limit)
            let_in(new[CANARY], [await cluster.get(*what) for what in enrolled])
        for gateway in sorted({*old.values()} - {*new.values()}):
            cluster = Cluster(target, namespace, limit)
            await let_go(cluster, gateway, [await cluster.get(*what) for what in enrolled])

    return pulumi.ResourceHook(name, before)


def telling(
    name: str, target: Target, namespace: str, pair: tuple[str, str], services: Sequence[str], limit: float
) -> pulumi.ResourceHook:
    """A hook before the weight changes: of `pair`, the canary must know the Services that the primary knows."""
    return pulumi.ResourceHook(name, lambda _args: told(Cluster(target, namespace, limit), *pair, services))
