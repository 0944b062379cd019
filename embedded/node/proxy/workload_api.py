"""Client of istiod's workload API: the policies of layer 4, and the Pods that each of them selects.

istiod converts AuthorizationPolicies and PeerAuthentications for ztunnel: it drops or disables rules of layer 7 and
resolves selectors and the precedence of mesh, namespace and workload. This client takes the result.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from embedded.node.proxy import messages

ISTIOD_PORT = 15010
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
ADDRESS = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION = "type.googleapis.com/istio.security.Authorization"
RETRY_SECONDS = 0.5
GLOBAL, NAMESPACE = 0, 1  # scopes of an Authorization; any other is bound by a selector
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workload:
    """A Pod as istiod knows it.

    Attributes:
        namespace: Its namespace.
        addresses: Its addresses.
        policies: `namespace/name` of each policy that selects it.
        waypoint: The waypoint of connections to its addresses: `namespace/name` of a Service, or its address; empty
            without one.
    """

    namespace: str
    addresses: tuple[str, ...]
    policies: tuple[str, ...]
    waypoint: str = ""


@dataclass
class WorkloadState:
    """The last known state of istiod. `synced` is True once both kinds of resources have arrived."""

    workloads: dict[str, Workload] = field(default_factory=dict)
    policies: dict[str, Any] = field(default_factory=dict)
    synced: bool = False

    def by_address(self) -> dict[str, Workload]:
        """Return the workloads by address."""
        return {address: each for each in self.workloads.values() for address in each.addresses}

    def waypoints(self) -> dict[str, str]:
        """Return the waypoints of workloads by the workloads' addresses."""
        return {address: each.waypoint for address, each in self.by_address().items() if each.waypoint}

    def policies_of(self, workload: Workload) -> list[Any]:
        """Return the policies in force at a workload: global, of its namespace, and those that select it.

        Source: ztunnel's `assert_rbac`; like ztunnel it passes over a policy that has not arrived yet.
        """
        return [
            policy
            for name, policy in sorted(self.policies.items())
            if not policy.dry_run
            and (
                policy.scope == GLOBAL
                or (policy.scope == NAMESPACE and policy.namespace == workload.namespace)
                or (policy.scope not in (GLOBAL, NAMESPACE) and name in workload.policies)
            )
        ]


def _workload(data: bytes) -> Workload | None:
    address = messages.Address.FromString(data)
    if not address.HasField("workload"):
        return None
    found = address.workload
    addresses = tuple(str(ipaddress.ip_address(raw)) for raw in found.addresses)
    return Workload(found.namespace, addresses, tuple(found.authorization_policies), _waypoint(found))


def _waypoint(workload: Any) -> str:
    """Return the waypoint of a workload; istiod gives none to a Pod of a waypoint."""
    if not workload.HasField("waypoint"):
        return ""
    if workload.waypoint.HasField("hostname"):  # NAME.NAMESPACE.svc.DOMAIN
        host = workload.waypoint.hostname
        return f"{host.namespace}/{host.hostname.split('.')[0]}"
    return str(ipaddress.ip_address(workload.waypoint.address.address))


class WorkloadClient:
    """Client of istiod that keeps `state` up to date, and calls `changed` after each change."""

    def __init__(self, node_ip: str, changed: Callable[[], None]) -> None:
        """Connect to nothing yet.

        Args:
            node_ip: Address of this node, on which istiod listens.
            changed: Called after each change.
        """
        self.state = WorkloadState()
        self._changed, self._target = changed, f"{node_ip}:{ISTIOD_PORT}"
        self._node = messages.Node(id=f"ztunnel~{node_ip}~ztunnel.istio-system~istio-system.svc.cluster.local")
        self._pending: set[str] = set()

    async def run(self) -> None:
        """Follow istiod without end; keep the last state while it is away."""
        reported = ""
        while True:
            try:
                await self._follow()
            except grpc.aio.AioRpcError as error:
                text = f"{error.code().name}: {error.details()}"
                if text != reported:
                    log.info("retrying the workload API: %s", text)
                    reported = text
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        self._pending = {ADDRESS, AUTHORIZATION}
        outbox: asyncio.Queue[Any] = asyncio.Queue()
        for kind in (ADDRESS, AUTHORIZATION):
            outbox.put_nowait(messages.DeltaRequest(node=self._node, type_url=kind))

        async def requests() -> AsyncIterator[Any]:
            while True:
                yield await outbox.get()

        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(self._target, options=options) as channel:
            call = channel.stream_stream(
                METHOD,
                request_serializer=messages.DeltaRequest.SerializeToString,
                response_deserializer=messages.DeltaResponse.FromString,
            )
            async for response in call(requests()):
                self.take(response)
                outbox.put_nowait(messages.DeltaRequest(type_url=response.type_url, response_nonce=response.nonce))

    def take(self, response: Any) -> None:
        """Apply a response; the first one of a kind on a connection replaces all that was known of this kind."""
        kind = response.type_url
        kept: dict[str, Any] = self.state.workloads if kind == ADDRESS else self.state.policies
        if kind in self._pending:
            self._pending.discard(kind)
            kept.clear()
        for name in response.removed:
            kept.pop(name, None)
        for item in response.resources:
            made = (
                _workload(item.resource.value)
                if kind == ADDRESS
                else messages.Authorization.FromString(item.resource.value)
            )
            if made is not None:
                kept[item.name] = made
        self.state.synced = self.state.synced or not self._pending
        self._changed()
