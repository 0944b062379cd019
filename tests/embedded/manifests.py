"""Manifests that the tests of the mesh share, and the wait for an answer."""

import time
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]
LIMIT_SECONDS = 60.0
_IMAGE = "docker.io/istio/examples-bookinfo-{}-v1:1.20.3"
WAITING = {"command": ["python3", "-c", "import time; time.sleep(3600)"]}
READY = {"readinessProbe": {"httpGet": {"path": "/health", "port": 9080}, "periodSeconds": 1}}


def made(
    kind: str, name: str, space: str, api: str = "v1", labels: dict[str, str] | None = None, **rest: Any
) -> Object:
    """Return an object of the namespace `space`."""
    meta = {"name": name, "namespace": space, "labels": labels or {}}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **rest}


def namespace(name: str, mode: str) -> Object:
    """Return a namespace; `mode` is ambient or none."""
    labels = {"istio.io/dataplane-mode": mode}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(
    name: str, space: str, image: str, labels: dict[str, str] | None = None, account: str = "default", **container: Any
) -> Object:
    """Return a Pod with an image of bookinfo and the label `app`."""
    containers = [{"name": "main", "image": _IMAGE.format(image), **container}]
    spec = {"serviceAccountName": account, "terminationGracePeriodSeconds": 0, "containers": containers}
    return made("Pod", name, space, labels={"app": name, **(labels or {})}, spec=spec)


def waypoint(space: str) -> Object:
    """Return a Gateway that is a waypoint."""
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    spec = {"gatewayClassName": "istio-waypoint", "listeners": [listener]}
    return made("Gateway", "waypoint", space, "gateway.networking.k8s.io/v1", spec=spec)


def entry(name: str, space: str, host: str, port: int = 80, **spec: Any) -> Object:
    """Return a ServiceEntry of `host`, whose endpoints serve at port 9080."""
    ports = [{"number": port, "name": "http", "protocol": "HTTP", "targetPort": 9080}]
    whole = {"hosts": [host], "ports": ports, "location": "MESH_EXTERNAL", **spec}
    return made("ServiceEntry", name, space, "networking.istio.io/v1", spec=whole)


def allow_operation(name: str, space: str, target: str, operation: Object) -> Object:
    """Return an AuthorizationPolicy that allows only `operation` of the ServiceEntry `target`, at its waypoint."""
    reference = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": target}
    spec = {"targetRefs": [reference], "action": "ALLOW", "rules": [{"to": [{"operation": operation}]}]}
    return made("AuthorizationPolicy", name, space, "security.istio.io/v1", spec=spec)


def until(what: str, read: Callable[[], object], wanted: object) -> None:
    """Wait until `read` returns `wanted`."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while (got := read()) != wanted:
        assert time.monotonic() < deadline, f"{what}: {got} instead of {wanted}"
        time.sleep(0.2)
