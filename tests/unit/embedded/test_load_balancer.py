"""Addresses and ports of Services of type LoadBalancer."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.supervisor import load_balancer, ports

PREFIX = "127.70.1."


def _service(name: str, created: str = "1", ip: str = "", **spec: object) -> dict[str, Any]:
    meta = {"namespace": "shop", "name": name, "creationTimestamp": created}
    status = {"loadBalancer": {"ingress": [{"ip": ip}]}} if ip else {}
    return {"metadata": meta, "spec": {"type": "LoadBalancer", **spec}, "status": status}


def test_network_of_two_clusters_differs_and_is_loopback() -> None:
    networks = {load_balancer.network(Path(folder)) for folder in ("/a", "/b", "/c")}
    assert len(networks) == 3
    assert all(each.startswith("127.") and not each.startswith("127.0.") for each in networks)


def test_allocate_keeps_addresses_and_gives_free_ones_in_order() -> None:
    services = [_service("c", "3"), _service("a", "1"), _service("b", "2", ip=f"{PREFIX}1")]
    expected = {"shop/b": f"{PREFIX}1", "shop/a": f"{PREFIX}2", "shop/c": f"{PREFIX}3"}
    assert load_balancer.allocate(services, PREFIX) == expected


def test_allocate_leaves_other_services_alone() -> None:
    cloud = _service("cloud", loadBalancerClass="example.com/other")
    internal = _service("internal", type="ClusterIP")
    ending = _service("ending")
    ending["metadata"]["deletionTimestamp"] = "now"
    assert load_balancer.allocate([cloud, internal, ending], PREFIX) == {}


def test_allocate_ignores_an_address_of_another_cluster() -> None:
    assert load_balancer.allocate([_service("a", ip="127.80.1.9")], PREFIX) == {"shop/a": f"{PREFIX}1"}


def _refuse(number: int, below: int) -> Any:
    def open_port(address: str, port: int) -> str:
        if port < below:
            raise OSError(number, "refused")
        return f"{address}:{port}"

    return open_port


def test_listen_low_port_refused_uses_a_higher_one_and_says_so() -> None:
    got = load_balancer.listen(_refuse(errno.EACCES, 1024), f"{PREFIX}1", 80)
    assert got == (f"{PREFIX}1:8080", 8080, "PermissionDenied")
    opened = load_balancer.Opened(80, "TCP", got[1], got[2])
    assert opened.status() == {"port": 80, "protocol": "TCP", "error": "PermissionDenied"}
    assert "use 127.70.1.1:8080" in load_balancer.explain(f"{PREFIX}1", opened)


@pytest.mark.parametrize(("number", "error"), [(errno.EADDRINUSE, "AddressInUse"), (errno.EPIPE, "OpenFailed")])
def test_listen_port_that_cannot_be_opened_is_an_error(number: int, error: str) -> None:
    assert load_balancer.listen(_refuse(number, 9999), f"{PREFIX}1", 80) == (None, 80, error)


def test_listen_allowed_port_has_no_error() -> None:
    assert load_balancer.listen(_refuse(errno.EACCES, 0), f"{PREFIX}1", 80) == (f"{PREFIX}1:80", 80, "")


def test_listen_low_port_refused_leaves_a_declared_higher_one_alone() -> None:
    got = load_balancer.listen(_refuse(errno.EACCES, 1024), f"{PREFIX}1", 80, {80, 8080})
    assert got == (None, 80, "PermissionDenied")


class FakePorts:
    """Ports outside: a busy one fails, and so does one without an answer."""

    def __init__(self) -> None:
        self.faults: dict[int, OSError] = {9001: OSError(errno.EADDRINUSE, "busy"), 9002: TimeoutError("timed out")}
        self.opened: list[int] = []

    def listen(self, address: str, port: int) -> int:
        if port in self.faults:
            raise self.faults[port]
        self.opened.append(port)
        return port


class FakeRelay:
    """Relay of a port that nobody connects to."""

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self) -> None:
        pass


class FakeKube:
    """API server that keeps a Service's status."""

    def __init__(self, service: dict[str, Any]) -> None:
        self.service = service

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        self.service["status"] = body["status"]

    async def create(self, path: str, body: dict[str, Any]) -> None:
        pass


@pytest.mark.asyncio
async def test_reconcile_tries_only_ports_again_that_were_in_use_or_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_balancer, "Relay", FakeRelay)
    service = _service("web", clusterIP="10.96.0.9", ports=[{"port": port} for port in (9000, 9001, 9002)])
    service["metadata"]["uid"] = "u"
    outside: Any = FakePorts()
    kube: Any = FakeKube(service)
    balancer = load_balancer.LoadBalancer(kube, outside, PREFIX)
    balancer._services.items = {"shop/web": service}
    try:
        assert not await balancer._reconcile()
        outside.faults.clear()
        assert await balancer._reconcile()
        assert await balancer._reconcile()
    finally:
        await balancer._close("shop/web")
    assert outside.opened == [9000, 9001, 9002]
    (ingress,) = service["status"]["loadBalancer"]["ingress"]
    assert [each["port"] for each in ingress["ports"] if "error" not in each] == [9000, 9001, 9002]


@pytest.fixture
def asked() -> Iterator[ports.Ports]:
    ours, theirs = ports.channel()
    with ours, theirs:
        ports.start(ours, theirs)
        yield ports.Ports(ours)


def test_ports_open_a_listening_socket_and_report_one_in_use(asked: ports.Ports) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with asked.listen("127.0.0.1", port) as listening:
        assert listening.getsockname() == ("127.0.0.1", port)
        with pytest.raises(OSError, match="in use") as error:
            asked.listen("127.0.0.1", port)
        assert error.value.errno == errno.EADDRINUSE


def test_ports_refuse_addresses_outside_loopback(asked: ports.Ports) -> None:
    with pytest.raises(PermissionError):
        asked.listen("0.0.0.0", 0)
