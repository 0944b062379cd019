"""Readers of the routes in the config dump of a waypoint's Envoy."""

import re
from collections.abc import Mapping

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.kubectl import Object
from waypoint_lab.stages.expectations import COOKIE

RBAC = "envoy.filters.http.rbac"


def connection_manager(dump: Object, config: LabConfig) -> Object | None:
    """Return the HTTP connection manager of the Service's own port in a waypoint's config dump; None if it has none."""
    name = f"inbound-vip|{config.app.port}|http|{config.app.service}.{config.app.namespace}."
    for section in dump.get("configs", []):
        listeners = [section] if "active_state" in section else section.get("dynamic_listeners", [])
        for listener in listeners:
            for chain in listener.get("active_state", {}).get("listener", {}).get("filter_chains", []):
                for item in chain.get("filters", []):
                    typed: Object = item.get("typed_config", {})
                    if typed.get("route_config", {}).get("name", "").startswith(name):
                        return typed
    return None


def has_policy(manager: Object, policy: str) -> bool:
    """Check that a connection manager has the rules of an AuthorizationPolicy, beside those of others."""
    filters = [item.get("typed_config", {}) for item in manager.get("http_filters", []) if item["name"] == RBAC]
    rules = [name for item in filters for name in item.get("rules", {}).get("policies", {})]
    return any(f"-policy[{policy}]-" in name for name in rules)


def weights(route: Object) -> dict[str, float]:
    """Return the share of requests (0 to 1) that one route sends to each Service."""
    action = route.get("route", {})
    clusters = action.get("weighted_clusters", {}).get("clusters") or [{"name": action.get("cluster", ""), "weight": 1}]
    total = sum(item.get("weight", 0) for item in clusters) or 1
    found: dict[str, float] = {}
    for item in clusters:
        service = item["name"].split("|")[-1].split(".")[0]
        found[service] = found.get(service, 0) + item.get("weight", 0) / total
    return {service: share for service, share in found.items() if share}


def serving(
    routes: list[Object], headers: Mapping[str, str] | None = None, method: str = "GET", path: str = "/"
) -> Object | None:
    """Return the first route that takes a request, as Envoy chooses it. An unknown kind of match does not match."""
    # Envoy has header names in lower case.
    request = {":method": method, **{name.lower(): value for name, value in (headers or {}).items()}}
    plain, _, query = path.partition("?")
    parameters = dict(part.partition("=")[::2] for part in query.split("&"))  # Envoy compares them as they are sent

    def taken(route: Object) -> bool:
        match = route.get("match", {})
        asked = match.get("query_parameters", [])
        return (
            all(_takes(one, request) for one in header_matches(route))
            and all(_takes(one, parameters, exact_name=True) for one in asked)
            and _takes_path(match, plain)
        )

    return next(filter(taken, routes), None)


def narrow(route: Object) -> bool:
    """Check that a route is for some paths or query parameters alone."""
    match = route.get("match", {})
    return bool(match.keys() & {"path", "path_separated_prefix", "safe_regex", "query_parameters"})


def _takes_path(match: Object, path: str) -> bool:
    if "path" in match:
        return bool(match["path"] == path)
    if prefix := match.get("path_separated_prefix"):
        return path == prefix or path.startswith(f"{prefix}/")
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return path.startswith(match.get("prefix", ""))


def header_matches(route: Object) -> list[Object]:
    """Return the matches of headers that a route has."""
    found: list[Object] = route.get("match", {}).get("headers", [])
    return found


def _takes(match: Object, request: Mapping[str, str], *, exact_name: bool = False) -> bool:
    value = request.get(match["name"] if exact_name else match["name"].lower())
    text = match.get("string_match", {})
    if value is None:
        found = False
    elif "exact" in text:
        found = text["exact"] == value
    elif "safe_regex" in text:
        found = re.fullmatch(text["safe_regex"]["regex"], value) is not None
    elif "prefix" in text:
        found = value.startswith(text["prefix"])
    else:
        found = bool(match.get("present_match"))
    return found != bool(match.get("invert_match"))


def percent(value: Object) -> float:
    """Return one of Envoy's fractions in percent."""
    scale = {"HUNDRED": 1, "TEN_THOUSAND": 100, "MILLION": 10_000}[value.get("denominator", "HUNDRED")]
    return float(value.get("numerator", 0)) / scale


def affinity_cookie(route: Object) -> str:
    """Return the cookie, as NAME=VALUE, by which a route keeps users on a backend; empty where it sets none."""
    # With one backend, Istio sets its headers on the route.
    items = [route, *route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])]
    added = [entry["header"] for item in items for entry in item.get("response_headers_to_add", [])]
    values = [header["value"] for header in added if is_affinity(header)]
    return values[0].partition(";")[0] if values else ""


def is_affinity(header: Object) -> bool:
    """Check that a header of answers is the cookie of session affinity."""
    return bool(header["key"].lower() == "set-cookie" and header["value"].startswith(f"{COOKIE}="))
