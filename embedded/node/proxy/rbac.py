"""Policies of layer 4 as rules of Envoy's RBAC filters, for plain TCP and for HBONE."""

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

Object = dict[str, Any]
TYPE = "type.googleapis.com/"
DENY = 1
ANY_TRUST_DOMAIN = "spiffe://[^/]+/ns/"


def filters(policies: Iterable[Any], hbone: bool) -> list[Object]:
    """Return the RBAC filters that enforce policies: DENY first, then ALLOW if there is one.

    Args:
        policies: Messages `istio.security.Authorization`.
        hbone: True for filters of HBONE requests, whose destination is in `:authority`; False for connections.
    """
    policies = list(policies)
    deny = [policy for policy in policies if policy.action == DENY]
    allow = [policy for policy in policies if policy.action != DENY]
    made = [_filter("DENY", deny, hbone)] if deny else []
    return [*made, _filter("ALLOW", allow, hbone)] if allow else made


def _filter(action: str, policies: list[Any], hbone: bool) -> Object:
    layer = "http" if hbone else "network"
    config: Object = {
        "@type": f"{TYPE}envoy.extensions.filters.{layer}.rbac.v3.RBAC",
        "rules": {"action": action, "policies": _rules(policies, hbone)},
    }
    if not hbone:
        config["stat_prefix"] = action.lower()
    return {"name": f"envoy.filters.{layer}.rbac.{action.lower()}", "typed_config": config}


def _rules(policies: list[Any], hbone: bool) -> Object:
    rules: Object = {}
    for policy in policies:
        for number, group in enumerate(policy.groups):
            for variant, (permission, principal) in enumerate(_group(group, hbone)):
                name = f"{policy.namespace}/{policy.name}/{number}.{variant}"
                rules[name] = {"permissions": [permission], "principals": [principal]}
    return rules


def _group(group: Any, hbone: bool) -> list[tuple[Object, Object]]:
    """Return permissions and principals whose pairs, ORed, match as the group does.

    All clauses of a group must match; of each clause, one of its matches. Envoy keeps ports apart from the rest, so
    there is a pair for each choice of one match per clause. A clause with only empty matches never matches.
    """
    clauses = [[match for match in clause.matches if match.ListFields()] for clause in group.rules if clause.matches]
    pairs = []
    for chosen in itertools.product(*clauses):
        permissions = [each for match in chosen for each in _permissions(match, hbone)]
        principals = [each for match in chosen for each in _principals(match)]
        pairs.append((_all(permissions, "rules"), _all(principals, "ids")))
    return pairs


def _all(items: list[Object], key: str) -> Object:
    name = "and_rules" if key == "rules" else "and_ids"
    return {name: {key: items}} if items else {"any": True}


def _both(positive: Iterable[Object], negative: Iterable[Object], key: str) -> list[Object]:
    """Return conditions: one of `positive` matches, if there are any, and none of `negative`."""
    name, inverse = ("or_rules", "not_rule") if key == "rules" else ("or_ids", "not_id")
    given = list(positive)
    return ([{name: {key: given}}] if given else []) + [{inverse: each} for each in negative]


def _permissions(match: Any, hbone: bool) -> list[Object]:
    def port(number: int) -> Object:
        if not hbone:
            return {"destination_port": number}
        return {"header": {"name": ":authority", "string_match": {"suffix": f":{number}"}}}

    def address(cidr: Any) -> Object:
        return {"destination_ip": _range(cidr)}

    return [
        *_both(map(port, match.destination_ports), map(port, match.not_destination_ports), "rules"),
        *_both(map(address, match.destination_ips), map(address, match.not_destination_ips), "rules"),
    ]


def _principals(match: Any) -> list[Object]:
    def source(cidr: Any) -> Object:
        return {"direct_remote_ip": _range(cidr)}

    pairs: list[tuple[Any, Any, Callable[[Any], Object]]] = [
        (match.source_ips, match.not_source_ips, source),
        (match.principals, match.not_principals, _principal),
        (match.namespaces, match.not_namespaces, _namespace),
        (match.service_accounts, match.not_service_accounts, _service_account),
    ]
    return [each for wanted, refused, made in pairs for each in _both(map(made, wanted), map(made, refused), "ids")]


def _range(cidr: Any) -> Object:
    return {"address_prefix": str(ipaddress.ip_address(cidr.address)), "prefix_len": cidr.length}


def _authenticated(matcher: Object) -> Object:
    # Without a client certificate this never matches.
    return {"authenticated": {"principal_name": matcher}}


def _regex(pattern: str) -> Object:
    return _authenticated({"safe_regex": {"regex": pattern}})


def _principal(match: Any) -> Object:
    kind = match.WhichOneof("kind")
    if kind == "suffix":
        return _regex(f"spiffe://.*{re.escape(match.suffix)}")
    if kind in ("exact", "prefix"):
        return _authenticated({kind: f"spiffe://{getattr(match, kind)}"})
    return _authenticated({"prefix": "spiffe://"})


def _namespace(match: Any) -> Object:
    name = {
        "exact": re.escape(match.exact),
        "prefix": f"{re.escape(match.prefix)}[^/]*",
        "suffix": f"[^/]*{re.escape(match.suffix)}",
        "presence": "[^/]+",
        # A match without a kind selects nothing: no namespace is empty.
        None: "",
    }[match.WhichOneof("kind")]
    return _regex(f"{ANY_TRUST_DOMAIN}{name}/sa/.*")


def _service_account(match: Any) -> Object:
    return _regex(f"{ANY_TRUST_DOMAIN}{re.escape(match.namespace)}/sa/{re.escape(match.service_account)}")
