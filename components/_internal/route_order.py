"""Order of an HTTPRoute's rules in Envoy: istiod sorts them, while those of a VirtualService keep their order."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

_RANKS = {"Exact": 3, "PathPrefix": 2}
_EVERY_PATH = {"type": "PathPrefix", "value": "/"}  # the API's default
_COOKIE = re.compile(r"\(\.\*;\\s\*\)\?(?P<name>[^=]+)=(?P<value>.*)\(;\.\*\)\?")  # as of cohorts.cookie_pattern


def moved(rules: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Return the positions of two rules that istiod swaps, to the harm of requests that both match; None without any.

    Source: istiod, pilot/pkg/config/kube/gateway/conversion.go, sortHTTPRoutes.
    """
    matches = [rule.get("matches", [{}])[0] for rule in rules]
    ranks = [_rank(match) for match in matches]
    for second in range(len(rules)):
        for first in range(second):
            swapped = ranks[second] > ranks[first] and rules[first]["backendRefs"] != rules[second]["backendRefs"]
            if swapped and _overlap(matches[first], matches[second]):
                return first, second
    return None


def _rank(match: Mapping[str, Any]) -> tuple[int, int, bool, int, int]:
    """Return the key by which istiod sorts, the greatest first."""
    path = _path(match)
    headers, query = len(match.get("headers", [])), len(match.get("queryParams", []))
    return _RANKS[path["type"]], len(path["value"]), "method" in match, headers, query


def _path(match: Mapping[str, Any]) -> dict[str, str]:
    path = match.get("path", _EVERY_PATH)
    if path["type"] == "PathPrefix" and path["value"] != "/":
        return {**path, "value": path["value"].removesuffix("/")}
    return {**path}


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return False where no request can match both."""
    if not _paths_overlap(_path(one), _path(other)):
        return False
    first, second = _exact(one), _exact(other)
    return all(first[name] == second[name] for name in first.keys() & second.keys())


def _paths_overlap(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    if "Exact" == one["type"] == other["type"]:
        return one["value"] == other["value"]

    def holds(prefix: Mapping[str, str], path: Mapping[str, str]) -> bool:
        return prefix["type"] == "PathPrefix" and f"{path['value']}/".startswith(f"{prefix['value'].rstrip('/')}/")

    return holds(one, other) or holds(other, one)


def _exact(match: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the exact values that a request must have, by kind and name."""
    found = {("method", ""): match["method"]} if "method" in match else {}
    found |= {("query", each["name"]): each["value"] for each in match.get("queryParams", [])}
    for each in match.get("headers", []):
        if each["type"] == "Exact":
            found["header", each["name"]] = each["value"]
        elif each["name"] == "cookie" and isinstance(each["value"], str) and (pair := _COOKIE.fullmatch(each["value"])):
            found["cookie", pair["name"]] = pair["value"]
    return found
