"""Parameters of a waypoint's Pods: checks, and the ConfigMap that istiod merges into the objects that it creates.

Source: https://istio.io/latest/docs/tasks/traffic-management/ingress/gateway-api/#automated-deployment and istiod,
applyOverlay: a key is the kind of an object, its value a strategic merge patch.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pulumi

from . import http_text, objects, owners

STAMP = "waypoint-lab/parameters"  # annotation on each object that istiod made with a ConfigMap: the ConfigMap's name
DEPLOYMENT, AUTOSCALER, BUDGET = (
    "deployment",
    "horizontalPodAutoscaler",
    "podDisruptionBudget",
)  # keys that istiod reads
_MOST = 1000  # replicas
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?", re.ASCII)
_SUFFIXES = {"n": "1e-9", "u": "1e-6", "m": "1e-3", "k": "1e3", "M": "1e6", "G": "1e9", "T": "1e12", "P": "1e15"}
_SUFFIXES |= {"E": "1e18"} | {f"{letter}i": str(1024**power) for power, letter in enumerate("KMGTPE", 1)}
# The least and the most of each resource, and an example. A memory of 512m is half a byte.
_AMOUNTS = {"cpu": ("0.001", "1024", "500m"), "memory": ("1048576", "1e15", "256Mi")}
# istiod sets these itself, and finds Pods by them. Source: istiod, files/waypoint.yaml.
_RESERVED = re.compile(r"(gateway\.networking\.k8s\.io|gateway\.istio\.io)/.*|sidecar\.istio\.io/inject|istio\.io/.*")


@dataclass(frozen=True)
class Parameters:
    """The ConfigMap's name and its patches by key, each with the name as an annotation."""

    name: str
    overlays: Mapping[str, Mapping[str, Any]]

    def config_map(self, namespace: pulumi.Input[str]) -> dict[str, Any]:
        """Return the ConfigMap."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name, "namespace": namespace, "annotations": owners.annotation()},
            "data": {key: json.dumps(patch, sort_keys=True) for key, patch in self.overlays.items()},
        }

    @property
    def bounds(self) -> tuple[int, int] | None:
        """Least and most replicas that the autoscaler chooses; None without one."""
        spec = self.overlays.get(AUTOSCALER, {}).get("spec")
        return (spec["minReplicas"], spec["maxReplicas"]) if spec else None


def check(component: str, args: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the patches by key.

    Args:
        component: Name for error messages.
        args: Arguments of a Waypoint, with the types that `arguments.read` has checked.

    Raises:
        pulumi.RunError: A value is out of range, or two fields exclude each other; one line with its path.
    """
    found: dict[str, dict[str, Any]] = {DEPLOYMENT: {}}
    replicas, autoscaling = args.get("replicas"), args.get("autoscaling")
    if replicas is not None:
        if autoscaling is not None:
            raise objects.refuse(component, "replicas", replicas, "absent with autoscaling, which chooses their number")
        least = objects.whole(component, "replicas", replicas, 1, _MOST)
        found[DEPLOYMENT]["replicas"] = least
    elif autoscaling is not None:
        found[AUTOSCALER] = _autoscaler(component, autoscaling)
        least = found[AUTOSCALER]["minReplicas"]
    else:
        least = 1
    if budget := args.get("disruption_budget"):
        found[BUDGET] = _budget(component, budget, least)
    elif budget is not None:
        raise objects.refuse(component, "disruption_budget", budget, "an object with min_available or max_unavailable")
    template = _template(component, args)
    if template:
        found[DEPLOYMENT]["template"] = template
    return {key: spec for key, spec in found.items() if spec}


