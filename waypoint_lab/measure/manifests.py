"""Manifests of Kubernetes objects: those that a stack has deployed, and those of a namespace's routes."""

import json
from collections.abc import Mapping
from typing import Any

from waypoint_lab import kubectl
from waypoint_lab.config.deployed import replaced
from waypoint_lab.kubectl import ClusterAccess, Object
from waypoint_lab.masking import SECRET
from waypoint_lab.pulumi_cli import PulumiStack, pulumi

# Objects that decide on requests. No Secrets, ConfigMaps and workloads: they may hold what must not be shown.
ROUTING = "gateways.gateway.networking.k8s.io,httproutes,virtualservices,destinationrules,authorizationpolicies,\
telemetries,services"
# Fields that the API server writes.
_OWN = ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "ownerReferences")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def name(item: Object) -> str:
    """Return the name of an object: its kind, its namespace and its name."""
    meta = item.get("metadata") or {}
    return f"{item.get('kind', '')} {'/'.join(filter(None, (meta.get('namespace'), meta.get('name'))))}"


def without_secrets(value: Any) -> Any:
    """Return a part of a stack's state with a placeholder for each secret."""
    return replaced(value, lambda _: SECRET)


def deployed(stack: PulumiStack) -> dict[str, Object]:
    """Return the manifests of the objects that a stack has deployed, by name; secrets are placeholders.

    Raises:
        PulumiError: Pulumi cannot read the stack.
    """
    state = json.loads(pulumi(stack.folder, "stack", "export", "--stack", stack.name))
    resources = (state.get("deployment") or {}).get("resources") or []
    inputs = [item.get("inputs") or {} for item in resources if item.get("type", "").startswith("kubernetes:")]
    return {name(item): without_secrets(item) for item in inputs if "kind" in item and "metadata" in item}


def live(target: ClusterAccess, namespace: str) -> dict[str, Object]:
    """Return the objects of a namespace that decide on its requests, by name, without what the API server writes.

    Objects that another object owns are left out: their owner is what a person writes.

    Raises:
        KubectlError: The cluster does not answer.
    """
    found = kubectl.items(target, ROUTING, "--namespace", namespace)
    with kubectl.readable(f"objects of namespace {namespace}"):
        return {name(item): _written(item) for item in found if not item["metadata"].get("ownerReferences")}


def _written(item: Object) -> Object:
    meta = {key: value for key, value in item["metadata"].items() if key not in _OWN}
    notes = {key: value for key, value in (meta.get("annotations") or {}).items() if key != _LAST_APPLIED}
    meta = {**meta, "annotations": notes} if notes else {k: v for k, v in meta.items() if k != "annotations"}
    return {**{key: value for key, value in item.items() if key not in ("status", "metadata")}, "metadata": meta}


def changed(before: Mapping[str, Object], after: Mapping[str, Object]) -> dict[str, Object]:
    """Return the objects of `after` that are new or differ."""
    return {key: item for key, item in after.items() if before.get(key) != item}
