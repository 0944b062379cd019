"""The configuration of an Envoy that ends HBONE as a waypoint does, without any of Istio's filters."""

from pathlib import Path
from typing import Any

Object = dict[str, Any]
TYPE = "type.googleapis.com/envoy"


def waypoint_config(folder: Path, address: str, backend: tuple[str, int]) -> Object:
    """Takes HBONE at `address` from clients of the mesh, and carries all of it to `backend`.

    `folder` holds waypoint.crt, waypoint.key and pki/mesh.crt; waypoint.log gets `identity target` per tunnel.
    """
    tls = {
        "@type": TYPE + ".extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(folder / "waypoint.crt")},
                    "private_key": {"filename": str(folder / "waypoint.key")},
                }
            ],
            "validation_context": {"trusted_ca": {"filename": str(folder / "pki" / "mesh.crt")}},
        },
    }
    log = {
        "@type": TYPE + ".extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(folder / "waypoint.log"),
        "log_format": {"text_format_source": {"inline_string": "%DOWNSTREAM_PEER_URI_SAN% %REQ(:AUTHORITY)%\n"}},
    }
    route = {
        "match": {"connect_matcher": {}},
        "route": {"cluster": "backend", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]},
    }
    manager = {
        "@type": TYPE + ".extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "waypoint",
        "access_log": [{"name": "file", "typed_config": log}],
        "access_log_options": {"flush_access_log_on_new_request": True},
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": TYPE + ".extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    socket_tls = {"name": "tls", "typed_config": tls}
    chain = {"filters": [{"name": "http", "typed_config": manager}], "transport_socket": socket_tls}
    behind = {"endpoint": {"address": {"socket_address": {"address": backend[0], "port_value": backend[1]}}}}
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "hbone",
                    "address": {"socket_address": {"address": address, "port_value": 15008}},
                    "filter_chains": [chain],
                }
            ],
            "clusters": [
                {
                    "name": "backend",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [behind]}]},
                }
            ],
        }
    }
