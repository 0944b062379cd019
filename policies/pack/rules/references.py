"""Rules on the resources that routes and policies refer to."""

from collections.abc import Iterator
from typing import NamedTuple

from ..fields import fields, items, number, text, texts, value_at
from ..mesh import enrollment, is_ambient, service_of
from ..resources import ClusterSnapshot, Key, Parameters, Resource, Violations
from .routes import PARENT_GROUPS, destinations, rules_of, services_of, wrong_group

BOUND_KINDS = ("AuthorizationPolicy", "RequestAuthentication", "Telemetry", "WasmPlugin", "TrafficExtension")
_KNOWN_KINDS = ("Service", "Gateway", "ServiceEntry")  # kinds of a reference that are looked up


class Reference(NamedTuple):
    """A resource that a route or policy refers to. `port` is None where it names none."""

    kind: str
    namespace: str
    name: str
    port: float | None = None


def targets_exist(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that routes and policies refer to Services, ports, subsets and Gateways that exist."""
    subsets = set(_subsets(snapshot))
    for item in snapshot.own("HTTPRoute", "VirtualService", "DestinationRule", *BOUND_KINDS):
        for problem in dict.fromkeys(_unresolved(snapshot, item)):
            yield item, problem
        for reference in dict.fromkeys(_references(item)):
            problem = _missing(snapshot, reference)
            if problem and not _is_service_entry(snapshot, item, reference):
                yield item, problem
        for host, subset in sorted(_subsets_used(item) - subsets):
            if snapshot.is_complete_for(item.namespace):
                title = f"Service {host[0]}/{host[1]}" if isinstance(host, tuple) else f"host {host}"
                yield item, f"no DestinationRule defines subset {subset} of {title}, so its requests fail"


def service_has_cluster_ip(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that the Services of layer-7 routes and policies in the ambient mesh have a cluster IP.

    Source: ztunnel sends traffic to a waypoint by the Service's address. Traffic to a headless or ExternalName Service
    goes to the Pods directly.
    """
    for item in snapshot.all("HTTPRoute", "VirtualService", "AuthorizationPolicy", "RequestAuthentication"):
        if item.base in BOUND_KINDS:
            services = [target[1:3] for target in policy_targets(item) if target.kind == "Service"]
        else:
            services = list(services_of(item))
        for namespace, name in dict.fromkeys(services):
            kind = _without_address(snapshot, namespace, name)
            meshed = is_ambient(snapshot, namespace) or enrollment(snapshot, ("Service", namespace, name)).primary
            owned = snapshot.first_owned([item, *snapshot.find("Service", namespace, name)])
            if kind and meshed and owned:
                what = "is" if owned is item else f"{item.title} is"
                yield owned, f"{what} for {kind} Service {namespace}/{name}, whose traffic passes by every waypoint"


def _without_address(snapshot: ClusterSnapshot, namespace: str, name: str) -> str:
    spec = snapshot.spec("Service", namespace, name)
    if spec.get("clusterIP") == "None":
        return "the headless"
    return "the ExternalName" if spec.get("type") == "ExternalName" else ""


def _missing(snapshot: ClusterSnapshot, reference: Reference) -> str:
    found = snapshot.find(reference.kind, reference.namespace, reference.name)
    title = f"{reference.kind} {reference.namespace}/{reference.name}"
    if not found:
        return f"{title} is not {snapshot.searched}" if snapshot.is_complete_for(reference.namespace) else ""
    ports = {number(port, "port") for item in found for port in items(item.spec, "ports")}
    if reference.port is None or not ports or reference.port in ports:
        return ""
    return f"{title} has no port {reference.port:g}; it has {', '.join(f'{port:g}' for port in sorted(ports))}"


def _is_service_entry(snapshot: ClusterSnapshot, item: Resource, reference: Reference) -> bool:
    """Return True if the Service that a host means does not exist, but a ServiceEntry has this host."""
    hosts = item.base in ("VirtualService", "DestinationRule")
    return hosts and host_owner(snapshot, reference[1:3])[0] == "ServiceEntry"


def host_owner(snapshot: ClusterSnapshot, service: tuple[str, str]) -> Key:
    """Return the key of a Service, or of the ServiceEntry that has its host where the Service does not exist."""
    key = ("Service", *service)
    entries = () if snapshot.find(*key) else snapshot.all("ServiceEntry")
    hosts = ((service_of(host, ""), entry.key) for entry in entries for host in texts(entry.spec, "hosts"))
    return next((entry for named, entry in hosts if named == service), key)


def _unresolved(snapshot: ClusterSnapshot, item: Resource) -> Iterator[str]:
    """Yield the references that mean a Service for the reader, but not for istiod."""
    if item.base == "HTTPRoute":
        for parent in items(item.spec, "parentRefs"):
            if group := wrong_group(parent):
                kind = text(parent, "kind", default="Gateway")
                title = f"{kind} {text(parent, 'namespace', default=item.namespace)}/{text(parent, 'name')}"
                right = PARENT_GROUPS[kind] or '""'
                yield f"parentRef {title} has the group {group}, so that it has no effect: write group {right}"
    for host, _port in _hosts(item) if item.base in ("VirtualService", "DestinationRule") else ():
        name, *rest = host.split(".")
        if rest[1:] in ([], ["svc"]) and rest and snapshot.find("Service", rest[0], name):
            yield f"istiod does not complete the host {host}: write {name}.{rest[0]}.svc.cluster.local"


def _references(item: Resource) -> Iterator[Reference]:
    if item.base == "HTTPRoute":
        yield from _of_http_route(item)
    elif item.base in BOUND_KINDS:
        yield from policy_targets(item)
    else:
        for host, port in _hosts(item):
            if service := service_of(host, item.namespace):
                yield Reference("Service", *service, port)


def _of_http_route(route: Resource) -> Iterator[Reference]:
    parents = [ref for ref in items(route.spec, "parentRefs") if not wrong_group(ref)]
    refs = [(text(ref, "kind", default="Gateway"), ref) for ref in parents]
    for rule in rules_of(route):
        refs += [(text(ref, "kind", default="Service"), ref) for ref in items(rule, "backendRefs")]
    for kind, ref in refs:
        if kind in _KNOWN_KINDS:
            port = number(ref, "port") if kind == "Service" and value_at(ref, "port") is not None else None
            yield Reference(kind, text(ref, "namespace", default=route.namespace), text(ref, "name"), port)


def policy_targets(policy: Resource) -> Iterator[Reference]:
    """Yield the targets of a policy's targetRefs, which are always of its own namespace."""
    single = fields(policy.spec, "targetRef")
    for ref in [*items(policy.spec, "targetRefs"), *([single] if single else [])]:
        if text(ref, "kind") in _KNOWN_KINDS:
            yield Reference(text(ref, "kind"), policy.namespace, text(ref, "name"))


def _hosts(item: Resource) -> Iterator[tuple[str, float | None]]:
    """Yield the hosts of a VirtualService or DestinationRule, each with the port that is named."""
    if item.base == "DestinationRule":
        yield text(item.spec, "host", default="*"), None
        return
    for host in texts(item.spec, "hosts") if "mesh" in (texts(item.spec, "gateways") or ["mesh"]) else []:
        yield host, None
    for destination in (destination for rule in rules_of(item) for destination in destinations(rule)):
        port = number(destination, "port", "number", default=-1)
        yield text(destination, "host", default="*"), None if port < 0 else port


def _subsets_used(item: Resource) -> set[tuple[tuple[str, str] | str, str]]:
    """Return the subsets that a VirtualService sends to, each with its Service or other host."""
    rules = rules_of(item) if item.base == "VirtualService" else []
    found = [(text(to, "host"), text(to, "subset")) for rule in rules for to in destinations(rule)]
    return {(service_of(host, item.namespace) or host, subset) for host, subset in found if subset}


def _subsets(snapshot: ClusterSnapshot) -> Iterator[tuple[tuple[str, str] | str, str]]:
    for item in snapshot.all("DestinationRule"):
        host = text(item.spec, "host")
        for subset in items(item.spec, "subsets"):
            yield service_of(host, item.namespace) or host, text(subset, "name")
