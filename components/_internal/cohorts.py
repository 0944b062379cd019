"""Requests of a cohort: their arguments, and their match in the words of both APIs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..types import Backend, Cohort, HeaderMatch
from . import http_text, objects

# Source: Gateway API, HTTPMethod
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
# Source: Gateway API, HTTPPathMatch.value, without *: Exact and PathPrefix would compare it as itself
_PATH = re.compile(r"(?=/)(?:[-A-Za-z0-9/._~!$&'()+,;=:@]|%[0-9a-fA-F]{2})+")
_MAX_PATH = 1024
# Envoy compares a parameter as it was sent, before it is decoded. Source: RFC 3986, query, without the separator &
_QUERY = re.compile(r"(?:[-A-Za-z0-9._~!$'()*+,;=:@/?]|%[0-9a-fA-F]{2})+")
_MAX_QUERY = 1024  # Source: Gateway API, HTTPQueryParamMatch.value
_ODD_PARTS = ("//", "/./", "/../", "%2f", "%2F")
_ODD_ENDS = ("/.", "/..")
_FIELDS = ("header", "cookies", "query", "method", "path", "path_prefix")


@dataclass(frozen=True)
class CohortRule:
    """A cohort: requests that match every criterion, and their backends. An empty text or map is no criterion.

    `headers` are kinds of match and values by name.
    """

    headers: Mapping[str, tuple[HeaderMatch, str]]
    query: Mapping[str, str]
    method: str
    path: str
    prefix: str
    backends: Sequence[Backend] = ()


def parse(component: str, where: str, cohort: Cohort) -> CohortRule:
    """Return a cohort without its backends. Raises RunError where there is no criterion, or a wrong one."""
    if not any(cohort.get(name) for name in _FIELDS):
        given = {name: value for name, value in cohort.items() if name != "value"}  # which may be a secret
        raise objects.refuse(component, where, given, f"with at least one of {', '.join(_FIELDS)}")
    if cohort.get("path") and cohort.get("path_prefix"):
        raise objects.refuse(component, f"{where}.path_prefix", cohort["path_prefix"], "left out where path is given")
    method = cohort.get("method", "")
    if method and method not in _METHODS:
        raise objects.refuse(component, f"{where}.method", method, f"one of {', '.join(_METHODS)}")
    query = cohort.get("query", {})
    for name, value in query.items():
        http_text.token(component, f"a name in {where}.query", name, "name of a parameter")
        _query(component, f"{where}.query.{name}", name, value)
    return CohortRule(
        _headers(component, where, cohort),
        query,
        method,
        _path(component, f"{where}.path", cohort.get("path", "")),
        _path(component, f"{where}.path_prefix", cohort.get("path_prefix", "")),
    )


def _headers(component: str, where: str, cohort: Cohort) -> dict[str, tuple[HeaderMatch, str]]:
    found: dict[str, tuple[HeaderMatch, str]] = {}
    if ("header" in cohort) != ("value" in cohort):
        missing = "value" if "header" in cohort else "header"
        raise objects.refuse(component, f"{where}.{missing}", None, "given: header and value go together")
    if "header" in cohort:
        match, value = cohort.get("match", HeaderMatch.EXACT), cohort["value"]
        if match is HeaderMatch.REGEX:
            http_text.regex(component, f"{where}.value", value)
        name = http_text.token(component, f"{where}.header", cohort["header"]).lower()
        found[name] = (match, http_text.header_value(component, f"{where}.value", value))
    cookies = cohort.get("cookies", {})
    if len(cookies) + ("cookie" in found) > 1:
        raise objects.refuse(
            component, f"{where}.cookies", [*cookies], "one cookie, without the header cookie beside it"
        )
    for name, value in cookies.items():
        http_text.token(component, f"a name in {where}.cookies", name, "name of a cookie")
        text = http_text.header_value(component, f"{where}.cookies.{name}", value)
        found["cookie"] = (HeaderMatch.REGEX, cookie_pattern(f"{name}={text}"))
    return found


def cookie_pattern(pair: str) -> str:
    """Return the regular expression for a header `cookie` with a cookie, given as NAME=VALUE."""
    return rf"(.*;\s*)?{re.escape(pair)}(;.*)?"


def _path(component: str, where: str, path: str) -> str:
    odd = any(part in path for part in _ODD_PARTS) or path.endswith(_ODD_ENDS)
    if path and (odd or not _PATH.fullmatch(path) or len(path) > _MAX_PATH):
        hint = "percent-encoded where it has other characters, such as /caf%C3%A9"
        if any(character in path for character in "*{}"):
            hint = "without *, { and }; path_prefix matches all paths below"
        want = f"a path of at most {_MAX_PATH} characters that begins with /, without query and dots as parts, {hint}"
        raise objects.refuse(component, where, path, want)
    return path


def _query(component: str, where: str, name: str, value: str) -> None:
    """Raise RunError where clients encode a part of a parameter. The error does not show the value, as of headers."""
    if not _QUERY.fullmatch(name) or "=" in name:
        raise objects.refuse(component, f"a name in {where.rpartition('.query.')[0]}.query", name, "as clients send it")
    http_text.header_value(component, where, value)
    if not _QUERY.fullmatch(value) or len(value) > _MAX_QUERY:
        want = f"at most {_MAX_QUERY} characters as clients send them, such as red%20shoes for red shoes"
        raise objects.refuse(component, where, f"a value of {len(value)} characters", want)


def http_route(rule: CohortRule) -> dict[str, Any]:
    """Return the match of an HTTPRoute."""
    found: dict[str, Any] = {}
    if rule.path or rule.prefix:
        found["path"] = {"type": "Exact" if rule.path else "PathPrefix", "value": rule.path or rule.prefix}
    if rule.headers:
        headers = rule.headers.items()
        found["headers"] = [{"type": str(kind), "name": name, "value": value} for name, (kind, value) in headers]
    if rule.query:
        found["queryParams"] = [{"type": "Exact", "name": name, "value": value} for name, value in rule.query.items()]
    if rule.method:
        found["method"] = rule.method
    return found


def virtual_service(rule: CohortRule) -> dict[str, Any]:
    """Return the match of a VirtualService."""
    found: dict[str, Any] = {}
    if rule.path:
        found["uri"] = {"exact": rule.path}
    elif rule.prefix:
        # Istio's own prefix would match /cartoon for /cart.
        found["uri"] = {"regex": f"{re.escape(rule.prefix.rstrip('/'))}(/.*)?"}
    if rule.headers:
        kinds = {HeaderMatch.EXACT: "exact", HeaderMatch.REGEX: "regex"}
        found["headers"] = {name: {kinds[kind]: value} for name, (kind, value) in rule.headers.items()}
    if rule.query:
        found["queryParams"] = {name: {"exact": value} for name, value in rule.query.items()}
    if rule.method:
        found["method"] = {"exact": rule.method}
    return found
