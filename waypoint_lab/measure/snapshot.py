"""Compare the cluster before and after a run of the lab."""

import json
from typing import Any

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import probe_pod
from waypoint_lab.waiting import polls
from waypoint_lab.waiting import wait as wait_until

LIMIT_SECONDS = 20.0
COLLECTED_SECONDS = 90.0
POLL_SECONDS = 0.3
# All kinds that the stages and, for a waypoint, istiod create.
KINDS = "gateways.gateway.networking.k8s.io,httproutes,virtualservices,authorizationpolicies,telemetries,\
destinationrules,deployments,horizontalpodautoscalers,poddisruptionbudgets,services,configmaps,serviceaccounts,\
jobs,roles,rolebindings"
OTHERS = f"--selector=app!={probe_pod.LABELS['app']}"  # the Jobs of probe Pods come and go
FOREIGN = "kubectl.kubernetes.io/"  # annotations that other tools write at any time

Snapshot = dict[str, Any]


def _kept(item: Object) -> Object:
    meta = item["metadata"]
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if not key.startswith(FOREIGN)}
    return {"labels": meta.get("labels"), "annotations": annotations, "spec": item.get("spec")}


@kubectl.readable("objects of the stack")
def take(config: LabConfig) -> Snapshot:
    """Return the namespaces and the Service, and the names of all objects in the namespaces that the stack changes.

    Raises:
        KubectlError: The cluster does not answer.
    """
    app, inside = config.app, ("--namespace", config.app.namespace)
    one: dict[str, tuple[str, ...]] = {
        **{f"namespace {name}": ("namespace", name) for name in (*config.namespaces, config.client.namespace)},
        f"service {app.service}": ("service", app.service, *inside),
    }
    names = [f"{name} in {space}" for space in config.namespaces for name in _names(config, space)]
    kept = {
        name: _kept(json.loads(kubectl.run(config.target, "get", *what, "--output=json"))) for name, what in one.items()
    }
    return {**kept, "objects": sorted(names)}


def _names(config: LabConfig, namespace: str) -> list[str]:
    return kubectl.run(config.target, "get", KINDS, "--namespace", namespace, OTHERS, "--output=name").split()


def orphans(items: list[Object]) -> list[str]:
    """Return the objects of `items` that wait for garbage collection, because their Gateway is not in `items`."""
    there = {item["metadata"]["uid"] for item in items}
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in items
        if any(
            owner["kind"] == "Gateway" and owner["uid"] not in there
            for owner in item["metadata"].get("ownerReferences") or []
        )
    ]


def settled(config: LabConfig, limit_seconds: float = COLLECTED_SECONDS) -> Snapshot:
    """Take a snapshot once no object waits for garbage collection.

    Raises:
        KubectlError: The cluster does not answer.
        WaitError: Objects are left after `limit_seconds`.
    """

    @kubectl.readable("objects of the namespace")
    def left() -> str:
        spaces = config.namespaces
        found = [orphans(kubectl.items(config.target, KINDS, "--namespace", space)) for space in spaces]
        return ", ".join(name for names in found for name in names)

    wait_until(left, "the cluster has collected what belonged to former Gateways", limit_seconds, POLL_SECONDS)
    return take(config)


def differences(before: Snapshot, now: Snapshot) -> list[str]:
    """Return one line for each difference."""
    lines = [
        f"{name} is not as it was: {field} was {json.dumps(old[field])}, is {json.dumps(now[name][field])}"
        for name, old in before.items()
        if name != "objects"
        for field in old
        if old[field] != now[name][field]
    ]
    lines += [f"{name} is left behind" for name in now["objects"] if name not in before["objects"]]
    lines += [f"{name} is gone" for name in before["objects"] if name not in now["objects"]]
    return lines


def wait(config: LabConfig, before: Snapshot, limit_seconds: float = LIMIT_SECONDS) -> list[str]:
    """Return the differences that are left at the limit; istiod's own objects are deleted after their waypoint."""
    left: list[str] = []
    for _ in polls(limit_seconds, POLL_SECONDS):
        if not (left := differences(before, take(config))):
            break
    return left
