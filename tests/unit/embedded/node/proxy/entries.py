"""A ServiceEntry as istiod completes it, and a cluster around it."""

from typing import Any

from embedded.node.proxy.snapshot import Snapshot

Object = dict[str, Any]


def entry(name: str = "api", namespace: str = "shop", given: tuple[str, ...] = ("240.240.0.1",), **spec: Any) -> Object:
    """Return a ServiceEntry for api.example.test with the addresses that istiod allocated."""
    whole = {
        "hosts": ["api.example.test"],
        "ports": [{"name": "http", "number": 80, "targetPort": 8080, "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": "10.244.1.9"}],
        **spec,
    }
    status = {"addresses": [{"host": host, "value": value} for host, value in zip(whole["hosts"], given, strict=False)]}
    return {"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": whole, "status": status}


def snapshot(*entries: Object, labels: dict[str, str] | None = None) -> Snapshot:
    """Return a cluster whose Pod 10.244.1.2 is enrolled, and 10.244.1.3 is not."""

    def pod(name: str, address: str, mode: str) -> Object:
        meta = {
            "name": name,
            "namespace": "shop",
            "uid": name,
            "labels": {"istio.io/dataplane-mode": mode, "app": name},
        }
        conditions = [{"type": "Ready", "status": "True"}]
        return {"metadata": meta, "spec": {}, "status": {"podIP": address, "conditions": conditions}}

    return Snapshot(
        pods={"shop/in": pod("in", "10.244.1.2", "ambient"), "shop/out": pod("out", "10.244.1.3", "none")},
        namespaces={"shop": {"metadata": {"name": "shop", "labels": labels or {}}}},
        entries={f"{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in entries},
    )
