"""Probe Pods: Pods of our own that send the measured requests, one for the requests of a process."""

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
LIFE_SECONDS = 7200.0
IDLE_SECONDS = 300.0  # a Pod whose process was killed ends by itself
IDLE_MARGIN_SECONDS = 30.0  # for the start of a command in the Pod
READY_SECONDS = 120.0  # the image may have to be pulled
DELETE_SECONDS = 10.0
POLL_SECONDS = 0.2
USER = 65534  # nobody
SCRIPT = Path(__file__).with_name("probe_pod_script.py").read_text()
ENDED = "status.phase!=Pending,status.phase!=Running"


class _Pod(NamedTuple):
    """A Pod and the times, by the monotonic clock, until which it can be used."""

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
            pod = _Pod(_create(config, client), time.monotonic() + LIFE_SECONDS, 0.0)
        _pods[key] = pod._replace(idle_ends=time.monotonic() + IDLE_SECONDS - IDLE_MARGIN_SECONDS)
        return pod.name


def _create(config: LabConfig, client: PodClient) -> str:
    """Create a Pod and wait until it is ready. Delete the Pods of commands that were killed."""
    if not _created:
        atexit.register(delete_all)
        _delete(config.target, client, f"--selector=app={LABELS['app']}", f"--field-selector={ENDED}")
    fresh = f"waypoint-lab-probe-{secrets.token_hex(4)}"
    _created.append((config.target, client, fresh))
    text = json.dumps(manifest(fresh, client))
    kubectl.run(config.target, "create", "--namespace", client.namespace, "--filename=-", stdin=text)
    _wait(config, client, fresh)
    return fresh


def manifest(pod: str, client: PodClient) -> dict[str, Any]:
    """Return the Pod. The Pod security standard `restricted` accepts it.

    It ends after LIFE_SECONDS, and after IDLE_SECONDS without requests.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod, "namespace": client.namespace, "labels": LABELS},
        "spec": {
            "serviceAccountName": client.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": int(LIFE_SECONDS),
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": client.image,
                    "command": ["python3", "-c", f"{SCRIPT}\nwait({LIFE_SECONDS}, {IDLE_SECONDS})"],
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
            ],
        },
    }


def _wait(config: LabConfig, client: PodClient, pod: str) -> None:
    where, why = f"probe Pod {client.namespace}/{pod}", "it is not scheduled"
    for _ in polls(READY_SECONDS, POLL_SECONDS):
        found = kubectl.get(config.target, "pod", pod, "--namespace", client.namespace)
        with kubectl.readable(where):
            status = found.get("status", {})
            if any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or []):
                return
            states = [one["state"].get("waiting") or {} for one in status.get("containerStatuses") or []]
            why = next((f"{one['reason']} {one.get('message', '')}".strip() for one in states if one), why)
            if not found or status.get("phase") in ("Failed", "Succeeded"):
                why = status.get("message") or "it ended"
                break
    line = " ".join(why.split())
    raise ProbeError(f"{where}: it is not ready: {line}; set app.client.image and app.client.serviceAccount")


def _delete(target: kubectl.ClusterAccess, client: PodClient, *which: str) -> None:
    with suppress(KubectlError):
        what = ("delete", "pods", *which, "--namespace", client.namespace, "--ignore-not-found", "--wait=false")
        kubectl.run(target, *what, limit_seconds=DELETE_SECONDS)


def delete_all() -> None:
    """Delete the Pods of this process. A cluster that does not answer ends them itself."""
    with _lock:
        _pods.clear()
        while _created:
            _delete(*_created.pop())
        atexit.unregister(delete_all)
