"""Failing workload: an Envoy with a fault filter in front of another Service."""

import hashlib
from typing import Any

import pulumi

from . import objects
from .fault_expiry import RESTRICTED
from .traffic import FaultSettings, Traffic

IMAGE = "docker.io/envoyproxy/envoy:v1.40.0"
_USER = 101  # Source: the user `envoy` of the image
_PORT = 10080  # of the Pod: without root a process cannot listen below 1024
_V3 = "type.googleapis.com/envoy"
_NO_LIMIT = 1_000_000_000


def register(
    parent: pulumi.Resource, traffic: Traffic, fault: FaultSettings, first: pulumi.ResourceHookBinding, limit: float
) -> list[pulumi.Resource]:
    """Register ConfigMap, Deployment and Service `fault.failing`, in front of `fault.baseline`.

    Args:
        parent: Component that they belong to.
        traffic: Declared traffic.
        fault: The fault.
        first: Hooks of the resource that is created first.
        limit: Seconds that the provider may wait for the Deployment.

    Returns:
        Deployment and Service. They are not protected with the component: they go with the fault.
    """
    name, namespace = fault.failing, traffic.namespace
    host = objects.host(fault.baseline, namespace, traffic.domain)
    text = pulumi.Output.json_dumps(envoy_config(host, traffic.failing_port, fault), sort_keys=True)
    # A new name for new content: the Deployment then replaces its Pods, and none starts with the old content.
    config_name = text.apply(lambda known: f"{name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}")
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    config = objects.KubernetesObject(
        f"{name}-config",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": config_name, "namespace": namespace},
            "data": {"envoy.json": text},
        },
        pulumi.ResourceOptions(parent=parent, hooks=first, protect=False),
    )
    own = pulumi.ResourceOptions(parent=parent, depends_on=[config], protect=False)
    service = objects.KubernetesObject(
        name,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "annotations": objects.SKIP_AWAIT},
            "spec": {
                "selector": metadata["labels"],
                "ports": [{"name": "http", "port": traffic.failing_port, "targetPort": _PORT}],
            },
        },
        own,
    )
    template = {"metadata": {"labels": metadata["labels"]}, "spec": _pod(config_name)}
    deployment = objects.KubernetesObject(
        f"{name}-deployment",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": metadata["labels"]}, "template": template},
        },
        pulumi.ResourceOptions.merge(own, pulumi.ResourceOptions(custom_timeouts=objects.timeouts(limit))),
    )
    return [deployment, service]


def _pod(config_name: pulumi.Output[str]) -> Any:
    return {
        "terminationGracePeriodSeconds": 5,
        "containers": [
            {
                "name": "envoy",
                "image": IMAGE,
                "args": ["-c", "/etc/faulty/envoy.json", "--concurrency", "1", "--log-level", "warning"],
                "ports": [{"containerPort": _PORT, "name": "http"}],
                "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
                "securityContext": {**RESTRICTED, "runAsUser": _USER},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/faulty"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": config_name}}],
    }


def _share(percent: float) -> dict[str, Any]:
    # A millionth is Envoy's finest share; a whole percent would round 0.5 to nothing.
    return {"numerator": round(percent * 10_000), "denominator": "MILLION"}


def envoy_config(host: pulumi.Input[str], port: int, fault: FaultSettings) -> dict[str, Any]:
    """Return Envoy's configuration: forward to `host:port`, and add nothing but the fault.

    It has no timeouts or limits, passes WebSocket upgrades and HTTP/2, and does not change headers.
    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
    """
    injected: dict[str, Any] = {"@type": f"{_V3}.extensions.filters.http.fault.v3.HTTPFault"}
    if fault.delay_milliseconds:
        delay = f"{fault.delay_milliseconds / 1000}s"
        injected["delay"] = {"fixed_delay": delay, "percentage": _share(fault.delay_percent)}
    if fault.abort_status:
        injected["abort"] = {"http_status": fault.abort_status, "percentage": _share(fault.abort_percent)}
    router = {"@type": f"{_V3}.extensions.filters.http.router.v3.Router", "suppress_envoy_headers": True}
    route = {"cluster": "baseline", "timeout": "0s", "upgrade_configs": [{"upgrade_type": "websocket"}]}
    manager = {
        "@type": f"{_V3}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "faulty",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": injected},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": _address("0.0.0.0", _PORT),
                    "filter_chains": [
                        {"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [_cluster(host, port)],
        }
    }


def _cluster(host: pulumi.Input[str], port: int) -> dict[str, Any]:
    protocol = f"{_V3}.extensions.upstreams.http.v3.HttpProtocolOptions"
    limits = ("max_connections", "max_pending_requests", "max_requests")
    return {
        "name": "baseline",
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _NO_LIMIT)]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                "use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }
        },
        "load_assignment": {
            "cluster_name": "baseline",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, port)}}]}],
        },
    }


def _address(host: pulumi.Input[str], port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
