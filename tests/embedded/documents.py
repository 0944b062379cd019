"""Kubernetes objects for small Pulumi programs, and how they really are on the cluster."""

import json
from typing import Any

from tests.conftest import Kubectl

NAMESPACE = "plugin-test"
IMAGE = "python:3.11"
Object = dict[str, Any]


def meta(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "namespace": NAMESPACE, **more}


def config_map(name: str, data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name, **metadata), "data": data}


def service(name: str, target: int = 80, annotations: dict[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    quick = {"pulumi.com/skipAwait": "true"} if annotations is None else annotations
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta(name, annotations=quick, **metadata),
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": target}]},
    }


def deployment(name: str, image: str = IMAGE, **annotations: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "c", "image": image, "command": ["sleep", "600"]}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta(name, annotations={f"pulumi.com/{key}": value for key, value in annotations.items()}),
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def row(name: str, document: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"name": name, "document": document, "options": options}


def live(kubectl: Kubectl, kind: str, name: str) -> Any:
    found = kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json", check=False)
    return json.loads(found.stdout) if found.returncode == 0 else None
