"""What the lab must leave as it was, read from the cluster itself."""

import json
import subprocess
import time
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure.probe import kubectl

LIMIT_SECONDS = 20.0
COLLECTED_SECONDS = 90.0
POLL_SECONDS = 0.3
KUBECTL_SECONDS = 30
# All kinds that the stages make, and what istiod makes for a waypoint.
KINDS = "gateways.gateway.networking.k8s.io,httproutes,virtualservices,authorizationpolicies,telemetries,\
destinationrules,deployments,services,configmaps,serviceaccounts,jobs,roles,rolebindings"
# Fields that Kubernetes and istiod write by themselves, at any time.
FOREIGN = "kubectl.kubernetes.io/"


class SnapshotError(Exception):
    """The cluster did not say; one line."""


def _get(config: LabConfig, *what: str) -> str:
    done = subprocess.run(
        kubectl(config, "get", *what), capture_output=True, text=True, check=False, timeout=KUBECTL_SECONDS
    )
    if done.returncode:
        raise SnapshotError((done.stderr.strip().splitlines() or ["kubectl failed"])[-1])
    return done.stdout


def _kept(text: str) -> dict[str, Any]:
    item = json.loads(text)
    meta = item["metadata"]
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if not key.startswith(FOREIGN)}
    return {"labels": meta.get("labels"), "annotations": annotations, "spec": item.get("spec")}


def take(config: LabConfig) -> dict[str, Any]:
    """The namespaces' labels and annotations, the user's Service, and the names of all that is in the namespace.

    Raises SnapshotError where the cluster does not answer.
    """
    inside = ("-n", config.app.namespace)
    return {
        f"namespace {config.app.namespace}": _kept(_get(config, "namespace", config.app.namespace, "-o", "json")),
        f"namespace {config.app.client.namespace}": _kept(
            _get(config, "namespace", config.app.client.namespace, "-o", "json")
        ),
        f"service {config.app.service}": _kept(_get(config, "service", config.app.service, *inside, "-o", "json")),
        "objects": sorted(_get(config, KINDS, *inside, "-o", "name").split()),
    }


def orphans(items: list[dict[str, Any]]) -> list[str]:
    """Of `items`, with all Gateways among them, what belonged to one that is gone: Kubernetes collects it by and by."""
    there = {item["metadata"]["uid"] for item in items}
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in items
        if any(
            owner["kind"] == "Gateway" and owner["uid"] not in there
            for owner in item["metadata"].get("ownerReferences") or []
        )
    ]


def settled(config: LabConfig, limit_seconds: float = COLLECTED_SECONDS) -> dict[str, Any]:
    """As `take`, once nothing is left that is only waiting to be collected: it would be missed later.

    Raises SnapshotError where the cluster does not answer, or has not collected it within `limit_seconds`.
    """
    until = time.monotonic() + limit_seconds
    while left := orphans(json.loads(_get(config, KINDS, "-n", config.app.namespace, "-o", "json"))["items"]):
        if time.monotonic() > until:
            raise SnapshotError(f"waited {limit_seconds:.0f} s for the cluster to collect {', '.join(left)}")
        time.sleep(POLL_SECONDS)
    return take(config)


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line for each thing that is not as it was; empty where all is."""
    lines = [
        f"{name} is not as it was: {part} was {json.dumps(old[part])}, is {json.dumps(now[name][part])}"
        for name, old in before.items()
        if name != "objects"
        for part in old
        if old[part] != now[name][part]
    ]
    lines += [f"{name} is left behind" for name in now["objects"] if name not in before["objects"]]
    lines += [f"{name} is gone" for name in before["objects"] if name not in now["objects"]]
    return lines


def wait(config: LabConfig, before: dict[str, Any], limit_seconds: float = LIMIT_SECONDS) -> list[str]:
    """The differences that stay; what istiod made for a waypoint is collected a moment after it, so this waits."""
    until = time.monotonic() + limit_seconds
    while (left := differences(before, take(config))) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return left
