"""Service names inside Pods."""

from typing import Any

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from embedded.node.dns import Zone, answer

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
ZONE = Zone("cluster.local", SERVICES, SLICES)


def ask(name: str, kind: str = "A", zone: Zone = ZONE, udp: bool = True) -> tuple[str, list[str]]:
    """The reply's code and its addresses."""
    reply = DNSRecord.parse(answer(zone, DNSRecord.question(name, kind).pack(), udp=udp))
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
    zone = Zone("cluster.local", later, {})
    assert ask("late.shop.svc.cluster.local", zone=zone) == ("NXDOMAIN", [])
    later.update([service("late", "shop", "10.96.0.5")])
    assert ask("late.shop.svc.cluster.local", zone=zone) == ("NOERROR", ["10.96.0.5"])


def test_answer_long_reply_is_truncated_over_udp_only() -> None:
    addresses = [f"10.244.2.{number}" for number in range(1, 101)]
    many = {**SLICES["shop/db-x"], "endpoints": [{"addresses": addresses, "conditions": {}}]}
    zone = Zone("cluster.local", SERVICES, {"shop/db-x": many})
    query = DNSRecord.question("db.shop.svc.cluster.local").pack()
    short, whole = answer(zone, query, udp=True), answer(zone, query, udp=False)
    assert len(short) <= 512
    assert DNSRecord.parse(short).header.tc == 1
    assert len(DNSRecord.parse(whole).rr) == 100


def test_answer_reply_repeats_the_question_verbatim() -> None:
    reply = DNSRecord.parse(answer(ZONE, DNSRecord.question("REVIEWS.bookinfo-backends.svc.cluster.local").pack()))
    assert str(reply.q.qname) == "REVIEWS.bookinfo-backends.svc.cluster.local."
    assert QTYPE[reply.rr[0].rtype] == "A"


def _external(name: str, target: str) -> tuple[str, Object]:
    spec = {"type": "ExternalName", "externalName": target}
    return f"shop/{name}", {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


def test_answer_external_name_follows_it_inside_the_cluster() -> None:
    inside = "reviews.bookinfo-backends.svc.cluster.local"
    services = SERVICES | dict([_external("alias", inside), _external("twice", "alias.shop.svc.cluster.local")])
    zone = Zone("cluster.local", services, {})
    assert ask("alias.shop.svc.cluster.local", zone=zone) == ("NOERROR", [f"{inside}.", "10.96.0.9"])
    chain = ["alias.shop.svc.cluster.local.", f"{inside}.", "10.96.0.9"]
    assert ask("twice.shop.svc.cluster.local", zone=zone) == ("NOERROR", chain)


def test_answer_external_name_outside_is_nxdomain() -> None:
    zone = Zone("cluster.local", dict([_external("web", "www.example.org")]), {})
    assert ask("web.shop.svc.cluster.local", zone=zone) == ("NXDOMAIN", ["www.example.org."])


def test_answer_external_names_in_a_circle_end() -> None:
    services = [_external("a", "b.shop.svc.cluster.local"), _external("b", "a.shop.svc.cluster.local")]
    code, records = ask("a.shop.svc.cluster.local", zone=Zone("cluster.local", dict(services), {}))
    assert (code, len(records)) == ("NOERROR", 8)
