"""Parts of the configuration of the node's proxies: Envoy resources in JSON form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedded.node.proxy.snapshot import socket_address

Object = dict[str, Any]
TYPE = "type.googleapis.com/"
TCP_PROXY = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
UPSTREAM_TLS = TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
ORIGINAL_SRC = TYPE + "envoy.extensions.filters.listener.original_src.v3.OriginalSrc"
ORIGINAL_DST = TYPE + "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
HTTP_OPTIONS = TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# A cluster without endpoints: its connections are closed at once.
CLOSED = "closed"


@dataclass(frozen=True)
class ProxySettings:
    """Settings of the node; `certificate` maps a SPIFFE identity to its files (chain, key).

    `captures` is False where the kernel cannot pass connections of Pods to the proxies.
    """

    trust_domain: str
    pod_cidr: str
    node_ip: str
    ca: str
    certificate: Callable[[str], tuple[str, str]]
    captures: bool = True


@dataclass
class EnvoyResources:
    """Listeners and clusters by name."""

    listeners: dict[str, Object] = field(default_factory=dict)
    clusters: dict[str, Object] = field(default_factory=dict)


def cluster_of(name: str, behind: list[Object], extra: Object | None = None) -> Object:
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


def tls_context(identity: str, peers: str, settings: ProxySettings) -> Object:
    """Return the TLS settings of `identity`; it accepts peers whose SPIFFE identity starts with `peers`."""
    chain, key = settings.certificate(identity)
    return {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
        "tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}],
        "validation_context": {
            "trusted_ca": {"filename": settings.ca},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": peers}}],
        },
    }


def identity_of(account: str, settings: ProxySettings) -> str:
    """Return the SPIFFE identity of a service account `namespace/name`."""
    namespace, name = account.split("/")
    return f"spiffe://{settings.trust_domain}/ns/{namespace}/sa/{name}"


def hbone(identity: str, peers: str, settings: ProxySettings) -> Object:
    """Return the settings of a cluster that connects by HBONE as `identity`, to peers as in `tls_context`."""
    tls = {"@type": UPSTREAM_TLS, "common_tls_context": tls_context(identity, peers, settings)}
    options = {"@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    return {
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    }


def listener_of(name: str, address: str, port: int, chains: list[Object], mark: int | None = 0) -> Object:
    """Return a listener whose connections to endpoints have the client's address, and the mark of the proxy.

    Without a mark to return the answers (`mark` is None) they have the node's address.
    """
    source: Object = {"@type": ORIGINAL_SRC, **({"mark": mark} if mark else {})}
    filters = [] if mark is None else [{"name": "envoy.filters.listener.original_src", "typed_config": source}]
    return {
        "@type": TYPE + "envoy.config.listener.v3.Listener",
        "name": name,
        "address": socket_address(address, port),
        "listener_filters": filters,
        "filter_chains": chains,
    }


def capturing(listener: Object) -> Object:
    """Return a listener that takes connections to any address, and closes those that no filter chain matches."""
    filters = [{"name": "envoy.filters.listener.original_dst", "typed_config": {"@type": ORIGINAL_DST}}]
    return {
        **listener,
        "transparent": True,
        "listener_filters": filters + listener["listener_filters"],
        "default_filter_chain": tcp_chain("unknown", (CLOSED, 1)),
    }


def original_destination(name: str, settings: Object, extra: Object | None = None) -> Object:
    """Return a cluster that connects to the address that the client wanted."""
    cluster = {**cluster_of(name, []), "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    del cluster["load_assignment"]
    return {**cluster, "cleanup_interval": "60s", "original_dst_lb_config": settings, **(extra or {})}


def tcp_chain(
    name: str, *clusters: tuple[str, int], source: str = "", destination: str = "", tunnel: str = ""
) -> Object:
    """Return a filter chain that sends each connection to one of `clusters`, chosen by weight.

    Args:
        name: Name of the chain.
        clusters: Each with its weight.
        source: Range of the clients; empty for all.
        destination: Range of the addresses that they want; empty for all.
        tunnel: The authority of the HBONE request; empty for a plain connection.
    """
    proxy: Object = {
        "@type": TCP_PROXY,
        "stat_prefix": "node",
        **_to(clusters),
        "idle_timeout": "3600s",
        "hash_policy": [{"source_ip": {}}],  # for clusters with affinity
        # An endpoint may be gone before its EndpointSlice shows it; another one is tried then.
        "max_connect_attempts": 3,
    }
    if tunnel:
        proxy["tunneling_config"] = {"hostname": tunnel}
    chain: Object = {"name": name, "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    for field_name, given in (("source_prefix_ranges", source), ("prefix_ranges", destination)):
        if given:
            address, length = given.split("/")
            ranges = [{"address_prefix": address, "prefix_len": int(length)}]
            chain.setdefault("filter_chain_match", {})[field_name] = ranges
    return chain


def _to(clusters: tuple[tuple[str, int], ...]) -> Object:
    if len(clusters) == 1:
        return {"cluster": clusters[0][0]}
    return {"weighted_clusters": {"clusters": [{"name": name, "weight": weight} for name, weight in clusters]}}
