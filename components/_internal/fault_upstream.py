"""A workload that really answers with failures: an Envoy with a fault filter in front of another Service."""

import hashlib
import json
from typing import Any

import pulumi

from . import objects

IMAGE = "docker.io/envoyproxy/envoy:v1.40.0"
_V3 = "type.googleapis.com/envoy"


def build(
    parent: pulumi.Resource, name: str, namespace: str, host: str, port: int, fault: dict[str, Any]
) -> list[pulumi.Resource]:
    """Registers ConfigMap, Deployment and Service `name`, in front of `host`; `fault` is as a VirtualService has it."""
    text = json.dumps(envoy_config(host, port, fault), sort_keys=True)
    # A new name for new content: the Deployment then rolls over, and no Pod starts with the old one.
    config_name = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    own = pulumi.ResourceOptions(parent=parent)
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    config = objects.KubernetesObject(
        f"{name}-config",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": config_name, "namespace": namespace},
            "data": {"envoy.json": text},
        },
        own,
    )
    service = objects.KubernetesObject(
        name,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**metadata, "annotations": objects.SERVICE_READY},
            "spec": {
                "selector": metadata["labels"],
                "ports": [{"name": "http", "port": port, "targetPort": port}],
            },
        },
        own,
    )
    template = {"metadata": {"labels": metadata["labels"]}, "spec": _pod(config_name, port)}
    deployment = objects.KubernetesObject(
        f"{name}-deployment",
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": metadata["labels"]}, "template": template},
        },
        pulumi.ResourceOptions(parent=parent, depends_on=[config]),
    )
    return [deployment, service]


def _pod(config_name: str, port: int) -> Any:
    return {
        "terminationGracePeriodSeconds": 5,
        "containers": [
            {
                "name": "envoy",
                "image": IMAGE,
                "args": ["-c", "/etc/faulty/envoy.json", "--concurrency", "1", "--log-level", "warning"],
                "ports": [{"containerPort": port, "name": "http"}],
                "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/faulty"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": config_name}}],
    }


def _share(percentage: dict[str, float]) -> dict[str, Any]:
    # A millionth is Envoy's finest share; a whole percent would round 0.5 to nothing.
    return {"numerator": round(percentage["value"] * 10_000), "denominator": "MILLION"}


def envoy_config(host: str, port: int, fault: dict[str, Any]) -> dict[str, Any]:
    """Envoy's whole configuration: listens on `port`, forwards to `host:port`, and fails as `fault` says.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/fault_filter
    """
    injected: dict[str, Any] = {"@type": f"{_V3}.extensions.filters.http.fault.v3.HTTPFault"}
    if delay := fault.get("delay"):
        seconds = int(delay["fixedDelay"].removesuffix("ms")) / 1000
        injected["delay"] = {"fixed_delay": f"{seconds}s", "percentage": _share(delay["percentage"])}
    if abort := fault.get("abort"):
        injected["abort"] = {"http_status": abort["httpStatus"], "percentage": _share(abort["percentage"])}
    router = {"@type": f"{_V3}.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"{_V3}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "faulty",
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": injected},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "baseline", "timeout": "15s"}}],
                }
            ]
        },
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": _address("0.0.0.0", port),
                    "filter_chains": [
                        {"filters": [{"name": "envoy.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "baseline",
                    "type": "STRICT_DNS",
                    "dns_lookup_family": "V4_ONLY",
                    "connect_timeout": "2s",
                    "load_assignment": {
                        "cluster_name": "baseline",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host, port)}}]}],
                    },
                }
            ],
        }
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