def build(specs: Mapping[str, Mapping[str, Any]], gateway: str) -> Parameters | None:
    """Return the parameters of one Gateway; None where nothing is given.

    New content gets a new name, so that the Gateway changes, and no moment has a Gateway without its ConfigMap.
    """
    if not specs:
        return None
    digest = hashlib.sha256(json.dumps(specs, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{gateway}-parameters-{digest}"
    stamp = {"metadata": {"annotations": {STAMP: name}}}
    keys = [DEPLOYMENT, *(key for key in specs if key != DEPLOYMENT)]
    return Parameters(name, {key: {**stamp, **({"spec": specs[key]} if key in specs else {})} for key in keys})


def without_replicas(data: Mapping[str, str]) -> dict[str, str] | None:
    """Return the data of a ConfigMap with 0 replicas of the Deployment; None where it does not set their number."""
    try:
        patch = json.loads(data[DEPLOYMENT])
        patch["spec"]["replicas"]  # noqa: B018 - absent where istiod does not set the number
    except (LookupError, TypeError, ValueError):
        return None
    patch["spec"]["replicas"] = 0
    return {**data, DEPLOYMENT: json.dumps(patch, sort_keys=True)}


def amount(text: str) -> Decimal | None:
    """Return a quantity of Kubernetes, such as `500m` or `1Gi`, as a number; None for other text."""
    if not (found := _QUANTITY.fullmatch(text)):
        return None
    number, suffix = Decimal(found[1]), found[2] or ""
    return number * Decimal(_SUFFIXES.get(suffix, f"1{suffix}" if suffix else "1"))


def _autoscaler(component: str, given: Mapping[str, Any]) -> dict[str, Any]:
    least = objects.whole(component, "autoscaling.min", given["min"], 1, _MOST)
    most = objects.whole(component, "autoscaling.max", given["max"], 1, _MOST)
    if most < least:
        raise objects.refuse(component, "autoscaling.max", most, f"autoscaling.min, {least}, or more")
    percent = objects.whole(component, "autoscaling.cpu_percent", given.get("cpu_percent", 80), 1, 1000)
    target = {"type": "Utilization", "averageUtilization": percent}
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    return {"minReplicas": least, "maxReplicas": most, "metrics": metrics}


def _budget(component: str, given: Mapping[str, Any], replicas: int) -> dict[str, int]:
    if len(given) > 1:
        raise objects.refuse(component, "disruption_budget", given, "either min_available or max_unavailable")
    if "max_unavailable" in given:
        most = objects.whole(component, "disruption_budget.max_unavailable", given["max_unavailable"], 1, _MOST)
        return {"maxUnavailable": most}
    least = objects.whole(component, "disruption_budget.min_available", given["min_available"], 1, _MOST)
    if least >= replicas:
        want = f"below the least number of replicas, {replicas}, or no node could be drained"
        raise objects.refuse(component, "disruption_budget.min_available", least, want)
    return {"minAvailable": least}


def _template(component: str, args: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {
        kind: _metadata(component, f"pod_{kind}", given)
        for kind in ("labels", "annotations")
        if (given := args.get(f"pod_{kind}"))
    }
    resources = {
        kind: _amounts(component, f"resources.{kind}", given)
        for kind in ("requests", "limits")
        if (given := args.get("resources", {}).get(kind))
    }
    for name, text in resources.get("requests", {}).items():
        limit = resources.get("limits", {}).get(name)
        if limit is not None and (amount(text) or 0) > (amount(limit) or 0):
            raise objects.refuse(component, f"resources.requests.{name}", text, f"at most the limit, {limit}")
    container = {"containers": [{"name": "istio-proxy", "resources": resources}]}
    return {**({"metadata": metadata} if metadata else {}), **({"spec": container} if resources else {})}


def _amounts(component: str, field: str, given: Mapping[str, str]) -> dict[str, str]:
    for name, text in given.items():
        least, most, example = _AMOUNTS[name]
        found = amount(text)
        if found is None or not Decimal(least) <= found <= Decimal(most):
            raise objects.refuse(component, f"{field}.{name}", text, f"a quantity of Kubernetes, such as {example}")
    return dict(given)


def _metadata(component: str, field: str, given: Mapping[str, str]) -> dict[str, str]:
    # Values of annotations may be any text.
    http_text.object_labels(component, field, given if field == "pod_labels" else dict.fromkeys(given, ""))
    for key in given:
        if _RESERVED.fullmatch(key):
            raise objects.refuse(component, f"a name in {field}", key, "another name: istiod sets this one")
    return dict(given)
