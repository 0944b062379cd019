"""Job that ends a fault after its duration, without an update of the stack."""

import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pulumi

from . import fault_expiry_script, objects, virtual_service, waits
from .traffic import FaultSettings, Traffic

_SCRIPT = Path(__file__).with_name("fault_expiry_script.py").read_text()
# Annotations of the VirtualService, shared by the program and the Job; `fault` is the id of the fault.
FAULT, SECONDS, EXPIRED = fault_expiry_script.FAULT, "waypoint-lab/fault-seconds", fault_expiry_script.EXPIRED
_ENDED = "it has ended this fault already; a fault with another id begins anew"
# The provider would wait for the end of the Job, which is the end of the fault, and at its deletion for the end of its
# Pod, which takes seconds.
_NO_WAIT = {"pulumi.com/skipAwait": "true", "pulumi.com/deletionPropagationPolicy": "background"}
# Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/, level "restricted"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def annotations(fault: FaultSettings | None) -> dict[str, str]:
    """Return the annotations of the VirtualService.

    The record of expiry is always written, because otherwise the API server keeps the value that the Job wrote.
    """
    found = {EXPIRED: fault.id if fault and fault.expired else "", "pulumi.com/patchForce": "true"}
    return {**found, FAULT: fault.id, SECONDS: f"{fault.seconds:g}"} if fault and fault.id else found


def running_problem(job: dict[str, Any]) -> str:
    """Return the reason why a Job is not ready to end its fault; empty if it is ready. Raise Failed if it has ended."""
    status = job.get("status", {})
    if status.get("ready", 0) >= 1:
        return ""
    if status.get("succeeded", 0) >= 1:
        raise waits.Failed(_ENDED)
    return "its Pod does not run yet, and no fault begins without it"


def job_name(name: str, fault: FaultSettings) -> str:
    """Return the name of a fault's Job; each fault has its own, because the template of a Job cannot change."""
    return f"{name}-fault-expiry-{fault.id}"


def ready_hook(name: str, cluster: waits.Access, fault: FaultSettings, limit: float) -> pulumi.ResourceHook:
    """Return a hook for before a fault is written: within `limit` seconds the Job that ends it must run."""

    async def wait(args: pulumi.ResourceHookArgs) -> None:
        namespace = (await waits.plain(args.new_inputs))["metadata"]["namespace"]
        await until_running(cluster, namespace, name, fault, limit)

    return pulumi.ResourceHook(f"{name}-fault-expiry-ready", wait)


async def until_running(cluster: waits.Access, namespace: str, name: str, fault: FaultSettings, limit: float) -> None:
    """Wait until the Job of a fault of VirtualService `name` runs.

    Raises:
        RuntimeError: The Job has ended, or is about to, or does not run within `limit` seconds; with the last event of
            the Job or its Pod.
    """
    job = job_name(name, fault)
    session = waits.Session(cluster, namespace, limit, where=f"Job {namespace}/{job}")
    path = f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices/{name}"

    async def check() -> str:
        rule = await session.optional(path, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) or {"metadata": {}}
        notes = rule["metadata"].get("annotations") or {}
        end = fault_expiry_script.end_of(notes, fault.id)  # type: ignore[no-untyped-call]
        # The Job ends half a minute after the fault, and a write takes a moment.
        if end and notes.get(EXPIRED) == fault.id and time.time() > end + fault_expiry_script.LINGER_SECONDS / 2:
            raise waits.Failed(_ENDED)
        return running_problem(await session.get("job", job))

    try:
        await session.until(check)
    except RuntimeError as error:
        raise RuntimeError(f"{error}{await _last_event(session, job)}") from None


async def _last_event(session: waits.Session, job: str) -> str:
    try:
        events = (await session.get("events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp"))["items"]
    except RuntimeError:
        return ""
    texts = [event.get("message", "") for event in events if event["involvedObject"]["name"].startswith(job)]
    return f"; last event: {' '.join(texts[-1].split())}" if texts else ""


def register(
    parent: pulumi.Resource, name: str, traffic: Traffic, fault: FaultSettings, first: pulumi.ResourceHookBinding
) -> pulumi.Resource:
    """Register the Job, and its identity that may read and write the one VirtualService `name`.

    Args:
        parent: Component that they belong to.
        name: Name of the VirtualService.
        traffic: Declared traffic.
        fault: The fault.
        first: Hooks of the resource that is created first.

    Returns:
        The Job. Like all others here it is not protected with the component: it goes with its fault.
    """
    namespace, account = traffic.namespace, f"{name}-fault-expiry"
    metadata = {"name": account, "namespace": namespace}
    failing = virtual_service.host(traffic, fault.failing)
    replaced = virtual_service.host(traffic, virtual_service.replaced_backend(traffic))
    spec: dict[str, Any] = {
        "path": pulumi.Output.concat("/apis/networking.istio.io/v1/namespaces/", namespace, f"/virtualservices/{name}"),
        "fault": fault.id,
        "seconds": fault.seconds,
        "hosts": pulumi.Output.all(failing, replaced).apply(lambda hosts: {hosts[0]: hosts[1]})
        if fault.failing
        else {},
    }
    rule = {
        "apiGroups": ["networking.istio.io"],
        "resources": ["virtualservices"],
        "resourceNames": [name],
        "verbs": ["get", "update"],
    }
    group = "rbac.authorization.k8s.io"
    documents: list[dict[str, Any]] = [
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        },
    ]
    user = objects.KubernetesObject(
        f"{account}-serviceaccount",
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        pulumi.ResourceOptions(parent=parent, hooks=first, protect=False),
    )
    own = pulumi.ResourceOptions(parent=parent, depends_on=[user], protect=False)
    rights = [
        objects.KubernetesObject(f"{account}-{document['kind']}".lower(), document, own) for document in documents
    ]
    return objects.KubernetesObject(
        f"{account}-job",
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {**metadata, "name": job_name(name, fault), "annotations": _NO_WAIT},
            "spec": {
                "backoffLimit": 100,
                "template": _pod(account, fault.image, pulumi.Output.json_dumps(spec, sort_keys=True)),
            },
        },
        pulumi.ResourceOptions(parent=parent, depends_on=[user, *rights], protect=False),
    )


def _pod(account: str, image: str, spec: pulumi.Output[str]) -> dict[str, Any]:
    return {
        # Not in the mesh, which could delay its requests to the API server.
        "metadata": {"labels": {"app": account, "istio.io/dataplane-mode": "none"}},
        "spec": {
            "serviceAccountName": account,
            "restartPolicy": "OnFailure",
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "fault-expiry",
                    "image": image,
                    "command": ["python3", "-u", "-c", _SCRIPT, spec],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                    "securityContext": {**RESTRICTED, "runAsUser": 65534, "readOnlyRootFilesystem": True},
                }
            ],
        },
    }
