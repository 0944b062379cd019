"""The DNS server of the cluster domain. It answers for Services and Pods, and forwards nothing."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any, cast

from dnslib import CNAME, QTYPE, RCODE, RR, A, DNSRecord

from embedded.kube import Informer, Kube
from embedded.node.config import NodeConfig

Object = dict[str, Any]
TTL_SECONDS = 5
DATAGRAM_BYTES = 512
ALIASES = 8  # the longest chain of Services of type ExternalName
log = logging.getLogger(__name__)


class Zone:
    """The names of the cluster domain, looked up in the copies of the informers."""

    def __init__(self, domain: str, services: dict[str, Object], slices: dict[str, Object]) -> None:
        """Answer from `services` and `slices`, by `namespace/name`; the informers keep them up to date."""
        self._suffix = f".svc.{domain}".lower()
        self._domain = domain.lower()
        self._services, self._slices = services, slices

    def addresses(self, name: str) -> list[str] | None:
        """Return the IPv4 addresses of `name`: [] for a known name without one, None for an unknown name."""
        name = name.rstrip(".").lower()
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

    def _labels(self, name: str) -> list[str] | None:
        """Return the labels of `name` before the domain of Services, or None for another name."""
        # istiod's clients ask for NAME.NAMESPACE.svc as if it were a full name.
        for suffix in (self._suffix, ".svc"):
            if name.endswith(suffix):
                return name.removesuffix(suffix).split(".")
        return None

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
            if meta["namespace"] != namespace or owner != service:
                continue
            for endpoint in item.get("endpoints") or []:
                if endpoint.get("conditions", {}).get("ready") is False:
                    continue
                if host is None or endpoint.get("hostname") == host:
                    found += endpoint["addresses"]
        return sorted(set(found))


def answer(zone: Zone, packet: bytes, *, udp: bool = False) -> bytes:
    """Return the reply to one query; names outside the cluster domain are NXDOMAIN, also behind an ExternalName.

    Args:
        zone: The names.
        packet: The query as it arrived.
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
    addresses = zone.addresses(name)
    if addresses is None:
        reply.header.rcode = RCODE.NXDOMAIN
    elif query.q.qtype in (QTYPE.A, QTYPE.ANY):
        for address in addresses:
            reply.add_answer(RR(name, QTYPE.A, rdata=A(address), ttl=TTL_SECONDS))
    packed: bytes = reply.pack()
    if udp and len(packed) > DATAGRAM_BYTES:
        packed = reply.truncate().pack()
    return packed


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        assert self._transport
        # A query that cannot be parsed gets no answer, as from any server.
        with suppress(Exception):
            self._transport.sendto(answer(self._zone, data, udp=True), addr)


async def run(config: NodeConfig, kube: Kube) -> None:
    """Serve UDP and TCP on port 53 of the node without end."""
    services = Informer(kube, "/api/v1/services")
    slices = Informer(kube, "/apis/discovery.k8s.io/v1/endpointslices")
    zone = Zone(config.cluster_domain, services.items, slices.items)

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(Exception):
            size = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 5), "big")
            packed = answer(zone, await asyncio.wait_for(reader.readexactly(size), 5))
            writer.write(len(packed).to_bytes(2, "big") + packed)
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    watching = [asyncio.create_task(services.run()), asyncio.create_task(slices.run())]
    await asyncio.gather(services.synced.wait(), slices.synced.wait())
    await loop.create_datagram_endpoint(
        lambda: _Datagrams(zone), local_addr=(config.node_ip, 53), family=socket.AF_INET
    )
    await asyncio.start_server(stream, config.node_ip, 53)
    await asyncio.gather(*watching)
