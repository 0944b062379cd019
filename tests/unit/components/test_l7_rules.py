"""Values of an L7Policy that would never match a request."""

from typing import Any

import pulumi
import pytest

from components import L7Policy
from tests.unit.components.recording import run


def policy(action: str = "DENY", **rule: Any) -> list[dict[str, Any]]:
    """Return the rules that a policy of this one rule has."""
    args: Any = {"namespace": "shop", "services": ["cart"], "action": action, "rules": [rule]}
    rules: list[dict[str, Any]] = run(lambda: L7Policy("p", args)).inputs("p-policy")["spec"]["rules"]
    return rules


def test_l7_policy_is_checked_before_and_after_each_write() -> None:
    args: Any = {"namespace": "shop", "services": ["cart"], "action": "DENY", "rules": [{"methods": ["PUT"]}]}
    hooks = run(lambda: L7Policy("p", args)).requests["p-policy"].hooks
    assert [list(hooks.before_create), list(hooks.before_update)] == [["p-l7-policy-ready"]] * 2
    assert [list(hooks.after_create), list(hooks.after_update)] == [["p-l7-policy-synced"]] * 2


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"methods": ["delete"]}, 'methods of rule 1 is "delete": it must be DELETE: methods are compared letter'),
        ({"methods": ["GE T"]}, "an HTTP method"),
        ({"methods": "PUT"}, r'rules\[0\].methods is "PUT": it must be a list'),
        ({"methods": [5]}, r"rules\[0\].methods\[0\] is 5: it must be text"),
        ({"methods": ["GET", "GET"]}, "a list of different names"),
        ({"paths": ["admin"]}, 'paths of rule 1 is "admin": it must be a path with its leading slash, such as /admin'),
        ({"paths": ["/a/*/b"]}, r"one \* at most, at its start or its end"),
        ({"paths": ["/a/*/b"]}, r"\{\*\} stands for one segment"),
        ({"paths": ["*/b/*"]}, r"one \* at most"),
        ({"paths": ["/a/{*}/b*"]}, r"one \* at most"),
        ({"paths": ["/a?b=c"]}, r"without \? and #"),
        ({"paths": ["/a/../b"]}, r"without \. and \.\."),
        ({"hosts": ["http://cart"]}, "without scheme and path"),
        ({"hosts": ["ca*rt"]}, r"one \* at most"),
        ({"hosts": ["*.example.com"]}, 'hosts of rule 1 is "[*].example.com": it must be full names, such as a.exam'),
        ({"hosts": ["cart", "*cart"]}, "a host with a port is not denied"),
        ({"principals": ["spiffe://d/ns/n/sa/a"]}, "d/ns/n/sa/a: Istio compares identities without spiffe://"),
        ({"principals": ["n/a"]}, "an identity, such as cluster.local/ns/NAMESPACE/sa/ACCOUNT"),
        ({"namespaces": ["Shop"]}, "the name of a namespace, in lower case"),
        ({"headers": {"host": ["x"]}}, "Envoy knows Host as :authority; use hosts"),
        ({"headers": {":path": ["x"]}}, "the name of a header"),
        ({"headers": {"x": "1"}}, r'rules\[0\].headers.x is "1": it must be a list'),
        ({"headers": {"x": [" 1"]}}, "without spaces at its ends"),
        ({"headers": {"x": ["a*b"]}}, r"one \* at most"),
        ({"headers": ["x"]}, "an object whose values are lists of text"),
    ],
)
def test_l7_policy_with_a_value_that_never_matches_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said) as caught:
        policy(**rule)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("L7Policy: ")


@pytest.mark.parametrize(
    "rule",
    [
        {"methods": ["GET", "M-SEARCH", "*"]},
        {"paths": ["/", "/a*", "*/b", "/a/{*}/b/{**}", "*"]},
        {"hosts": ["cart:9080", "*.example.com:80", "cart.*", "*"]},
        {"principals": ["d/ns/n/sa/a", "*/sa/a", "d/ns/n/*", "*"]},
        {"namespaces": ["shop", "shop-*", "*"]},
    ],
)
def test_l7_policy_values_that_can_match_are_kept(rule: dict[str, Any]) -> None:
    (built,) = policy(**rule)
    ((field, values),) = rule.items()
    part = built["from"][0]["source"] if "from" in built else built["to"][0]["operation"]
    assert {field: values} == part


def test_l7_policy_that_allows_a_wildcard_host_keeps_it() -> None:
    (built,) = policy("ALLOW", hosts=["*.example.com"])
    assert built["to"][0]["operation"]["hosts"] == ["*.example.com"]


def test_l7_policy_host_without_port_matches_any_port_too() -> None:
    (built,) = policy(hosts=["cart", "cart:80", "till", "till:*"])
    assert built["to"][0]["operation"]["hosts"] == ["cart", "cart:80", "till", "till:*", "cart:*"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"services": "web"}, 'services is "web": it must be a list of text'),
        ({"services": ["a", "a"]}, "services is"),
        ({"services": [f"s{number}" for number in range(17)]}, "a list of 1 to 16 Services"),
        ({"rules": {}}, r"rules is \{\}: it must be a list"),
        ({"rules": [{"methods": ["GET"]}] * 513}, "a list of at most 512 rules"),
        ({"rules": ["GET"]}, r'rules\[0\] is "GET": it must be an object with the fields of L7Rule'),
        ({"everything": "yes"}, 'everything is "yes": it must be true or false'),
        ({"limit_seconds": 0}, "limit_seconds is 0"),
        ({"kubeconfig": 5}, "kubeconfig is 5: it must be text"),
    ],
)
def test_l7_policy_with_a_wrong_type_is_refused_before_registration(args: dict[str, Any], said: str) -> None:
    given: Any = {"namespace": "shop", "services": ["cart"], "rules": [{"methods": ["GET"]}], **args}
    with pytest.raises(pulumi.RunError, match=said):
        run(lambda: L7Policy("p", given))


def test_l7_policy_passes_outputs_on() -> None:
    def program() -> None:
        given: Any = {
            "namespace": pulumi.Output.from_input("shop"),
            "services": [pulumi.Output.from_input("cart"), "till"],
            "rules": [{"methods": ["GET"]}],
            "kubeconfig": pulumi.Output.from_input("~/.kube/other"),
        }
        L7Policy("p", given)

    made = run(program).inputs("p-policy")
    assert made["metadata"]["namespace"] == "shop"
    assert [ref["name"] for ref in made["spec"]["targetRefs"]] == ["cart", "till"]
