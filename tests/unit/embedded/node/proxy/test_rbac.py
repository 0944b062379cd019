"""Policies of layer 4 as rules of Envoy: they decide as ztunnel does."""

import base64
import ipaddress
import re
from typing import Any

import pytest
from google.protobuf import json_format

from embedded.node.proxy import messages, rbac

Object = dict[str, Any]
IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart"


def policy(*groups: list[list[Object]], action: int = 0, **fields: Any) -> Any:
    """Return a message of the workload API: groups of clauses of matches."""
    rules = [{"rules": [{"matches": matches} for matches in group]} for group in groups]
    given = {"name": "p", "namespace": "shop", "action": action, "groups": rules, **fields}
    return json_format.ParseDict(given, messages.Authorization())


def address(text: str) -> Object:
    network = ipaddress.ip_network(text)
    return {"length": network.prefixlen, "address": base64.b64encode(network.network_address.packed).decode()}


class Connection:
    """A connection as Envoy's RBAC filters see it."""

    def __init__(self, identity: str = IDENTITY, source: str = "10.244.1.2", port: int = 9080) -> None:
        self.identity, self.source, self.port = identity, source, port
        self.hbone = True

    def matches(self, rule: Object, key: str) -> bool:
        """Return True if a permission (`key` is `rules`) or a principal (`ids`) matches."""
        ((kind, value),) = rule.items()
        if kind == f"and_{key}":
            return all(self.matches(each, key) for each in value[key])
        if kind == f"or_{key}":
            return any(self.matches(each, key) for each in value[key])
        if kind == f"not_{key.removesuffix('s')}":
            return not self.matches(value, key)
        if kind == "destination_port":
            assert not self.hbone  # there it is the port of HBONE itself
            return bool(value == self.port)
        if kind == "header":
            assert (value["name"], self.hbone) == (":authority", True)
            return f"10.244.1.9:{self.port}".endswith(value["string_match"]["suffix"])
        if kind in ("direct_remote_ip", "destination_ip"):
            own = self.source if kind == "direct_remote_ip" else "10.244.1.9"
            return ipaddress.ip_address(own) in ipaddress.ip_network(f"{value['address_prefix']}/{value['prefix_len']}")
        if kind == "authenticated":
            ((how, text),) = value["principal_name"].items()
            if not self.identity:
                return False
            if how == "safe_regex":
                return bool(re.fullmatch(text["regex"], self.identity))
            return self.identity == text if how == "exact" else self.identity.startswith(text)
        assert kind == "any"
        return True

    def allowed(self, *policies: Any, hbone: bool = True) -> bool:
        self.hbone = hbone
        for item in rbac.filters(policies, hbone):
            rules = item["typed_config"]["rules"]
            found = any(
                any(self.matches(permission, "rules") for permission in each["permissions"])
                and any(self.matches(principal, "ids") for principal in each["principals"])
                for each in rules["policies"].values()
            )
            if found != (rules["action"] == "ALLOW"):
                return False
        return True


STRICT = policy([[{"notPrincipals": [{"presence": {}}]}]], action=1)


def test_filters_without_policies_are_none() -> None:
    assert rbac.filters([], hbone=True) == []
    assert rbac.filters([], hbone=False) == []


@pytest.mark.parametrize("hbone", [True, False])
def test_filters_deny_before_allow(hbone: bool) -> None:
    allow, deny = policy([[{"destinationPorts": [80]}]]), policy([[{"destinationPorts": [80]}]], action=1)
    assert Connection(port=80).allowed(allow, hbone=hbone)
    assert not Connection(port=80).allowed(allow, deny, hbone=hbone)
    assert not Connection(port=8080).allowed(allow, hbone=hbone)
    assert Connection(port=8080).allowed(deny, hbone=hbone)
    assert [item["typed_config"]["rules"]["action"] for item in rbac.filters([allow, deny], hbone)] == ["DENY", "ALLOW"]


