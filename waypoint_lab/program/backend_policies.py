"""Copies of the policies of the application's Service for the Services that the stack creates.

Those have the same Pods, so that a policy on the application's Service alone could be passed by through them. Requests
that a route sends to a backend are checked at the application's Service; the copies check requests that name a backend.
"""

from collections.abc import Sequence
from typing import Any

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, KubectlError
from waypoint_lab.kubectl import Object

KINDS = ("AuthorizationPolicy", "RequestAuthentication")
RESOURCES = "authorizationpolicies.security.istio.io,requestauthentications.security.istio.io"
COPY_OF = "waypoint-lab/copy-of"
# Labels and annotations of a policy that change its effect; others can belong to a tool that owns the policy.
EFFECTIVE = {"labels": "istio.io/rev", "annotations": "istio.io/dry-run"}
LONGEST = 253  # letters of a name


def created_services(config: LabConfig) -> list[str]:
    """Return the Services with Pods of the application that the stack creates."""
    if not config.stages.waypoint:
        return []
    found = [backend.service for backend in config.app.backends.values() if backend.selector]
    failing = [f"{config.rule_name}-upstream"] if config.faulty and config.fault.at == "upstream" else []
    return [*found, *failing]


@kubectl.readable("policies of the application's Service")
def copies(config: LabConfig) -> list[Object]:
    """Return a copy of each policy of the application's Service, for the Services that the stack creates.

    Raises:
        ConfigError: The policies cannot be read.
    """
    services = created_services(config)
    if not services:
        return []
    app = config.app
    try:
        found = kubectl.items(config.target, RESOURCES, "--namespace", app.namespace)
    except KubectlError as error:
        if "the server doesn't have a resource type" in str(error):
            return []
        raise ConfigError(
            f"waypoint-lab:app: the policies of Service {app.namespace}/{app.service} cannot be read, so a backend "
            f"could pass them by; allow to list {RESOURCES.replace(',', ' and ')} ({error})"
        ) from None
    return [
        _copy(item, missing)
        for item in found
        if item.get("kind") in KINDS
        and item["metadata"]["name"] != config.l7_policy_name  # it names all Services itself
        if not item["metadata"].get("deletionTimestamp")
        if app.service in (bound := _services(item))
        if (missing := [name for name in services if name not in bound])
    ]


def _services(policy: Object) -> list[str]:
    """Return the names of the Services that a policy is bound to."""
    spec = policy.get("spec") or {}
    refs = [*(spec.get("targetRefs") or []), *filter(None, [spec.get("targetRef")])]
    return [str(ref["name"]) for ref in refs if ref.get("kind") == "Service"]


def _copy(policy: Object, services: Sequence[str]) -> Object:
    meta = policy["metadata"]
    kept: dict[str, dict[str, Any]] = {
        field: {name: meta[field][name]} for field, name in EFFECTIVE.items() if name in (meta.get(field) or {})
    }
    kept["annotations"] = {**kept.get("annotations", {}), COPY_OF: meta["name"]}
    spec = {name: value for name, value in policy["spec"].items() if name not in ("targetRef", "targetRefs")}
    return {
        "apiVersion": policy["apiVersion"],
        "kind": policy["kind"],
        "metadata": {"name": f"waypoint-lab-{meta['name']}"[:LONGEST], "namespace": meta["namespace"], **kept},
        "spec": {**spec, "targetRefs": [{"group": "", "kind": "Service", "name": name} for name in services]},
    }
