"""Rules of an AuthorizationPolicy from arguments; values that could never match are refused, each with its reason.

Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/ and istiod,
pilot/pkg/security/authz/matcher: a value is compared exactly, or as a prefix or suffix if a * is at the other end.
"""

import re
from collections.abc import Mapping
from typing import Any

from . import objects

_KIND = "L7Policy"
SOURCE = ("principals", "namespaces")
OPERATION = ("methods", "paths", "hosts")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, 5.6.2
_TEMPLATE = re.compile(r"\{\*\*?\}")  # one path segment, or any number of them, in a path
_PORT = re.compile(r":\d+$")
_LABEL = re.compile(r"[a-z0-9*]([a-z0-9*-]*[a-z0-9*])?")


def rule(number: int, given: Mapping[str, Any], *, denies: bool) -> dict[str, Any]:
    """Return one rule as the API takes it.

    Args:
        number: Position of the rule, from 1, as error messages name it.
        given: The rule's fields, as of `L7Rule`.
        denies: The policy denies the requests that match.

    Raises:
        RunError: A field has a value that matches no request, or one that a request with a port passes by.
    """
    where = f"rule {number}"
    if denies:
        _closed(f"hosts of {where}", given.get("hosts", []))
    built: dict[str, Any] = {}
    for part, field, kinds in (("from", "source", SOURCE), ("to", "operation", OPERATION)):
        if found := {kind: _values(kind, f"{kind} of {where}", given[kind]) for kind in kinds if kind in given}:
            built[part] = [{field: found}]
    if headers := _headers(f"headers of {where}", given.get("headers", {})):
        built["when"] = headers
    return built


def _headers(where: str, given: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    found = []
    for name, values in given.items():
        if not _TOKEN.fullmatch(name):
            raise objects.refuse(_KIND, where, name, "the name of a header")
        if name.lower() == "host":
            raise objects.refuse(_KIND, where, name, "another header: Envoy knows Host as :authority; use hosts")
        found.append({"key": f"request.headers[{name}]", "values": _values("headers", f"{where}, {name}", values)})
    return found


def _values(kind: str, where: str, given: list[str]) -> list[str]:
    """Return the values of a field. An empty list would match nothing at all, so it is refused."""
    if not given:
        raise objects.refuse(_KIND, where, given, "a list of different values, at least one")
    for value in objects.names(_KIND, where, given):
        if why := _never(kind, value):
            raise objects.refuse(_KIND, where, value, why)
    if kind != "hosts":
        return given
    # A Host header has the port, unless it is the scheme's own.
    bare = [f"{host}:*" for host in given if "*" not in host and not _PORT.search(host)]
    return [*given, *(host for host in bare if host not in given)]


def _closed(where: str, hosts: list[str]) -> None:
    """Raise RunError for a host that a request passes by with a port: `Host: a.example.com:8080`.

    Under ALLOW the same request is denied, so nothing passes.
    """
    for host in hosts:
        if len(host) > 1 and host.startswith("*") and not host.endswith("*") and not _PORT.search(host):
            want = "full names, such as a.example.com: Istio has no * at both ends, so a host with a port is not denied"
            raise objects.refuse(_KIND, where, host, want)


def _never(kind: str, value: str) -> str:
    """Return the condition that a value breaks and without which it matches no request; empty where it can match."""
    rest = _TEMPLATE.sub("", value) if kind == "paths" else value
    if value != value.strip() or not value.isprintable():
        return "text without spaces at its ends and without control characters, as these never match"
    if rest.count("*") > 1 or "*" in rest[1:-1] or ("*" in rest and rest != value):
        return "a text with one * at most, at its start or its end: elsewhere it stands for itself" + (
            "; {*} stands for one segment of a path" if kind == "paths" else ""
        )
    check = {"methods": _method, "paths": _path, "hosts": _host, "principals": _principal, "namespaces": _namespace}
    return check[kind](value) if kind in check and value != "*" else ""


def _method(value: str) -> str:
    if value != value.upper():
        return f"{value.upper()}: methods are compared letter by letter"
    return "" if _TOKEN.fullmatch(value) else "an HTTP method, such as GET"


def _path(value: str) -> str:
    if value[0] not in "/*":
        return f"a path with its leading slash, such as /{value}: a request's path has one"
    if "?" in value or "#" in value:
        return "a path without ? and #: the query of a request is not compared"
    parts = value.split("/")
    return "a path without . and .. as segments: Envoy resolves them first" if {".", ".."} & {*parts} else ""


def _host(value: str) -> str:
    if "/" in value or "@" in value:
        return "a Host header, such as reviews:9080, without scheme and path"
    return "" if re.fullmatch(r"[A-Za-z0-9*.:\[\]_-]+", value) else "a Host header, such as reviews:9080"


def _principal(value: str) -> str:
    if "spiffe://" in value:
        return f"{value.replace('spiffe://', '')}: Istio compares identities without spiffe://"
    if "*" in value or re.fullmatch(r"[^/]+/ns/[^/]+/sa/[^/]+", value):
        return ""
    return "an identity, such as cluster.local/ns/NAMESPACE/sa/ACCOUNT, with or without a * at one end"


def _namespace(value: str) -> str:
    return "" if _LABEL.fullmatch(value) else "the name of a namespace, in lower case"
