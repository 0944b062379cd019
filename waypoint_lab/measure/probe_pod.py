"""Probe Pods: Pods of our own that send the measured requests, one for the requests of a process.

Each is the Pod of a Job, which the cluster deletes some time after the Pod has ended.
"""

import atexit
import json
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from waypoint_lab import kubectl
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError, ProbeError
from waypoint_lab.waiting import polls

LABELS = {"app": "waypoint-lab-probe"}
LIFE_SECONDS = 7200.0  # at least
IDLE_SECONDS = 300.0  # a Pod whose process was killed ends by itself
IDLE_MARGIN_SECONDS = 30.0  # for the start of a command in the Pod
KEPT_SECONDS = 60  # after its end, for the message of a Pod that failed
READY_SECONDS = 120.0  # the image may have to be pulled
DELETE_SECONDS = 10.0
POLL_SECONDS = 0.2
USER = 65534  # nobody
SCRIPT = Path(__file__).with_name("probe_pod_script.py").read_text()
JOB_LABEL = "batch.kubernetes.io/job-name"


class _Pod(NamedTuple):
    """The name of a Pod and the times, by the monotonic clock, until which it can be used."""

    name: str
    ends: float
    idle_ends: float


_lock = threading.Lock()
_pods: dict[tuple[kubectl.ClusterAccess, PodClient], _Pod] = {}  # the Pod for the next requests
_created: list[tuple[kubectl.ClusterAccess, PodClient, str]] = []


def name(config: LabConfig, client: PodClient, seconds: float) -> str:
    """Return the name of a Pod that is ready and lives for `seconds` longer; create it if there is none.

    A Pod that may have ended for want of requests is not used again. It is deleted with the others: requests of this
    process may still be running in it.

    Raises:
        KubectlError: It cannot be created.
        ProbeError: It is not ready within READY_SECONDS.
    """
    key = (config.target, client)
    with _lock:
        now = time.monotonic()
        pod = _pods.get(key)
        if not pod or now + seconds >= pod.ends or now >= pod.idle_ends:
            life = max(LIFE_SECONDS, seconds + IDLE_SECONDS)  # it counts from before the Pod is ready
            pod = _Pod(_create(config, client, life), now + life, 0.0)
        _pods[key] = pod._replace(idle_ends=time.monotonic() + IDLE_SECONDS - IDLE_MARGIN_SECONDS)
        return pod.name


def _create(config: LabConfig, client: PodClient, life_seconds: float) -> str:
    """Create a Job, wait until its Pod is ready, and return the name of the Pod."""
    if not _created:
        atexit.register(delete_all)
    job = f"waypoint-lab-probe-{secrets.token_hex(4)}"
    _created.append((config.target, client, job))
    text = json.dumps(manifest(job, client, life_seconds))
    kubectl.run(config.target, "create", "--namespace", client.namespace, "--filename=-", stdin=text)
    return _wait(config, client, job)


def manifest(job: str, client: PodClient, life_seconds: float = LIFE_SECONDS) -> dict[str, Any]:
    """Return the Job. The Pod security standard `restricted` accepts its Pod.

    The Pod ends after `life_seconds`, and after IDLE_SECONDS without requests.
    """
    container = {
        "name": "probe",
        "image": client.image,
        "command": ["python3", "-c", f"{SCRIPT}\nwait({life_seconds}, {IDLE_SECONDS})"],
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"memory": "256Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "serviceAccountName": client.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job, "namespace": client.namespace, "labels": LABELS},
        "spec": {
            "activeDeadlineSeconds": int(life_seconds),
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {"metadata": {"labels": LABELS}, "spec": pod},
        },
    }


def _wait(config: LabConfig, client: PodClient, job: str) -> str:
    where = f"probe Job {client.namespace}/{job}"
    what = ("pods", "--namespace", client.namespace, f"--selector={JOB_LABEL}={job}")
    why = "it is not scheduled"
    for _ in polls(READY_SECONDS, POLL_SECONDS):
        found = kubectl.items(config.target, *what)
        if not found and (refusal := _refusal(config, client, job)):
            why = refusal
            break
        with kubectl.readable(where):
            status = found[0].get("status", {}) if found else {}
            if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or []):
                return str(found[0]["metadata"]["name"])
            states = [one["state"].get("waiting") or {} for one in status.get("containerStatuses") or []]
            why = next((f"{one['reason']} {one.get('message', '')}".strip() for one in states if one), why)
            if status.get("phase") in ("Failed", "Succeeded"):
                why = status.get("message") or "it ended"
                break
    line = " ".join(why.split())
    raise ProbeError(f"{where}: its Pod is not ready: {line}; set app.client.image and app.client.serviceAccount")


def _refusal(config: LabConfig, client: PodClient, job: str) -> str:
    """Return why the API server refuses the Job's Pod; empty where it does not, or where events cannot be read."""
    what = (
        "events",
        "--namespace",
        client.namespace,
        f"--field-selector=involvedObject.name={job},reason=FailedCreate",
    )
    with suppress(KubectlError):
        return next((str(event.get("message", "")) for event in kubectl.items(config.target, *what)), "")
    return ""


def _delete(target: kubectl.ClusterAccess, client: PodClient, job: str) -> None:
    with suppress(KubectlError):
        what = ("delete", "job", job, "--namespace", client.namespace, "--ignore-not-found", "--wait=false")
        kubectl.run(target, *what, limit_seconds=DELETE_SECONDS)


def delete_all() -> None:
    """Delete the Pods of this process. A cluster that does not answer ends them itself."""
    with _lock:
        _pods.clear()
        while _created:
            _delete(*_created.pop())
        atexit.unregister(delete_all)
