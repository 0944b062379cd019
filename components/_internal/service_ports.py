"""Ports of a Service as istiod reads them: only those that may carry HTTP get the rules of routes."""

from collections.abc import Mapping
from typing import Any

# Source: istiod, ConvertProtocol: without a protocol, these ports are TCP; all others are sniffed.
_KNOWN_TCP = (25, 53, 3306, 27017)
_NO_HTTP = ("tcp", "udp", "https", "tls", "mongo", "redis", "mysql")
_OF_KUBERNETES = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_HTTP = ("http", "http2", "http_proxy", "grpc")


def problem(service: Mapping[str, Any], number: int) -> str:
    """Return the reason why HTTP rules have no effect on a Service's port; empty if they have one, or for port 0.

    Source: istiod, ConvertProtocol for the protocol, and buildWaypointInternal: only HTTP and sniffed ports get HTTP
    filters.
    """
    if not number:
        return ""
    meta, ports = service["metadata"], service["spec"].get("ports") or []
    where = f"Service {meta['namespace']}/{meta['name']}"
    found = next((port for port in ports if port["port"] == number and port.get("protocol", "TCP") == "TCP"), None)
    if found is None:
        has = ", ".join(_title(port) for port in ports) or "none"
        return f"{where} has no port {number}; it has {has}"
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
    return f"port {number} of {where} is {why}, so a waypoint applies no HTTP rule to it; set its appProtocol to http"


def _title(port: Mapping[str, Any]) -> str:
    protocol = port.get("protocol", "TCP")
    return f"{port['port']}" if protocol == "TCP" else f"{port['port']}/{protocol}"
