"""What the node proxy should do, as a pure function of what the API server knows: Envoy resources in JSON form."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
HBONE_PORT = 15008
TYPE = "type.googleapis.com/"
TCP_PROXY = TYPE + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
UPSTREAM_TLS = TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP_OPTIONS = TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
USE_WAYPOINT = "istio.io/use-waypoint"


@dataclass(frozen=True)
class World:
    """Copies of the collections that decide, each by `namespace/name`."""

    services: dict[str, Object] = field(default_factory=dict)
    slices: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    namespaces: dict[str, Object] = field(default_factory=dict)
    gateways: dict[str, Object] = field(default_factory=dict)


@dataclass
class Resources:
    """Envoy's listeners, clusters and endpoints, each by name."""

    listeners: dict[str, Object] = field(default_factory=dict)
    clusters: dict[str, Object] = field(default_factory=dict)
    endpoints: dict[str, Object] = field(default_factory=dict)


def labels_of(item: Object | None) -> dict[str, str]:
    """The labels of an object that may not exist."""
    return (item or {}).get("metadata", {}).get("labels") or {}


def waypoint_of(world: World, service: Object) -> str | None:
    """`namespace/name` of the waypoint that a Service's clients must use, or None.

    The Service's label wins over its namespace's; `none` switches the waypoint off. As with ztunnel, a label whose
    Gateway does not exist, or is not for Services, is not followed. Source: Istio, "Configure waypoint proxies".
    """
    meta = service["metadata"]
    for labels in (labels_of(service), labels_of(world.namespaces.get(meta["namespace"]))):
        name = labels.get(USE_WAYPOINT)
        if name == "none":
            return None
        if name:
            key = f"{labels.get(USE_WAYPOINT + '-namespace', meta['namespace'])}/{name}"
            gateway = world.gateways.get(key)
            if gateway is None or gateway["metadata"].get("deletionTimestamp"):
                return None
            return key if labels_of(gateway).get("istio.io/waypoint-for", "service") in ("service", "all") else None
    return None


def enrolled(world: World, pod: Object) -> bool:
    """True for a client whose traffic the mesh captures: ambient by namespace or Pod label, and no gateway itself."""
    mode = "istio.io/dataplane-mode"
    labels = labels_of(pod)
    if "gateway.networking.k8s.io/gateway-name" in labels:
        return False
    own = labels.get(mode)
    return (own or labels_of(world.namespaces.get(pod["metadata"]["namespace"])).get(mode)) == "ambient"


def ready_endpoints(world: World, service: str, port_name: str | None = None, port: int | None = None) -> list[Object]:
    """Addresses and ports behind a Service's port, chosen by the port's name, or any name with the number `port`."""
    namespace, name = service.split("/")
    found: set[tuple[str, int]] = set()
    for item in world.slices.values():
        meta = item["metadata"]
        if meta["namespace"] != namespace or labels_of(item).get("kubernetes.io/service-name") != name:
            continue
        numbers = [
            entry["port"]
            for entry in item.get("ports") or []
            if (entry.get("name") or "") == port_name or entry["port"] == port
        ]
        for endpoint in item.get("endpoints") or []:
            if endpoint.get("conditions", {}).get("ready") is not False:
                found |= {(address, number) for address in endpoint["addresses"] for number in numbers}
    return [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": number}}}}
        for address, number in sorted(found)
    ]


def _cluster(name: str, eds_path: str, extra: Object | None = None) -> Object:
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "connect_timeout": "3s",
        "eds_cluster_config": {"eds_config": {"path_config_source": {"path": eds_path}, "resource_api_version": "V3"}},
        "circuit_breakers": {"thresholds": [limits]},
        **(extra or {}),
    }


def _hbone(identity: str, waypoint: str, trust_domain: str, certificate: tuple[str, str], ca: str) -> Object:
    tls = {
        "@type": UPSTREAM_TLS,
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {"certificate_chain": {"filename": certificate[0]}, "private_key": {"filename": certificate[1]}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": ca},
                # The waypoint must be one of its own namespace, whatever its service account is called.
                "match_typed_subject_alt_names": [
                    {
                        "san_type": "URI",
                        "matcher": {"prefix": f"spiffe://{trust_domain}/ns/{waypoint.split('/')[0]}/sa/"},
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


def _chain(name: str, cluster: str, tunnel: str | None) -> Object:
    proxy: Object = {"@type": TCP_PROXY, "stat_prefix": "node", "cluster": cluster, "idle_timeout": "3600s"}
    if tunnel:
        proxy["tunneling_config"] = {"hostname": tunnel}
    return {"name": name, "filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}


def resources(
    world: World,
    *,
    trust_domain: str,
    ca: str,
    certificate: Callable[[str], tuple[str, str]],
    eds_path: Callable[[str], str],
) -> Resources:
    """Everything the node proxy needs. `certificate` maps a SPIFFE identity to its (chain, key) files."""
    out = Resources()
    clients = [pod for pod in world.pods.values() if _is_client(pod) and enrolled(world, pod)]
    for key, service in sorted(world.services.items()):
        address = service["spec"].get("clusterIP")
        if not address or address == "None":
            continue
        waypoint = waypoint_of(world, service)
        for port in service["spec"].get("ports") or []:
            if port.get("protocol", "TCP") != "TCP":
                continue
            plain = f"plain|{key}|{port['port']}"
            out.clusters[plain] = _cluster(plain, eds_path(plain))
            out.endpoints[plain] = _assignment(plain, ready_endpoints(world, key, port.get("name") or ""))
            chains = []
            if waypoint:
                for pod in sorted(clients, key=lambda pod: str(pod["metadata"]["uid"])):
                    chains.append(
                        _to_waypoint(
                            out,
                            world,
                            pod,
                            waypoint,
                            f"{address}:{port['port']}",
                            trust_domain,
                            ca,
                            certificate,
                            eds_path,
                        )
                    )
            name = f"{key}:{port['port']}"
            out.listeners[name] = {
                "@type": TYPE + "envoy.config.listener.v3.Listener",
                "name": name,
                "address": {"socket_address": {"address": address, "port_value": port["port"]}},
                "filter_chains": chains,
                "default_filter_chain": _chain("plain", plain, None),
            }
    return out


def _is_client(pod: Object) -> bool:
    status = pod.get("status", {})
    return bool(status.get("podIP")) and status.get("phase") not in ("Succeeded", "Failed")


def _to_waypoint(
    out: Resources,
    world: World,
    pod: Object,
    waypoint: str,
    target: str,
    trust_domain: str,
    ca: str,
    certificate: Callable[[str], tuple[str, str]],
    eds_path: Callable[[str], str],
) -> Object:
    account = pod["spec"].get("serviceAccountName") or "default"
    identity = f"spiffe://{trust_domain}/ns/{pod['metadata']['namespace']}/sa/{account}"
    cluster = f"hbone|{identity}|{waypoint}"
    if cluster not in out.clusters:
        extra = _hbone(identity, waypoint, trust_domain, certificate(identity), ca)
        out.clusters[cluster] = _cluster(cluster, eds_path(cluster), extra)
        out.endpoints[cluster] = _assignment(cluster, ready_endpoints(world, waypoint, port=HBONE_PORT))
    chain = _chain(f"{pod['metadata']['uid']}|{cluster}", cluster, target)
    source = {"address_prefix": pod["status"]["podIP"], "prefix_len": 32}
    return {**chain, "filter_chain_match": {"source_prefix_ranges": [source]}}


def _assignment(name: str, endpoints: Iterable[Object]) -> Object:
    return {
        "@type": TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": list(endpoints)}],
    }
