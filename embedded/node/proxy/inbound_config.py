"""The configuration of the inbound proxy: connections to enrolled Pods, by HBONE or plain, as ztunnel takes them."""

from typing import Any

from embedded.node.proxy import rbac
from embedded.node.proxy.capture import INBOUND_PORT
from embedded.node.proxy.envoy_config import (
    CLOSED,
    TCP_PROXY,
    TYPE,
    EnvoyResources,
    Object,
    ProxySettings,
    capturing,
    cluster_of,
    identity_of,
    listener_of,
    original_destination,
    tls_context,
)
from embedded.node.proxy.snapshot import ClientPod
from embedded.node.proxy.workload_api import WorkloadState

DOWNSTREAM_TLS = TYPE + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
MANAGER = TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = TYPE + "envoy.extensions.filters.http.router.v3.Router"
HBONE, PLAIN = "hbone", "plain"


def resources(pods: list[ClientPod], state: WorkloadState, settings: ProxySettings) -> tuple[EnvoyResources, set[str]]:
    """Return the resources that carry traffic to enrolled Pods, and the UIDs of these Pods.

    A Pod gets filter chains once istiod knows it and has sent the policies; until then connections to it are refused.

    Args:
        pods: Pods with an address of their own.
        state: What istiod sent.
        settings: Settings of the node.
    """
    known = state.by_address() if state.synced else {}
    chains, captured = [], set()
    for pod in pods:
        workload = known.get(pod.address)
        # istiod may still have the Pod that had this address before.
        if pod.account is None or workload is None or workload.namespace != pod.account.split("/")[0]:
            continue
        policies = state.policies_of(workload)
        chains += [_hbone(pod, pod.account, policies, settings), _plain(pod, policies)]
        captured.add(pod.uid)
    header = {"use_http_header": True, "http_header_name": ":authority"}
    clusters = {
        CLOSED: cluster_of(CLOSED, []),
        HBONE: original_destination(HBONE, header),
        PLAIN: original_destination(PLAIN, {}),
    }
    listener = capturing(listener_of("inbound", "0.0.0.0", INBOUND_PORT, chains))  # noqa: S104
    return EnvoyResources({"inbound": listener}, clusters), captured


def _match(pod: ClientPod) -> Object:
    return {"prefix_ranges": [{"address_prefix": pod.address, "prefix_len": 32}]}


def _plain(pod: ClientPod, policies: list[Any]) -> Object:
    proxy = {"@type": TCP_PROXY, "stat_prefix": PLAIN, "cluster": PLAIN, "idle_timeout": "0s"}
    return {
        "name": f"{pod.uid}|{PLAIN}",
        "filter_chain_match": _match(pod),
        "filters": [
            *rbac.filters(policies, hbone=False),
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy},
        ],
    }


def _hbone(pod: ClientPod, account: str, policies: list[Any], settings: ProxySettings) -> Object:
    """Return the filter chain that ends HBONE; it connects to ports of its own Pod only."""
    tls = {
        "@type": DOWNSTREAM_TLS,
        "require_client_certificate": True,
        "common_tls_context": tls_context(
            identity_of(account, settings), f"spiffe://{settings.trust_domain}/", settings
        ),
    }
    own = {"name": ":authority", "string_match": {"prefix": f"{pod.address}:"}}
    connect = {"upgrade_type": "CONNECT", "connect_config": {}}
    route = {
        "match": {"connect_matcher": {}, "headers": [own]},
        "route": {"cluster": HBONE, "timeout": "0s", "upgrade_configs": [connect]},
    }
    manager = {
        "@type": MANAGER,
        "stat_prefix": HBONE,
        "codec_type": "HTTP2",
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "stream_idle_timeout": "0s",
        "route_config": {"virtual_hosts": [{"name": "pod", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            *rbac.filters(policies, hbone=True),
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
    }
    return {
        "name": f"{pod.uid}|{HBONE}",
        "filter_chain_match": {**_match(pod), "destination_port": INBOUND_PORT},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
