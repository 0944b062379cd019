"""The DNS server of Pods: Services, Pods, and hosts of ServiceEntries for enrolled Pods.

All other names are those of the user network, where the cluster has one.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from dnslib import CNAME, QTYPE, RCODE, RR, A, DNSError, DNSRecord

from embedded.kube import Informer, Kube
from embedded.node.config import NodeConfig
from embedded.node.proxy import service_entries
from embedded.node.proxy.snapshot import PATHS, Snapshot, clients

TTL_SECONDS = 5
DATAGRAM_BYTES = 512
FORWARD_SECONDS = 5.0  # the usual patience of a client
IDLE_SECONDS = 10.0  # a client's TCP connection without a query is closed
ALIASES = 8  # the longest chain of Services of type ExternalName
log = logging.getLogger(__name__)


class Zone:
    """The names that a Pod can resolve, looked up in the copies of the informers."""

    def __init__(self, domain: str, snapshot: Snapshot) -> None:
        """Answer from `snapshot`, whose copies the informers keep up to date."""
        self._suffix = f".svc.{domain}".lower()
        self._domain = domain.lower()
        self._services, self._slices, self._snapshot = snapshot.services, snapshot.slices, snapshot

    def addresses(self, name: str, client: str = "") -> list[str] | None:
        """Return the IPv4 addresses of `name`: [] for a known name without one, None for an unknown name.

        Args:
            name: The name.
            client: Address of the Pod that asks.
        """
        name = name.rstrip(".").lower()
        if captured := self._captured(name, client):
            return captured
        if name in (self._domain, self._suffix[1:]):
            return []
        labels = self._labels(name)
        if labels is None:
            return None
        if len(labels) == 1:
            known = any(key.startswith(f"{labels[0]}/") for key in self._services)
            return [] if known else None
        service_name, namespace = labels[-2], labels[-1]
        service = self._services.get(f"{namespace}/{service_name}")
        if service is None:
            return None
        address = service["spec"].get("clusterIP", "")
        if address and address != "None":
            return [address] if len(labels) == 2 else None
        ready = self._endpoints(namespace, service_name, labels[0] if len(labels) == 3 else None)
        return ready if ready or len(labels) == 2 else None

    def _captured(self, host: str, client: str) -> list[str]:
        """Return the virtual addresses of a ServiceEntry's host; nothing for a Pod that is not enrolled."""
        if not self._snapshot.entries:
            return []
        account = next((pod.account for pod in clients(self._snapshot) if pod.address == client), None)
        namespace = account and account.split("/")[0]
        return service_entries.lookup(self._snapshot.entries.values(), host, namespace) if namespace else []

    def _labels(self, name: str) -> list[str] | None:
        """Return the labels of `name` before the domain of Services, or None for another name."""
        # istiod's clients ask for NAME.NAMESPACE.svc as if it were a full name.
        for suffix in (self._suffix, ".svc"):
            if name.endswith(suffix):
                return name.removesuffix(suffix).split(".")
        return None

    def is_outside(self, name: str) -> bool:
        """Return True for a name that is not of the cluster's domain."""
        bare = name.rstrip(".").lower()
        return self._labels(bare) is None and not f".{bare}".endswith(f".{self._domain}")

    def alias(self, name: str) -> str | None:
        """Return the external name of a Service of type ExternalName, or None for another name."""
        labels = self._labels(name.rstrip(".").lower())
        if labels is None or len(labels) != 2:
            return None
        service = self._services.get(f"{labels[1]}/{labels[0]}") or {"spec": {}}
        found: str | None = service["spec"].get("externalName")
        return found if service["spec"].get("type") == "ExternalName" else None

    def _endpoints(self, namespace: str, service: str, host: str | None) -> list[str]:
        found: list[str] = []
        for item in self._slices.values():
            meta = item["metadata"]
            owner = meta.get("labels", {}).get("kubernetes.io/service-name")
            if meta["namespace"] != namespace or owner != service or item.get("addressType", "IPv4") != "IPv4":
                continue
            for endpoint in item.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready") is False:
                    continue
                if host is None or endpoint.get("hostname") == host:
                    found += endpoint["addresses"]
        return sorted(set(found))


