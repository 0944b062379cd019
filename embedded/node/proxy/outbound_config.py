"""The configuration of the outbound proxy: connections of Pods and of the node to Services and to Pods."""

from collections.abc import Mapping

from embedded.node.proxy.capture import ENDPOINTS_PORT, OUTBOUND, OUTBOUND_PORT
from embedded.node.proxy.envoy_config import (
    CLOSED,
    TYPE,
    EnvoyResources,
    Object,
    ProxySettings,
    capturing,
    cluster_of,
    hbone,
    identity_of,
    listener_of,
    original_destination,
    tcp_chain,
)
from embedded.node.proxy.service_entries import ENDPOINTS, is_address
from embedded.node.proxy.snapshot import (
    HBONE_PORT,
    ClientPod,
    Snapshot,
    WaypointWeights,
    clients,
    endpoints,
    socket_address,
)
from embedded.node.proxy.waypoint_tracker import WaypointTracker

RESOLVER = TYPE + "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
# Session affinity ClientIP of a Service: a hash of the client's address chooses the endpoint.
AFFINITY = {"lb_policy": "MAGLEV"}


def resources(
    snapshot: Snapshot, settings: ProxySettings, tracker: WaypointTracker, waypoints: Mapping[str, str] | None = None
) -> EnvoyResources:
    """Return the resources that carry traffic of Pods and of the node to Services, and of Pods to Pods.

    Args:
        snapshot: The cluster's objects.
        settings: Settings of the node.
        tracker: The waypoints of Services.
        waypoints: The waypoints of Pods by the Pods' addresses, as in `WorkloadState.waypoints`.
    """
    out = EnvoyResources(clusters={CLOSED: cluster_of(CLOSED, [])})
    pods = clients(snapshot)
    for key, service in sorted(snapshot.services.items()):
        address = service["spec"].get("clusterIP")
        if not address or address == "None" or ":" in address:
            continue
        weights = tracker.weights(key)
        affinity = AFFINITY if service["spec"].get("sessionAffinity") == "ClientIP" else None
        for port in service["spec"].get("ports") or []:
            if port.get("protocol", "TCP") != "TCP":
                continue
            number = port["port"]
            plain = f"plain|{key}|{number}"
            if (behind := service.get(ENDPOINTS)) is None:
                out.clusters[plain] = cluster_of(plain, endpoints(snapshot, key, port.get("name") or ""), affinity)
            else:
                out.clusters[plain] = _external(plain, behind[number], settings)
            name, target = f"{key}:{number}", f"{address}:{number}"
            chains = _client_chains(out, snapshot, settings, pods, weights, target, plain) if weights else []
            out.listeners[name] = _listener(name, address, number, chains, plain, settings)
            if opened := port.get("nodePort"):  # no waypoint takes part, as on a cluster
                out.listeners[f"{name}:node"] = _listener(f"{name}:node", settings.node_ip, opened, [], plain, settings)
    if settings.captures:
        out.listeners["pods"] = _to_pods("pods", out, settings, pods, OUTBOUND_PORT)
        out.listeners["pods"]["filter_chains"] += _waypoint_chains(out, snapshot, settings, pods, waypoints or {})
        # A connection to a Service does not use the waypoint of the Pod that was chosen, as in ztunnel.
        out.listeners["endpoints"] = _to_pods("endpoints", out, settings, pods, ENDPOINTS_PORT)
    return out


def _listener(name: str, address: str, port: int, chains: list[Object], plain: str, settings: ProxySettings) -> Object:
    """Return a listener with the chains of some clients; connections of others go to the cluster `plain`."""
    listener = listener_of(name, address, port, chains, OUTBOUND if settings.captures else None)
    return {**listener, "default_filter_chain": tcp_chain("plain", (plain, 1))}


def _external(name: str, behind: list[tuple[str, int]], settings: ProxySettings) -> Object:
    """Return a cluster of addresses, or of names that the DNS server of the node resolves."""
    points = [{"endpoint": {"address": socket_address(address, port)}} for address, port in behind]
    if all(is_address(address) for address, _ in behind):
        return cluster_of(name, points)
    resolver = {"@type": RESOLVER, "resolvers": [socket_address(settings.node_ip, 53)]}
    dns = {"name": "envoy.network.dns_resolver.cares", "typed_config": resolver}
    extra = {"type": "STRICT_DNS", "dns_lookup_family": "V4_ONLY", "typed_dns_resolver_config": dns}
    return cluster_of(name, points, extra)


