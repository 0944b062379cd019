"""Ports of Services as istiod reads them: only those that may carry HTTP get the rules of routes."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .waits import Session

Port = tuple[str, int]  # name of a Service, and number
# Source: istiod, ConvertProtocol: without a protocol, these ports are TCP; all others are sniffed.
_KNOWN_TCP = (25, 53, 3306, 27017)
_NO_HTTP = ("tcp", "udp", "https", "tls", "mongo", "redis", "mysql")
_OF_KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_HTTP = ("http", "http2", "http_proxy", "grpc")


def destinations(document: Mapping[str, Any]) -> Iterator[Port]:
    """Yield Service and port of each backend and mirror of a route or rule; port 0 where none is named."""
    spec = document["spec"]
    for rule in spec.get("rules") or []:
        mirrors = [entry["requestMirror"] for entry in rule.get("filters") or [] if "requestMirror" in entry]
        for ref in [*(rule.get("backendRefs") or []), *(mirror["backendRef"] for mirror in mirrors)]:
            yield str(ref["name"]), int(ref.get("port") or 0)
    for rule in spec.get("http") or []:
        for entry in [*(rule.get("route") or []), *(rule.get("mirrors") or [])]:
            place = entry["destination"]
            yield str(place["host"]).partition(".")[0], int((place.get("port") or {}).get("number") or 0)


async def read(session: Session, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the Services of the session's namespace that exist, by name."""
    paths = {name: f"/api/v1/namespaces/{session.namespace}/services/{name}" for name in names}
    found = zip(paths, await asyncio.gather(*map(session.optional, paths.values())), strict=True)
    return {name: item for name, item in found if item}


async def missing(session: Session, ports: Iterable[Port]) -> str:
    """Return a line on the first of `ports` that its Service does not have; empty if all exist.

    Source: istiod, buildDestination, which checks the Service only, and getWaypointDestinationCluster: requests to a
    port that does not exist get 503, and copies of requests are not sent. Ports without HTTP serve as backends.
    """
    known = sorted({*ports})
    found = await read(session, [name for name, _ in known])
    for name, number in known:
        if name not in found:
            return absent(session.namespace, name)
        if number and _port(found[name], number) is None:
            return _without(found[name], number)
    return ""


def problem(service: Mapping[str, Any], number: int) -> str:
    """Return the reason why HTTP rules have no effect on a Service's port; empty if they have one, or for port 0.

    Source: istiod, ConvertProtocol for the protocol, and buildWaypointInternal: only HTTP and sniffed ports get HTTP
    filters.
    """
    if not number:
        return ""
    found = _port(service, number)
    if found is None:
        return _without(service, number)
    field = "name" if found.get("appProtocol") is None else "appProtocol"
    text = str(found.get(field) or "")
    protocol = _OF_KUBERNETES.get(text, text) if field == "appProtocol" else text
    kind = protocol.partition("-")[0].lower()
    if kind in _NO_HTTP:
        why = f"{kind} by its {field} {text}"
    elif number in _KNOWN_TCP and kind not in _HTTP:
        why = "tcp by its number"
    else:
        return ""
    where = f"port {number} of {_where(service)}"
    return f"{where} is {why}, so a waypoint applies no HTTP rule to it; set its appProtocol to http"


def absent(namespace: str, name: str) -> str:
    """Return the line on a Service that does not exist."""
    return f"Service {namespace}/{name} does not exist; correct the name, or create it first"


def _port(service: Mapping[str, Any], number: int) -> Mapping[str, Any] | None:
    ports = service["spec"].get("ports") or []
    return next((port for port in ports if port["port"] == number and port.get("protocol", "TCP") == "TCP"), None)


def _without(service: Mapping[str, Any], number: int) -> str:
    has = ", ".join(_title(port) for port in service["spec"].get("ports") or []) or "none"
    return f"{_where(service)} has no port {number}; it has {has}"


def _where(service: Mapping[str, Any]) -> str:
    return f"Service {service['metadata']['namespace']}/{service['metadata']['name']}"


def _title(port: Mapping[str, Any]) -> str:
    protocol = port.get("protocol", "TCP")
    return f"{port['port']}" if protocol == "TCP" else f"{port['port']}/{protocol}"
