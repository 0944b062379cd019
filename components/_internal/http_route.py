"""What a rule of an HTTPRoute does besides routing: timeouts, copies of requests, changed headers, users that stay."""

from collections.abc import Mapping
from typing import Any

from .. import types
from . import virtual_service

Rule = dict[str, Any]
_PARTS = 1_000_000  # of a mirror's share: a whole percent would round 0.5 to nothing


def applied(component: str, rules: list[Rule], args: Mapping[str, Any], port: int) -> list[Rule]:
    """`rules` with what `args` add to each; the last one, of the weights, makes users stay. Raises RunError.

    Source: Gateway API, HTTPRouteRule. Its `retry` is not in the standard channel, so it is not spoken here.
    """
    more: Rule = {}
    if filters := [*_headers(component, args), *_mirrors(component, args, port)]:
        more["filters"] = filters
    timeouts = {"request": args.get("timeout"), "backendRequest": args.get("try_timeout")}
    if given := {key: virtual_service.duration(component, key, value) for key, value in timeouts.items() if value}:
        more["timeouts"] = given
    *cohorts, weighted = rules
    return [{**rule, **more} for rule in (*cohorts, *_sticky(component, args, weighted))]


def _headers(component: str, args: Mapping[str, Any]) -> list[Rule]:
    changes = types.headers(component, args.get("request_headers"), args.get("response_headers")).get("headers", {})
    return [
        {"type": f"{side.capitalize()}HeaderModifier", f"{side}HeaderModifier": _listed(given)}
        for side, given in changes.items()
    ]


def _listed(given: Rule) -> Rule:
    return {
        kind: [{"name": name, "value": value} for name, value in values.items()] if kind != "remove" else values
        for kind, values in given.items()
    }


def _mirrors(component: str, args: Mapping[str, Any], port: int) -> list[Rule]:
    found = types.mirrors(component, args.get("mirrors", []), "", port).get("mirrors", [])
    return [
        {
            "type": "RequestMirror",
            "requestMirror": {
                "backendRef": {
                    "group": "",
                    "kind": "Service",
                    "name": mirror["destination"]["host"].removesuffix("."),
                    "port": mirror["destination"]["port"]["number"],
                },
                "fraction": {"numerator": round(mirror["percentage"]["value"] * _PARTS / 100), "denominator": _PARTS},
            },
        }
        for mirror in found
    ]


def _sticky(component: str, args: Mapping[str, Any], weighted: Rule) -> list[Rule]:
    refs: list[Rule] = weighted["backendRefs"]
    route = [{"destination": {"host": f"{ref['name']}."}} for ref in refs]
    stays, _, marked = types.sticky(component, args.get("sticky"), route, "")
    if not stays:
        return [weighted]
    pattern = stays["headers"]["cookie"]["regex"]
    alone: list[Rule] = []
    told: list[Rule] = []
    for ref, entry in zip(refs, marked, strict=True):
        if "headers" not in entry:
            told.append(ref)
            continue
        alone = [{**ref, "weight": 1}]
        cookie = entry["headers"]["response"]["add"]
        told.append(
            {**ref, "filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": _listed({"add": cookie})}]}
        )
    matches = [{"headers": [{"type": "RegularExpression", "name": "cookie", "value": pattern}]}]
    return [{"matches": matches, "backendRefs": alone}, {**weighted, "backendRefs": told}]
