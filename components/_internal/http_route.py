"""Renderer of a Service's traffic in the words of the Gateway API.

Source: https://gateway-api.sigs.k8s.io/reference/spec/#httproute. Its `retry` is not in the standard channel.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from ..types import Backend, HeaderChanges
from . import cohorts, http_text, objects, route_order
from .traffic import Traffic

Rule = dict[str, Any]
_MAX_ITEMS = 16  # Source: HTTPRouteSpec.rules, HTTPRouteRule.filters and backendRefs, HTTPHeaderFilter.set, add, remove
_DENOMINATOR = 1_000_000  # of a mirror's share: a whole percent would round 0.5 to nothing


def spec(traffic: Traffic) -> Rule:
    """Return the spec of an HTTPRoute. Raises RunError where it exceeds a limit of the API."""
    more: Rule = {}
    if filters := [*_header_filters(traffic.changes), *_mirror_filters(traffic)]:
        more["filters"] = filters
    timeouts = {"request": traffic.timeout, "backendRequest": traffic.try_timeout}
    if given := {key: http_text.duration(limit) for key, limit in timeouts.items() if limit}:
        more["timeouts"] = given
    rules = [{**rule, **more} for rule in _rules(traffic)]
    _limited(traffic, "cohorts and session_affinity", len(rules), "rules")
    if moved := route_order.moved(rules):
        first, second = (f"cohorts[{i}]" if i < len(traffic.cohorts) else "session_affinity" for i in moved)
        want = f"before {first}: istiod sorts the rules of an HTTPRoute; use other criteria, or ServiceTraffic instead"
        if second != "session_affinity":
            want = f"before {first}, as istiod sorts the rules of an HTTPRoute; change the order, or use ServiceTraffic"
        raise objects.refuse(traffic.component, second, f"after {first}", want)
    _limited(traffic, "mirrors and header changes", len(filters), "filters")
    for rule in rules:
        _limited(traffic, "backends", len(rule["backendRefs"]), "backends of a rule")
    for side, changes in traffic.changes.items():
        for kind in ("set", "add", "remove"):
            _limited(traffic, f"{side}_headers.{kind}", len(changes[kind]), "headers")
    parent = {"group": "", "kind": "Service", "name": traffic.service, "port": traffic.port}
    return {"parentRefs": [parent], "rules": rules}


def _limited(traffic: Traffic, where: str, number: int, what: str) -> None:
    if number > _MAX_ITEMS:
        raise objects.refuse(traffic.component, where, number, f"at most {_MAX_ITEMS} {what} of one HTTPRoute")


def _rules(traffic: Traffic) -> list[Rule]:
    rules = [
        {"matches": [cohorts.http_route(cohort)], "backendRefs": [_ref(each) for each in cohort.backends]}
        for cohort in traffic.cohorts
    ]
    refs = [_ref(backend) for backend in traffic.backends]
    if affinity := traffic.affinity:
        kept = {**_ref(affinity.backend), "weight": 1}
        cookie_match = {"type": "RegularExpression", "name": "cookie", "value": affinity.pattern}
        rules.append({"matches": [{"headers": [cookie_match]}], "backendRefs": [kept]})
        change = {"add": [{"name": "set-cookie", "value": affinity.set_cookie}]}
        cookie = {"type": "ResponseHeaderModifier", "responseHeaderModifier": change}
        refs = [{**ref, "filters": [cookie]} if ref["name"] == kept["name"] else ref for ref in refs]
    return [*rules, {"backendRefs": refs}]


def _ref(backend: Backend) -> Rule:
    return {**_service(backend["name"], backend["port"]), "weight": backend["weight"]}


def _service(name: pulumi.Input[str], port: int) -> Rule:
    return {"group": "", "kind": "Service", "name": name, "port": port}


def _header_filters(changes: Mapping[str, HeaderChanges]) -> Sequence[Rule]:
    found = []
    for side, given in changes.items():
        listed: Rule = {
            kind: [{"name": name, "value": value} for name, value in values.items()]
            for kind, values in (("set", given["set"]), ("add", given["add"]))
            if values
        }
        if given["remove"]:
            listed["remove"] = given["remove"]
        found.append({"type": f"{side.capitalize()}HeaderModifier", f"{side}HeaderModifier": listed})
    return found


def _mirror_filters(traffic: Traffic) -> Sequence[Rule]:
    return [
        {
            "type": "RequestMirror",
            "requestMirror": {
                "backendRef": _service(mirror["name"], mirror["port"]),
                "fraction": {"numerator": round(mirror["percent"] * _DENOMINATOR / 100), "denominator": _DENOMINATOR},
            },
        }
        for mirror in traffic.mirrors
    ]
