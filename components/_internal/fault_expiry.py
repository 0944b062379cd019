"""A Job that takes a fault back when its time is over, although nobody runs an update then."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pulumi

from . import objects, waits

IMAGE = "docker.io/library/python:3.13.7-alpine3.22"
MAX_SECONDS = 3600
_SCRIPT = Path(__file__).with_name("fault_expiry_script.py").read_text()
# What the timekeeper and the program tell each other, on the VirtualService itself; `fault` is an id of the fault.
FAULT, SECONDS, EXPIRED = "waypoint-lab/fault", "waypoint-lab/fault-seconds", "waypoint-lab/fault-expired"


class Duration(TypedDict):
    """How long a fault lasts; a Job in the cluster takes it back then. The fault begins only once that Job runs."""

    seconds: float
    """1 to 3600."""
    id: NotRequired[str]
    """A name of this fault, made of its settings unless given; a fault of another id begins anew."""
    over: NotRequired[str]
    """The id on record in the cluster (annotation `waypoint-lab/fault-expired`): a fault that is over stays off."""
    image: NotRequired[str]
    """Image of the Job: any with `python3`."""


@dataclass(frozen=True)
class Guard:
    """What a VirtualService needs so that its fault ends: nothing of it where the fault has no length."""

    over: bool = False
    annotations: dict[str, str] = field(default_factory=dict)
    depends: list[pulumi.Resource] = field(default_factory=list)
    hooks: pulumi.ResourceHookBinding | None = None


def checked(component: str, duration: Duration, settings: Any) -> tuple[str, float]:
    """Id and length of a fault. Raises RunError for a length out of range."""
    seconds = objects.number(component, "seconds of duration", duration["seconds"], 1, MAX_SECONDS)
    given = duration.get("id") or fault_id([settings, seconds])
    return objects.text(component, "id of duration", given), seconds


def guard(
    parent: pulumi.Resource,
    rule: tuple[str, str, str],
    fault: tuple[str, float] | None,
    duration: Duration | None,
    hosts: Mapping[str, str],
    target: waits.Target,
    limit_seconds: float,
) -> Guard:
    """Registers the timekeeper of a fault. `rule` is Pulumi name, namespace and name of its VirtualService.

    `fault` is as `checked` gives it; None where there is no fault with a length.
    """
    if fault is None or duration is None:
        return Guard(annotations=annotations("", 0, False))
    name, namespace, virtual_service = rule
    over = duration.get("over") == fault[0]
    job = build(parent, name, (namespace, virtual_service), fault, hosts, duration.get("image", IMAGE))
    hook = ready(name, target, namespace, fault[0], limit_seconds)
    hooks = None if over else pulumi.ResourceHookBinding(before_create=[hook], before_update=[hook])
    if over:
        text = f"the fault on {namespace}/{virtual_service} is over after its {fault[1]:g} s, and stays off"
        pulumi.warn(f"{text}; new settings of the fault, or a new faultStart, begin another one")
    return Guard(over, annotations(*fault, over), [job], hooks)


def fault_id(settings: Any) -> str:
    """A short name of a fault with these settings: other settings are another fault."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]


def annotations(fault: str, seconds: float, expired: bool) -> dict[str, str]:
    """The VirtualService's annotations; `fault` is empty where there is none with a length.

    The record is always written: what the timekeeper wrote is its own in the API server's eyes, and would stay.
    """
    found = {EXPIRED: fault if expired else "", "pulumi.com/patchForce": "true"}
    return {**found, FAULT: fault, SECONDS: f"{seconds:g}"} if fault else found


def running_problem(job: dict[str, Any]) -> str:
    """Why a timekeeper does not stand ready to take its fault back; empty where it does."""
    status = job.get("status", {})
    if status.get("ready", 0) >= 1:
        return ""
    if status.get("succeeded", 0) >= 1:
        return "it has taken this fault back already; a new faultStart starts it again"
    return "its Pod does not run yet, and no fault begins without it"


def build(
    parent: pulumi.Resource,
    name: str,
    rule: tuple[str, str],
    fault: tuple[str, float],
    hosts: Mapping[str, str],
    image: str,
) -> pulumi.Resource:
    """Registers the Job with its identity, which may read and write the one VirtualService, and returns the Job.

    `rule` is namespace and name of the VirtualService, `fault` its id and length in seconds; `hosts` says what the
    destinations of a failing workload become afterwards.
    """
    (namespace, virtual_service), (key, seconds) = rule, fault
    account = f"{name}-timekeeper"
    metadata = {"name": account, "namespace": namespace}
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices/{virtual_service}"
    spec = {"path": path, "fault": key, "seconds": seconds, "hosts": dict(hosts)}
    rights = {
        "apiGroups": ["networking.istio.io"],
        "resources": ["virtualservices"],
        "resourceNames": [virtual_service],
        "verbs": ["get", "update"],
    }
    group = "rbac.authorization.k8s.io"
    who = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rights]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [who],
        },
    ]
    identity = [
        objects.KubernetesObject(
            f"{account}-{document['kind']}".lower(), document, pulumi.ResourceOptions(parent=parent)
        )
        for document in documents
    ]
    return objects.KubernetesObject(
        f"{account}-job",
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            # The provider would wait for its end, which comes with the fault's.
            "metadata": {**metadata, "name": job_name(name, key), "annotations": {"pulumi.com/skipAwait": "true"}},
            "spec": {"backoffLimit": 100, "template": _pod(account, image, json.dumps(spec, sort_keys=True))},
        },
        pulumi.ResourceOptions(parent=parent, depends_on=identity),
    )


def job_name(name: str, fault: str) -> str:
    """The Job of one fault; each fault has its own, as the template of a Job cannot be changed."""
    return f"{name}-timekeeper-{fault}"


def _pod(account: str, image: str, spec: str) -> dict[str, Any]:
    return {
        # Its only peer is the API server: nothing that the mesh does may hold it up.
        "metadata": {"labels": {"app": account, "istio.io/dataplane-mode": "none"}},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "timekeeper",
                    "image": image,
                    "command": ["python3", "-u", "-c", _SCRIPT, spec],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65534,
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def ready(name: str, target: waits.Target, namespace: str, fault: str, limit_seconds: float) -> pulumi.ResourceHook:
    """A hook for before the fault is written: its timekeeper must be running."""
    what = waits.one("job", namespace, job_name(name, fault))
    return waits.hook(f"{name}-timekeeper-ready", target, what, running_problem, limit_seconds)