def _to_pods(name: str, out: EnvoyResources, settings: ProxySettings, pods: list[ClientPod], port: int) -> Object:
    """Return a listener for connections between enrolled Pods: by HBONE with the client's identity."""
    chains = []
    for pod in pods:
        if pod.account is None:
            continue
        identity = identity_of(pod.account, settings)
        cluster = f"pods|{identity}"
        if cluster not in out.clusters:
            extra = hbone(identity, f"spiffe://{settings.trust_domain}/", settings)
            out.clusters[cluster] = original_destination(cluster, {"upstream_port_override": HBONE_PORT}, extra)
        source, target = f"{pod.address}/32", "%DOWNSTREAM_LOCAL_ADDRESS%"
        chains.append(tcp_chain(f"{pod.uid}|{cluster}", (cluster, 1), source=source, tunnel=target))
    return capturing(listener_of(name, "0.0.0.0", port, chains, OUTBOUND))  # noqa: S104


def _waypoint_chains(
    out: EnvoyResources,
    snapshot: Snapshot,
    settings: ProxySettings,
    pods: list[ClientPod],
    waypoints: Mapping[str, str],
) -> list[Object]:
    """Return a filter chain per client and Pod with a waypoint: connections to the Pod's address go there by HBONE.

    A waypoint that does not exist refuses them, as in ztunnel.
    """
    services = {service["spec"].get("clusterIP"): key for key, service in snapshot.services.items()}
    chains = []
    for address in sorted({pod.address for pod in pods} & waypoints.keys()):
        given = waypoints[address]
        waypoint = given if "/" in given else services.get(given)
        target = "%DOWNSTREAM_LOCAL_ADDRESS%" if waypoint else ""
        for pod in pods:
            if pod.account is None:
                continue
            cluster = _waypoint_cluster(out, snapshot, settings, pod.account, waypoint) if waypoint else CLOSED
            name, source = f"{pod.uid}|{address}|{cluster}", f"{pod.address}/32"
            chains.append(tcp_chain(name, (cluster, 1), source=source, destination=f"{address}/32", tunnel=target))
    return chains


def _waypoint_cluster(
    out: EnvoyResources, snapshot: Snapshot, settings: ProxySettings, account: str, waypoint: str
) -> str:
    """Return the name of the cluster, and add it: HBONE to a waypoint with the identity of a service account."""
    identity = identity_of(account, settings)
    cluster = f"hbone|{identity}|{waypoint}"
    if cluster not in out.clusters:
        # Any service account of the waypoint's namespace is accepted.
        peers = f"spiffe://{settings.trust_domain}/ns/{waypoint.split('/')[0]}/sa/"
        points = endpoints(snapshot, waypoint, port=HBONE_PORT)
        out.clusters[cluster] = cluster_of(cluster, points, hbone(identity, peers, settings))
    return cluster


def _client_chains(
    out: EnvoyResources,
    snapshot: Snapshot,
    settings: ProxySettings,
    pods: list[ClientPod],
    weights: WaypointWeights,
    target: str,
    plain: str,
) -> list[Object]:
    """Return a filter chain per client, so that a new or removed Pod does not affect connections of others."""
    chains = [
        tcp_chain("node", (plain, 1), source=f"{settings.node_ip}/32"),
        # A Pod that the informer has not seen yet; accepting it would bypass the waypoint's policies.
        tcp_chain("unknown", (CLOSED, 1), source=settings.pod_cidr),
    ]
    for pod in pods:
        source = f"{pod.address}/32"
        if pod.account is None:
            chains.append(tcp_chain(f"{pod.uid}|plain", (plain, 1), source=source))
            continue
        targets = [
            (_waypoint_cluster(out, snapshot, settings, pod.account, waypoint), weight) for waypoint, weight in weights
        ]
        name = "|".join([pod.uid, *(cluster for cluster, _ in targets)])
        chains.append(tcp_chain(name, *targets, source=source, tunnel=target))
    return chains