def test_filters_one_of_several_allows_suffices() -> None:
    first, second = policy([[{"destinationPorts": [80]}]]), policy([[{"destinationPorts": [9080]}]])
    assert Connection().allowed(first, second)
    assert not Connection(port=81).allowed(first, second)


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        ({"exact": "cluster.local/ns/shop/sa/cart"}, True),
        ({"exact": "cluster.local/ns/shop/sa/car"}, False),
        ({"prefix": "cluster.local/ns/shop/"}, True),
        ({"prefix": "cluster.local/ns/other/"}, False),
        ({"suffix": "/sa/cart"}, True),
        ({"suffix": "/sa/car"}, False),
        ({"presence": {}}, True),
    ],
)
def test_filters_principal_matches(matcher: Object, expected: bool) -> None:
    allow, inverse = policy([[{"principals": [matcher]}]]), policy([[{"notPrincipals": [matcher]}]])
    assert expected is Connection().allowed(allow)
    assert expected is not Connection().allowed(inverse)
    assert not Connection(identity="").allowed(allow, hbone=False)
    assert Connection(identity="").allowed(inverse, hbone=False)


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        ({"exact": "shop"}, True),
        ({"exact": "sho"}, False),
        ({"prefix": "sh"}, True),
        ({"prefix": "hop"}, False),
        ({"suffix": "op"}, True),
        ({"suffix": "sho"}, False),
        ({"presence": {}}, True),
    ],
)
def test_filters_namespace_matches(matcher: Object, expected: bool) -> None:
    assert expected is Connection().allowed(policy([[{"namespaces": [matcher]}]]))
    assert expected is not Connection().allowed(policy([[{"notNamespaces": [matcher]}]]))
    assert not Connection(identity="").allowed(policy([[{"namespaces": [matcher]}]]))


def test_filters_service_account_matches_namespace_and_name() -> None:
    allow = policy([[{"serviceAccounts": [{"namespace": "shop", "serviceAccount": "cart"}]}]])
    assert Connection().allowed(allow)
    assert not Connection(identity="spiffe://cluster.local/ns/other/sa/cart").allowed(allow)
    assert not Connection(identity="").allowed(allow)


def test_filters_source_addresses_match_by_prefix() -> None:
    allow = policy([[{"sourceIps": [address("10.244.1.0/24")], "notSourceIps": [address("10.244.1.7/32")]}]])
    assert Connection().allowed(allow)
    assert not Connection(source="10.244.2.2").allowed(allow)
    assert not Connection(source="10.244.1.7").allowed(allow)


def test_filters_clauses_are_anded_and_their_matches_ored() -> None:
    source = [{"namespaces": [{"exact": "shop"}]}, {"namespaces": [{"exact": "front"}]}]
    allow = policy([source, [{"destinationPorts": [80]}, {"destinationPorts": [9080]}]])
    assert Connection().allowed(allow)
    assert not Connection(port=81).allowed(allow)
    assert not Connection(identity="spiffe://cluster.local/ns/other/sa/cart").allowed(allow)


def test_filters_match_of_identity_and_port_needs_both() -> None:
    strict_port = policy([[{"notPrincipals": [{"presence": {}}], "destinationPorts": [9080]}]], action=1)
    assert not Connection(identity="").allowed(strict_port, hbone=False)
    assert Connection(identity="", port=80).allowed(strict_port, hbone=False)
    assert Connection().allowed(strict_port)


def test_filters_strict_refuses_plain_text_only() -> None:
    assert Connection().allowed(STRICT)
    assert not Connection(identity="").allowed(STRICT, hbone=False)


def test_filters_empty_match_never_matches_and_empty_clause_always() -> None:
    assert not Connection().allowed(policy([[{}]]))
    assert Connection().allowed(policy([[{}]], action=1))
    assert Connection().allowed(policy([[]]))
    assert not Connection().allowed(policy())
    assert Connection().allowed(policy(action=1))