Forward = Callable[[DNSRecord], Awaitable[DNSRecord]]


async def answer(
    zone: Zone, packet: bytes, client: str = "", forward: Forward | None = None, *, udp: bool = False
) -> bytes:
    """Return the reply to one query.

    Args:
        zone: The names.
        packet: The query as it arrived.
        client: Address of the Pod that asks.
        forward: Asks for a name outside the cluster, also behind an ExternalName; None makes it NXDOMAIN.
        udp: Truncate a reply above 512 bytes, so that the client repeats the query over TCP.

    Source: RFC 1035, section 4.2.1.
    """
    query = DNSRecord.parse(packet)
    reply = query.reply()
    reply.header.ra = 0
    name = str(query.q.qname)
    for _ in range(ALIASES):
        target = zone.alias(name)
        if target is None:
            break
        reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(target), ttl=TTL_SECONDS))
        name = target
    addresses = zone.addresses(name, client)
    if addresses is None and forward and zone.is_outside(name):
        try:
            found = await forward(DNSRecord.question(name, QTYPE[query.q.qtype]))
            reply.add_answer(*found.rr)
            reply.header.rcode = found.header.rcode
        except (OSError, DNSError):  # TimeoutError is one
            reply.header.rcode = RCODE.SERVFAIL
    elif addresses is None:
        reply.header.rcode = RCODE.NXDOMAIN
    elif query.q.qtype in (QTYPE.A, QTYPE.ANY):
        for address in addresses:
            reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=TTL_SECONDS))
    packed: bytes = reply.pack()
    if udp and len(packed) > DATAGRAM_BYTES:
        # Not `reply.truncate()`: glibc discards a reply without the question, and never tries TCP.
        short = query.reply()
        short.header.ra, short.header.tc, short.header.rcode = 0, 1, reply.header.rcode
        packed = short.pack()
    return packed


async def ask(server: str, query: DNSRecord) -> DNSRecord:
    """Return the answer of another server over UDP. Raises OSError, also at FORWARD_SECONDS, and DNSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((server, 53))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(asking, query.pack())
        return DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(asking, 65535), FORWARD_SECONDS))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone, forward: Forward | None) -> None:
        self._zone, self._forward = zone, forward
        self._transport: asyncio.DatagramTransport | None = None
        self._replies: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        task = asyncio.create_task(self._reply(data, addr))
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _reply(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport
        # A query that cannot be parsed gets no answer, as from any server.
        with suppress(Exception):
            self._transport.sendto(await answer(self._zone, data, addr[0], self._forward, udp=True), addr)


async def serve_stream(
    zone: Zone, forward: Forward | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer the queries of a TCP connection until the client ends it, or sends none for IDLE_SECONDS.

    Source: RFC 7766, section 6.2; glibc sends A and AAAA on one connection.
    """
    try:
        # A query that cannot be parsed ends the connection.
        with suppress(Exception):
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                packed = await answer(zone, query, writer.get_extra_info("peername")[0], forward)
                writer.write(len(packed).to_bytes(2, "big") + packed)
                async with asyncio.timeout(IDLE_SECONDS):
                    await writer.drain()
    finally:
        writer.close()


async def run(config: NodeConfig, kube: Kube) -> None:
    """Serve UDP and TCP on port 53 of the node without end."""
    informers = {name: Informer(kube, path) for name, path in PATHS.items() if name != "gateways"}
    zone = Zone(config.cluster_domain, Snapshot(**{name: each.items for name, each in informers.items()}))
    forward = partial(ask, config.resolver) if config.resolver else None

    loop = asyncio.get_running_loop()
    watching = [asyncio.create_task(each.run()) for each in informers.values()]
    # ServiceEntries come with the mesh, which needs names to start.
    await asyncio.gather(*(each.synced.wait() for name, each in informers.items() if name != "entries"))
    await loop.create_datagram_endpoint(
        lambda: _Datagrams(zone, forward), local_addr=(config.node_ip, 53), family=socket.AF_INET
    )
    await asyncio.start_server(partial(serve_stream, zone, forward), config.node_ip, 53)
    await asyncio.gather(*watching)
