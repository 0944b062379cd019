"""Addresses of 127.0.0.0/8 for Services of type LoadBalancer, which the user's shell and browser reach."""

import asyncio
import errno
import hashlib
import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedded.kube import FAULTS, Informer, Kube, Object, key_of
from embedded.supervisor.ports import Ports
from embedded.supervisor.relay import Relay

HIGHER = 8000  # port 80 is served at 8080 where the user may not open it
LARGEST = 254
IN_USE, FAILED = "AddressInUse", "OpenFailed"
RETRIED = (IN_USE, FAILED)
RETRY_SECONDS = 5.0
log = logging.getLogger("supervisor")


def network(state: Path) -> str:
    """Return the first three bytes of a cluster's addresses; clusters on one machine have different ones."""
    digest = hashlib.sha256(str(state.resolve()).encode()).digest()
    return f"127.{64 + digest[0] % 128}.{digest[1]}."


def wanted(service: Object) -> bool:
    """Return True for a Service that gets an address here."""
    spec = service["spec"]
    return bool(
        spec.get("type") == "LoadBalancer"
        and not spec.get("loadBalancerClass")
        and not service["metadata"].get("deletionTimestamp")
    )


def _given(service: Object) -> str:
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    return str(ingress[0].get("ip", ""))


def allocate(services: Iterable[Object], prefix: str) -> dict[str, str]:
    """Return an address for each Service by `namespace/name`; one that has an address keeps it."""
    mine = [item for item in services if wanted(item)]
    mine.sort(key=lambda item: (item["metadata"].get("creationTimestamp", ""), key_of(item)))
    found: dict[str, str] = {}
    for item in mine:
        address = _given(item)
        if address.startswith(prefix) and address not in found.values():
            found[key_of(item)] = address
    free = (f"{prefix}{number}" for number in range(1, LARGEST + 1))
    for item in mine:
        if key_of(item) not in found:
            address = next((each for each in free if each not in found.values()), "")
            if address:
                found[key_of(item)] = address
    return found


@dataclass(frozen=True)
class Opened:
    """One port of a Service: where it is served, or why not."""

    port: int
    protocol: str
    served: int
    error: str = ""

    def status(self) -> Object:
        """Return the entry of the Service's status."""
        found: Object = {"port": self.port, "protocol": self.protocol}
        return found | ({"error": self.error} if self.error else {})


class LoadBalancer:
    """Controller of all Services of type LoadBalancer."""

    def __init__(self, kube: Kube, ports: Ports, prefix: str) -> None:
        """Serve addresses that start with `prefix`."""
        self._kube, self._ports, self._prefix = kube, ports, prefix
        self._changed = asyncio.Event()
        self._services = Informer(kube, "/api/v1/services", lambda _event, _object: self._changed.set())
        # By Service: what is served, its relays, and the ports as they were opened.
        self._serving: dict[str, tuple[Object, list[asyncio.Task[None]], list[Opened]]] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        watching = asyncio.create_task(self._services.run())
        try:
            await self._services.synced.wait()
            while True:
                self._changed.clear()
                if await self._reconcile():
                    await self._changed.wait()
                else:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            watching.cancel()
            for key in [*self._serving]:
                await self._close(key)

    async def _reconcile(self) -> bool:
        """Open and close what has changed; return False if a part is to be tried again."""
        services = self._services.items
        addresses = allocate(services.values(), self._prefix)
        for key in [key for key in self._serving if key not in addresses]:
            await self._close(key)
        complete = True
        for key, address in addresses.items():
            service = services[key]
            target = {"address": address, "cluster": service["spec"].get("clusterIP"), "ports": _ports(service)}
            if key not in self._serving or self._serving[key][0] != target:
                await self._close(key)
            self._open(key, target)
            opened = self._serving[key][2]
            complete &= not any(each.error in RETRIED for each in opened)
            try:
                await self._report(service, address, opened)
            except FAULTS as error:
                log.info("status of Service %s: %r", key, error)
                complete = False
        return complete

    def _open(self, key: str, target: Object) -> None:
        """Open the ports of a Service that are not open; try only those again that were in use or failed."""
        _, tasks, before = self._serving.get(key, ({}, [], []))
        known = {(each.port, each.protocol): each for each in before if each.error not in RETRIED}
        declared = {port for port, protocol in target["ports"] if protocol == "TCP"}
        opened = []
        for port, protocol in target["ports"]:
            if (port, protocol) in known:
                opened.append(known[port, protocol])
                continue
            found, served, error = None, port, "UnsupportedProtocol"
            if protocol == "TCP":
                found, served, error = listen(self._ports.listen, target["address"], port, declared)
            if found is not None:
                relay = Relay(found, (target["cluster"], port))
                tasks.append(asyncio.create_task(relay.run()))
            opened.append(Opened(port, protocol, served, error))
        self._serving[key] = (target, tasks, opened)

    async def _close(self, key: str) -> None:
        _, tasks, _ = self._serving.pop(key, ({}, [], []))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _report(self, service: Object, address: str, opened: list[Opened]) -> None:
        status = {"ingress": [{"ip": address, "ipMode": "VIP", "ports": [each.status() for each in opened]}]}
        if (service.get("status") or {}).get("loadBalancer") == status:
            return
        meta = service["metadata"]
        folder = f"/api/v1/namespaces/{meta['namespace']}"
        await self._kube.patch(f"{folder}/services/{meta['name']}/status", {"status": {"loadBalancer": status}})
        if texts := [explain(address, each) for each in opened if each.error]:
            await self._kube.create(f"{folder}/events", _event(service, "; ".join(texts)))


def _ports(service: Object) -> list[tuple[int, str]]:
    return [(int(each["port"]), str(each.get("protocol", "TCP"))) for each in service["spec"].get("ports") or []]


def listen(
    opener: Callable[[str, int], Any], address: str, port: int, declared: Container[int] = ()
) -> tuple[Any, int, str]:
    """Open a port, or a higher one where low ports are refused; never a higher one that is `declared` itself.

    Returns:
        The socket or None, the port that it has, and the reason if it is not `port`.
    """
    for served in (port, port + HIGHER):
        if served != port and served in declared:
            break
        try:
            return opener(address, served), served, "" if served == port else "PermissionDenied"
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM):
                log.info("port %d of %s: %r", served, address, error)
                return None, served, IN_USE if error.errno == errno.EADDRINUSE else FAILED
    return None, port, "PermissionDenied"


def explain(address: str, opened: Opened) -> str:
    """Return the text of the Event about a port that is not served as it is declared."""
    if opened.protocol != "TCP":
        return f"port {opened.port}/{opened.protocol} is not served; only TCP is"
    if opened.error == "PermissionDenied" and opened.served != opened.port:
        return f"port {opened.port} is refused to this user (it is a low port); use {address}:{opened.served}"
    return f"port {opened.port} of {address} cannot be opened ({opened.error})"


def _event(service: Object, message: str) -> Object:
    meta = service["metadata"]
    about = {"apiVersion": "v1", "kind": "Service", "name": meta["name"], "namespace": meta["namespace"]}
    return {
        "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
        "involvedObject": {**about, "uid": meta["uid"]},
        "type": "Warning",
        "reason": "PortNotServed",
        "message": message[:1000],
        "source": {"component": "load-balancer"},
        "reportingComponent": "load-balancer",
        "reportingInstance": "waypoint-lab",
    }
