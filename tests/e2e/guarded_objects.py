"""Objects whose application the tests of `lab guard` guard."""

import json
from typing import Any

from tests.e2e.scene import NAMESPACE

SERVICE = f"reviews.{NAMESPACE}.svc.cluster.local"
ROUTE_KEYS = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}


def document(keys: dict[str, str], name: str, spec: dict[str, Any]) -> str:
    """Return an object as a command takes it."""
    return json.dumps({**keys, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})


def http_route(backend: str, **rule: Any) -> str:
    """Return an HTTPRoute of the Service to one backend."""
    parent = {"group": "", "kind": "Service", "name": "reviews", "port": 9080}
    rules = [{"backendRefs": [{"name": backend, "port": 9080}], **rule}]
    return document(ROUTE_KEYS, "guarded", {"parentRefs": [parent], "rules": rules})


def header(value: str) -> dict[str, Any]:
    """Return the filter of a rule that sets a header of each request."""
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-guarded", "value": value}]}}


EMPTY = document(
    {"apiVersion": "v1", "kind": "Service"},
    "empty",
    {"ports": [{"name": "http", "port": 9080}], "selector": {"app": "nobody"}},
)
MISSPELT = document(
    {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"},
    "guarded",
    {"hosts": [SERVICE], "http": [{"route": [{"destination": {"host": f"reviewz.{NAMESPACE}.svc.cluster.local"}}]}]},
)
REFUSING = document(
    {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"},
    "guarded",
    {"targetRefs": [{"group": "", "kind": "Service", "name": "reviews"}]},
)
