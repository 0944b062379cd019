"""Builders of resources for tests of rules."""

from typing import Any

from policies.pack.resources import ClusterSnapshot, Resource

NAMESPACE = "n"
AMBIENT = {"istio.io/dataplane-mode": "ambient"}
ENROLLED = {"istio.io/use-waypoint": "w"}

# A policy, what it looks at, its settings, and its one violation; empty where it is kept.
Case = tuple[str, ClusterSnapshot, dict[str, Any], str]


def thing(kind: str, name: str, spec: Any = None, **more: Any) -> Resource:
    """An object in the namespace `n`; `more` are its labels, annotations or namespace, and `data`."""
    data = {"data": more.pop("data")} if "data" in more else {}
    return Resource(kind, {"metadata": {"name": name, "namespace": NAMESPACE, **more}, "spec": spec or {}, **data})


def namespace(name: str = NAMESPACE, patch: bool = False, **labels: str) -> Resource:
    """A Namespace with these labels; `_` in a label's name stands for what Python does not take."""
    return Resource("NamespacePatch" if patch else "Namespace", {"metadata": {"name": name, "labels": labels}})


def enrolled(service: str = "", patch: bool = True, weight: Any = None, **waypoints: str) -> Resource:
    """The Namespace or one Service, enrolled in `primary`, `canary` and the like, or with a canary's weight only."""
    label = {
        "primary": "istio.io/use-waypoint",
        "canary": "istio.io/use-waypoint-canary",
        "canary_namespace": "istio.io/use-waypoint-canary-namespace",
    }
    metadata: dict[str, Any] = {"labels": {label[role]: name for role, name in waypoints.items()}}
    if weight is not None:
        metadata["annotations"] = {"istio.io/use-waypoint-canary-weight": weight}
    kind, place = ("Service", {"namespace": NAMESPACE}) if service else ("Namespace", {})
    return Resource(
        f"{kind}Patch" if patch else kind, {"metadata": {"name": service or NAMESPACE, **place, **metadata}}
    )


def service(name: str = "reviews", *ports: int, **labels: str) -> Resource:
    """A Service with these ports."""
    return thing("Service", name, {"ports": [{"port": port} for port in ports or (80,)]}, labels=labels)


def gateway(name: str = "w", port: int = 15008, protocol: str = "HBONE", **spec: Any) -> Resource:
    """A waypoint."""
    listeners = [{"port": port, "protocol": protocol}]
    return thing("Gateway", name, {"gatewayClassName": "istio-waypoint", "listeners": listeners, **spec})


def rule(*weights: int, names: tuple[str, ...] = (), **more: Any) -> Any:
    """A rule of an HTTPRoute with a backend for each weight: s0, s1, … or `names`."""
    refs = [{"name": name, "weight": weight} for name, weight in zip(names or ("s0", "s1"), weights, strict=False)]
    return {"backendRefs": refs, **more}


def route(*rules: Any, name: str = "r", service: str = "reviews") -> Resource:
    """An HTTPRoute of a Service."""
    parent = {"group": "", "kind": "Service", "name": service}
    return thing("HTTPRoute", name, {"parentRefs": [parent], "rules": list(rules)})


def virtual_service(host: str = "reviews", *rules: Any, name: str = "v", **metadata: Any) -> Resource:
    """A VirtualService of one host."""
    return thing("VirtualService", name, {"hosts": [host], "http": list(rules)}, **metadata)


def authorization(name: str = "p", *rules: Any, action: str = "ALLOW", **spec: Any) -> Resource:
    """An AuthorizationPolicy."""
    given = {"rules": list(rules)} if rules else {}
    return thing("AuthorizationPolicy", name, {"action": action, **given, **spec})


def dry_run(policy: Resource, value: str = "true") -> Resource:
    """The policy with the annotation dry-run."""
    return policy.marked({}, {"istio.io/dry-run": value})


def service_entry(name: str = "e", host: str = "api.example.com", **labels: str) -> Resource:
    """A ServiceEntry of one host."""
    return thing("ServiceEntry", name, {"hosts": [host]}, labels=labels)


def on(*services: str) -> dict[str, Any]:
    """The targetRefs of a policy."""
    return {"targetRefs": [{"kind": "Service", "name": name} for name in services]}


def at(*names: str, kind: str = "Gateway", group: str = "gateway.networking.k8s.io") -> dict[str, Any]:
    """The targetRefs of a policy that is bound to Gateways, or to what `kind` and `group` say."""
    return {"targetRefs": [{"group": group, "kind": kind, "name": name} for name in names]}


def operation(**fields: list[str]) -> dict[str, Any]:
    """A rule of an AuthorizationPolicy on requests."""
    return {"to": [{"operation": fields}]}


def source(**fields: list[str]) -> dict[str, Any]:
    """A rule of an AuthorizationPolicy on callers."""
    return {"from": [{"source": fields}]}


def snapshot(*declared: Resource, live: tuple[Resource, ...] = (), **more: Any) -> ClusterSnapshot:
    """A stack of these objects beside a cluster."""
    return ClusterSnapshot(declared, live, **more)
