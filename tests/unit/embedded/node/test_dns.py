"""Service names inside Pods."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

from embedded.node import dns
from embedded.node.dns import Forward, Zone, answer
from embedded.node.proxy.snapshot import Snapshot
from tests.unit.embedded.node.proxy.entries import entry, snapshot

Object = dict[str, Any]


def service(name: str, namespace: str, address: str) -> tuple[str, Object]:
    return f"{namespace}/{name}", {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address}}


SERVICES = dict(
    [
        service("reviews", "bookinfo-backends", "10.96.0.9"),
        service("istiod", "istio-system", "10.96.0.2"),
        service("db", "shop", "None"),
        service("empty", "shop", "None"),
    ]
)
SLICES: dict[str, Object] = {
    "shop/db-x": {
        "metadata": {"name": "db-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [
            {"addresses": ["10.244.1.8"], "hostname": "db-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.1.7"], "hostname": "db-1", "conditions": {}},
            {"addresses": ["10.244.1.6"], "hostname": "db-2", "conditions": {"ready": False}},
        ],
    }
}
ZONE = Zone("cluster.local", Snapshot(services=SERVICES, slices=SLICES))


def reply_to(
    packet: bytes, zone: Zone = ZONE, client: str = "", forward: Forward | None = None, *, udp: bool = False
) -> bytes:
    return asyncio.run(answer(zone, packet, client, forward, udp=udp))


def ask(
    name: str, kind: str = "A", zone: Zone = ZONE, client: str = "", forward: Forward | None = None
) -> tuple[str, list[str]]:
    """The reply's code and its addresses."""
    reply = DNSRecord.parse(reply_to(DNSRecord.question(name, kind).pack(), zone, client, forward, udp=True))
    return RCODE[reply.header.rcode], [str(record.rdata) for record in reply.rr]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("reviews.bookinfo-backends.svc.cluster.local", ["10.96.0.9"]),
        ("Reviews.Bookinfo-Backends.SVC.cluster.local", ["10.96.0.9"]),
        ("istiod.istio-system.svc", ["10.96.0.2"]),
        ("db.shop.svc.cluster.local", ["10.244.1.7", "10.244.1.8"]),
        ("db-0.db.shop.svc.cluster.local", ["10.244.1.8"]),
        ("empty.shop.svc.cluster.local", []),
    ],
)
def test_answer_service_name_gives_address_or_ready_pods(name: str, addresses: list[str]) -> None:
    assert ("NOERROR", addresses) == ask(name)


@pytest.mark.parametrize(
    "name",
    [
        "reviews.bookinfo-frontends.svc.cluster.local",
        "reviews.bookinfo-backends",  # a Pod's search path makes the full name of it
        "db-2.db.shop.svc.cluster.local",
        "x.reviews.bookinfo-backends.svc.cluster.local",
        "a.b.c.d.svc.cluster.local",
        "example.org",
        "cluster.local.example.org",
    ],
)
def test_answer_foreign_name_is_nxdomain(name: str) -> None:
    assert ask(name) == ("NXDOMAIN", [])


def test_answer_ipv6_query_gives_no_address() -> None:
    assert ask("reviews.bookinfo-backends.svc.cluster.local", "AAAA") == ("NOERROR", [])


def test_answer_namespace_exists_without_address() -> None:
    assert ask("shop.svc.cluster.local") == ("NOERROR", [])
    assert ask("nowhere.svc.cluster.local") == ("NXDOMAIN", [])


def test_answer_new_service_is_found_at_once() -> None:
    later: dict[str, Object] = {}
    zone = Zone("cluster.local", Snapshot(services=later))
    assert ask("late.shop.svc.cluster.local", zone=zone) == ("NXDOMAIN", [])
    later.update([service("late", "shop", "10.96.0.5")])
    assert ask("late.shop.svc.cluster.local", zone=zone) == ("NOERROR", ["10.96.0.5"])


