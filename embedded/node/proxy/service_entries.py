"""ServiceEntries as Services of the node: a virtual address for each host, and the endpoints behind it."""

import ipaddress
import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress

from embedded.node.kubelet.sandbox import SandboxError, command
from embedded.node.proxy.snapshot import Object, Snapshot, labels_of

ENDPOINTS = "endpoints"  # field of an object of `services_of` that real Services do not have
log = logging.getLogger(__name__)


def hosts(entry: Object) -> Iterator[tuple[str, str]]:
    """Yield each host of a ServiceEntry with each of its addresses: its own, else those that istiod allocated.

    Source: https://istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy/#address-auto-allocation.
    """
    own = (entry.get("spec") or {}).get("addresses") or []
    rows = (entry.get("status") or {}).get("addresses") or []
    given = [(row.get("host"), row.get("value", "")) for row in rows]
    for host in (entry.get("spec") or {}).get("hosts") or []:
        for address in own or [value for name, value in given if name in (None, host)]:
            with suppress(ValueError):  # IPv6, or a range, which admission refuses
                yield host, str(ipaddress.IPv4Address(address))


def services_of(snapshot: Snapshot) -> dict[str, Object]:
    """Return an object like a Service for each virtual address of a ServiceEntry, by `namespace/host:address`."""
    found = {}
    for entry in snapshot.entries.values():
        meta, declared = entry["metadata"], (entry.get("spec") or {}).get("ports") or []
        ports = [{"name": port["name"], "port": port["number"]} for port in declared]
        for host, address in hosts(entry):
            found[f"{meta['namespace']}/{host}:{address}"] = {
                "metadata": meta,
                "spec": {"clusterIP": address, "ports": ports},
                "status": entry.get("status") or {},
                ENDPOINTS: {port["number"]: _endpoints(snapshot, entry, host, port) for port in declared},
            }
    return found


def _endpoints(snapshot: Snapshot, entry: Object, host: str, port: Object) -> list[tuple[str, int]]:
    """Return addresses or names, with the port, behind a port of a ServiceEntry."""
    spec, target = entry["spec"], int(port.get("targetPort") or port["number"])
    if chosen := (spec.get("workloadSelector") or {}).get("labels"):
        return sorted((address, target) for address in _selected(snapshot, entry["metadata"]["namespace"], chosen))
    if not spec.get("endpoints") and spec.get("resolution") == "DNS":
        return [(host, target)]
    # Those that only name a network are behind its gateway, which this node does not have.
    found = [item for item in spec.get("endpoints") or [] if item.get("address")]
    return sorted((item["address"], (item.get("ports") or {}).get(port["name"], target)) for item in found)


def _selected(snapshot: Snapshot, namespace: str, chosen: dict[str, str]) -> Iterator[str]:
    """Yield the addresses of the ready Pods of a namespace with the labels."""
    for pod in snapshot.pods.values():
        if pod["metadata"]["namespace"] != namespace or not chosen.items() <= labels_of(pod).items():
            continue
        status = pod.get("status", {})
        ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or [])
        if ready and status.get("podIP"):
            yield str(status["podIP"])


def lookup(entries: Iterable[Object], host: str, namespace: str) -> list[str]:
    """Return the virtual addresses of a host for a client's namespace, whose own ServiceEntries have priority."""
    found = [
        (entry["metadata"]["namespace"] != namespace, entry["metadata"].get("creationTimestamp", ""), address)
        for entry in entries
        for name, address in hosts(entry)
        if name.lower() == host
    ]
    return [address for *rank, address in sorted(found) if rank == list(min(found)[:2])]


def is_address(text: str) -> bool:
    """Return True for an IPv4 address, False for a name."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


class Routes:
    """Routes by which the node takes connections to virtual addresses."""

    def __init__(self, node_ip: str) -> None:
        """Take no address yet, and never that of the node."""
        self._node_ip = node_ip
        self._routed: set[str] = set()

    async def update(self, services: Collection[Object]) -> None:
        """Take connections to the addresses of `services`, and no longer to others."""
        wanted = {service["spec"]["clusterIP"] for service in services} - {self._node_ip}
        changes = [("replace", address) for address in wanted - self._routed]
        changes += [("del", address) for address in self._routed - wanted]
        for change, address in changes:
            try:
                await command("ip", "route", change, "local", f"{address}/32", "dev", "lo")
            except SandboxError as error:
                log.warning("route of %s: %s", address, error)
        self._routed = wanted
