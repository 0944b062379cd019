"""The files in /etc of a Pod."""

from pathlib import Path
from typing import Any

import pytest

from embedded.node.config import NodeConfig
from embedded.node.kubelet.etc_files import host_name, write_etc
from tests.unit.embedded.node.documents import SETTINGS

CONFIG = NodeConfig(**{**SETTINGS, "node_ip": "10.244.0.1", "cluster_domain": "cluster.local"})


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec}


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({}, "web-0"),
        ({"hostname": "one"}, "one"),
        ({"hostname": "one", "hostnameOverride": "two"}, "two"),
        ({"hostnameOverride": "a" * 62 + ".b"}, "a" * 62),
    ],
)
def test_host_name_is_the_most_specific(spec: dict[str, Any], name: str) -> None:
    assert host_name(pod(**spec)) == name


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        (
            {},
            [
                "nameserver 10.244.0.1",
                "search shop.svc.cluster.local svc.cluster.local cluster.local",
                "options ndots:5",
            ],
        ),
        ({"dnsPolicy": "Default"}, ["nameserver 10.244.0.1"]),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"]}}, ["nameserver 192.0.2.1"]),
        (
            {"dnsConfig": {"searches": ["corp"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}},
            [
                "nameserver 10.244.0.1",
                "search shop.svc.cluster.local svc.cluster.local cluster.local corp",
                "options ndots:5 ndots:2 edns0",
            ],
        ),
    ],
)
def test_resolv_conf_follows_the_dns_policy(tmp_path: Path, spec: dict[str, Any], lines: list[str]) -> None:
    write_etc(tmp_path, CONFIG, pod(**spec), "web-0", "10.244.1.1")
    assert (tmp_path / "resolv.conf").read_text().splitlines() == lines


def test_hosts_have_the_full_name_of_a_pod_with_a_subdomain_and_aliases(tmp_path: Path) -> None:
    alias = {"ip": "192.0.2.1", "hostnames": ["db", "db.corp"]}
    write_etc(tmp_path, CONFIG, pod(subdomain="web", hostAliases=[alias]), "web-0", "10.244.1.1")
    _, own, other = (tmp_path / "hosts").read_text().splitlines()
    assert own.split() == ["10.244.1.1", "web-0.web.shop.svc.cluster.local", "web-0"]
    assert other.split() == ["192.0.2.1", "db", "db.corp"]