def test_answer_long_reply_is_truncated_over_udp_only() -> None:
    addresses = [f"10.244.2.{number}" for number in range(1, 101)]
    many = {**SLICES["shop/db-x"], "endpoints": [{"addresses": addresses, "conditions": {}}]}
    zone = Zone("cluster.local", Snapshot(services=SERVICES, slices={"shop/db-x": many}))
    query = DNSRecord.question("db.shop.svc.cluster.local").pack()
    short, whole = reply_to(query, zone, udp=True), reply_to(query, zone)
    assert len(short) <= 512
    cut = DNSRecord.parse(short)
    # glibc discards a reply without the question, and never tries TCP.
    assert (cut.header.tc, str(cut.q.qname), len(cut.rr)) == (1, "db.shop.svc.cluster.local.", 0)
    assert DNSRecord.parse(query).header.id == cut.header.id
    assert len(DNSRecord.parse(whole).rr) == 100


class Connection:
    """The client's end of a TCP connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *queries: bytes) -> None:
        self.writer.write(b"".join(len(query).to_bytes(2, "big") + query for query in queries))

    async def receive(self) -> DNSRecord:
        size = int.from_bytes(await self.reader.readexactly(2), "big")
        return DNSRecord.parse(await self.reader.readexactly(size))


def over_tcp(play: Callable[[Connection], Awaitable[None]], zone: Zone = ZONE) -> None:
    """Run `play` with a connection to a server of `zone`."""

    async def scene() -> None:
        ended = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await dns.serve_stream(zone, None, reader, writer)
            await writer.wait_closed()
            ended.set()

        async with asyncio.timeout(10), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            client = Connection(*await asyncio.open_connection(*server.sockets[0].getsockname()))
            try:
                await play(client)
            finally:
                client.writer.close()
                await client.writer.wait_closed()
                await ended.wait()

    asyncio.run(scene())


def test_serve_stream_two_queries_are_answered_on_one_connection() -> None:
    async def play(client: Connection) -> None:
        name = "reviews.bookinfo-backends.svc.cluster.local"
        client.send(DNSRecord.question(name, "A").pack(), DNSRecord.question(name, "AAAA").pack())
        assert [str(row.rdata) for row in (await client.receive()).rr] == ["10.96.0.9"]
        assert (await client.receive()).rr == []
        client.send(DNSRecord.question(name, "A").pack())
        assert [str(row.rdata) for row in (await client.receive()).rr] == ["10.96.0.9"]

    over_tcp(play)


def test_serve_stream_idle_client_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "IDLE_SECONDS", 0.05)

    async def play(client: Connection) -> None:
        assert await client.reader.read() == b""

    over_tcp(play)


def test_serve_stream_query_that_cannot_be_parsed_ends_the_connection() -> None:
    async def play(client: Connection) -> None:
        client.send(b"no")
        assert await client.reader.read() == b""

    over_tcp(play)


def test_answer_slice_of_ipv6_gives_no_address() -> None:
    six = {**SLICES["shop/db-x"], "addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}]}
    zone = Zone("cluster.local", Snapshot(services=SERVICES, slices={**SLICES, "shop/db-6": six}))
    assert ask("db.shop.svc.cluster.local", zone=zone) == ("NOERROR", ["10.244.1.7", "10.244.1.8"])


def test_answer_reply_repeats_the_question_verbatim() -> None:
    reply = DNSRecord.parse(reply_to(DNSRecord.question("REVIEWS.bookinfo-backends.svc.cluster.local").pack()))
    assert str(reply.q.qname) == "REVIEWS.bookinfo-backends.svc.cluster.local."
    assert QTYPE[reply.rr[0].rtype] == "A"


def _external(name: str, target: str) -> tuple[str, Object]:
    spec = {"type": "ExternalName", "externalName": target}
    return f"shop/{name}", {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_answer_external_name_follows_it_inside_the_cluster() -> None:
    inside = "reviews.bookinfo-backends.svc.cluster.local"
    services = SERVICES | dict([_external("alias", inside), _external("twice", "alias.shop.svc.cluster.local")])
    zone = Zone("cluster.local", Snapshot(services=services))
    assert ask("alias.shop.svc.cluster.local", zone=zone) == ("NOERROR", [f"{inside}.", "10.96.0.9"])
    chain = ["alias.shop.svc.cluster.local.", f"{inside}.", "10.96.0.9"]
    assert ask("twice.shop.svc.cluster.local", zone=zone) == ("NOERROR", chain)


def test_answer_external_name_outside_is_nxdomain() -> None:
    zone = Zone("cluster.local", Snapshot(services=dict([_external("web", "www.example.org")])))
    assert ask("web.shop.svc.cluster.local", zone=zone) == ("NXDOMAIN", ["www.example.org."])


async def found(query: DNSRecord) -> DNSRecord:
    """Answer as the user network: example.org has an address, and each other name is unknown."""
    reply = query.reply()
    if str(query.q.qname) == "www.example.org." and query.q.qtype == QTYPE.A:
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("203.0.113.10"), ttl=0))
    elif query.q.qtype == QTYPE.A:
        reply.header.rcode = RCODE.NXDOMAIN
    return reply


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("www.example.org", "A", ("NOERROR", ["203.0.113.10"])),
        ("www.example.org", "AAAA", ("NOERROR", [])),
        ("nowhere.example.org", "A", ("NXDOMAIN", [])),
        ("web.shop.svc.cluster.local", "A", ("NOERROR", ["www.example.org.", "203.0.113.10"])),
    ],
)
def test_answer_name_outside_is_that_of_the_user_network(name: str, kind: str, expected: tuple[str, list[str]]) -> None:
    zone = Zone("cluster.local", Snapshot(services=dict([_external("web", "www.example.org")])))
    assert ask(name, kind, zone, forward=found) == expected


@pytest.mark.parametrize(
    "name", ["example.org.svc.cluster.local", "example.org.cluster.local", "cluster.local", "nowhere.shop.svc"]
)
def test_answer_name_of_the_cluster_is_never_forwarded(name: str) -> None:
    async def forbidden(_: DNSRecord) -> DNSRecord:
        raise AssertionError(name)

    ask(name, forward=forbidden)


@pytest.mark.parametrize("error", [TimeoutError(), OSError(101, "Network is unreachable"), DNSError("cut")])
def test_answer_without_a_reply_of_the_user_network_is_a_server_failure(error: Exception) -> None:
    async def silent(_: DNSRecord) -> DNSRecord:
        raise error

    assert ask("www.example.org", forward=silent) == ("SERVFAIL", [])


def test_answer_external_names_in_a_circle_end() -> None:
    services = [_external("a", "b.shop.svc.cluster.local"), _external("b", "a.shop.svc.cluster.local")]
    code, records = ask("a.shop.svc.cluster.local", zone=Zone("cluster.local", Snapshot(services=dict(services))))
    assert (code, len(records)) == ("NOERROR", 8)


@pytest.mark.parametrize(
    ("client", "answer"),
    [
        ("10.244.1.2", ("NOERROR", ["240.240.0.1"])),
        ("10.244.1.3", ("NXDOMAIN", [])),
        ("10.244.0.1", ("NXDOMAIN", [])),
    ],
)
def test_answer_host_of_a_service_entry_is_its_virtual_address_for_enrolled_pods(
    client: str, answer: tuple[str, list[str]]
) -> None:
    zone = Zone("cluster.local", snapshot(entry()))
    assert answer == ask("API.example.test", zone=zone, client=client)


def test_answer_host_of_two_service_entries_is_that_of_the_pods_namespace() -> None:
    zone = Zone("cluster.local", snapshot(entry(), entry("other", "away", ("240.240.0.9",))))
    assert ask("api.example.test", zone=zone, client="10.244.1.2") == ("NOERROR", ["240.240.0.1"])


def test_serve_stream_host_of_a_service_entry_is_answered_for_enrolled_pods() -> None:
    scene = snapshot(entry())
    scene.pods["shop/in"]["status"]["podIP"] = "127.0.0.1"

    async def play(client: Connection) -> None:
        client.send(DNSRecord.question("api.example.test").pack())
        assert [str(row.rdata) for row in (await client.receive()).rr] == ["240.240.0.1"]

    over_tcp(play, Zone("cluster.local", scene))


def test_answer_ipv6_query_for_a_host_of_a_service_entry_gives_no_address() -> None:
    zone = Zone("cluster.local", snapshot(entry()))
    assert ask("api.example.test", "AAAA", zone=zone, client="10.244.1.2") == ("NOERROR", [])
