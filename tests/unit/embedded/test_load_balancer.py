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


def test_listen_port_in_use_is_an_error() -> None:
    assert load_balancer.listen(_refuse(errno.EADDRINUSE, 9999), f"{PREFIX}1", 80) == (None, 80, "AddressInUse")


def test_listen_allowed_port_has_no_error() -> None:
    assert load_balancer.listen(_refuse(errno.EACCES, 0), f"{PREFIX}1", 80) == (f"{PREFIX}1:80", 80, "")


@pytest.fixture
def asked() -> Iterator[ports.Ports]:
    with ports.start() as channel:
        yield ports.Ports(channel)


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
