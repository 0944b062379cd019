"""The configuration of the node proxy: Envoy resources in JSON form, as a pure function of a snapshot."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedded.node.proxy.snapshot import HBONE_PORT, ClientPod, Snapshot, WaypointWeights, clients, endpoints
from embedded.node.proxy.waypoint_tracker import WaypointTracker

Object = dict[str, Any]
TYPE = "type.googleapis.com/"
TCP_PROXY = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
UPSTREAM_TLS = TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP_OPTIONS = TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# A cluster without endpoints: its connections are closed at once.
CLOSED = "closed"


@dataclass(frozen=True)
class ProxySettings:
    """Settings of the node; `certificate` maps a SPIFFE identity to its files (chain, key)."""

    trust_domain: str
    pod_cidr: str
    node_ip: str
    ca: str
    certificate: Callable[[str], tuple[str, str]]


@dataclass
class EnvoyResources:
    """Listeners and clusters by name."""

    listeners: dict[str, Object] = field(default_factory=dict)
    clusters: dict[str, Object] = field(default_factory=dict)


def _cluster(name: str, behind: list[Object], extra: Object | None = None) -> Object:
    """Return a cluster with its endpoints inside.

    With endpoints in files of their own, Envoy would need an inotify instance for each cluster; a user has 128, and
    Envoy ends without one. Connections survive a change of their cluster.
    """
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "STATIC",
        "connect_timeout": "3s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": behind}]},
        "circuit_breakers": {"thresholds": [limits]},
        **(extra or {}),
    }


def _hbone(identity: str, waypoint: str, settings: ProxySettings) -> Object:
    chain, key = settings.certificate(identity)
    tls = {
        "@type": UPSTREAM_TLS,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}],
            "validation_context": {
                "trusted_ca": {"filename": settings.ca},
                # Any service account of the waypoint's namespace is accepted.
                "match_typed_subject_alt_names": [
                    {
                        "san_type": "URI",
                        "matcher": {"prefix": f"spiffe://{settings.trust_domain}/ns/{waypoint.split('/')[0]}/sa/"},
                    }
                ],
            },
        },
    }
    options = {"@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def _chain(name: str, *clusters: tuple[str, int], source: str = "", tunnel: str = "") -> Object:
    """Return a filter chain that sends each connection to one of `clusters`, chosen by weight."""
    proxy: Object = {
        "@type": TCP_PROXY,
        "stat_prefix": "node",
        **_to(clusters),
        "idle_timeout": "3600s",
        # An endpoint may be gone before its EndpointSlice shows it; another one is tried then.
        "max_connect_attempts": 3,
    }
    if tunnel:
        proxy["tunneling_config"] = {"hostname": tunnel}
    chain: Object = {"name": name, "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    if source:
        address, length = source.split("/")
        match = {"source_prefix_ranges": [{"address_prefix": address, "prefix_len": int(length)}]}
        chain["filter_chain_match"] = match
    return chain


def _to(clusters: tuple[tuple[str, int], ...]) -> Object:
    if len(clusters) == 1:
        return {"cluster": clusters[0][0]}
    return {"weighted_clusters": {"clusters": [{"name": name, "weight": weight} for name, weight in clusters]}}


def resources(snapshot: Snapshot, settings: ProxySettings, tracker: WaypointTracker) -> EnvoyResources:
    """Return the resources that carry traffic of Pods and of the node to Services."""
    out = EnvoyResources(clusters={CLOSED: _cluster(CLOSED, [])})
    pods = clients(snapshot)
    for key, service in sorted(snapshot.services.items()):
        address = service["spec"].get("clusterIP")
        if not address or address == "None" or ":" in address:
            continue
        weights = tracker.weights(key)
        for port in service["spec"].get("ports") or []:
            if port.get("protocol", "TCP") != "TCP":
                continue
            number = port["port"]
            plain = f"plain|{key}|{number}"
            out.clusters[plain] = _cluster(plain, endpoints(snapshot, key, port.get("name") or ""))
            chains = _chains(out, snapshot, settings, pods, weights, f"{address}:{number}", plain) if weights else []
            name = f"{key}:{number}"
            out.listeners[name] = {
                "@type": TYPE + "envoy.config.listener.v3.Listener",
                "name": name,
                "address": {"socket_address": {"address": address, "port_value": number}},
                "filter_chains": chains,
                "default_filter_chain": _chain("plain", (plain, 1)),
            }
    return out


def _chains(
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
        _chain("node", (plain, 1), source=f"{settings.node_ip}/32"),
        # A Pod that the informer has not seen yet; accepting it would bypass the waypoint's policies.
        _chain("unknown", (CLOSED, 1), source=settings.pod_cidr),
    ]
    for pod in pods:
        source = f"{pod.address}/32"
        if pod.account is None:
            chains.append(_chain(f"{pod.uid}|plain", (plain, 1), source=source))
            continue
        namespace, account = pod.account.split("/")
        identity = f"spiffe://{settings.trust_domain}/ns/{namespace}/sa/{account}"
        targets = []
        for waypoint, weight in weights:
            cluster = f"hbone|{identity}|{waypoint}"
            if cluster not in out.clusters:
                extra = _hbone(identity, waypoint, settings)
                out.clusters[cluster] = _cluster(cluster, endpoints(snapshot, waypoint, port=HBONE_PORT), extra)
            targets.append((cluster, weight))
        name = "|".join([pod.uid, *(cluster for cluster, _ in targets)])
        chains.append(_chain(name, *targets, source=source, tunnel=target))
    return chains
