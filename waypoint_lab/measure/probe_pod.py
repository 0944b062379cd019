"""Probe Pods: Pods of our own that send the measured requests, one for the requests of a process."""

import atexit
import json
import secrets
import threading
import time
from contextlib import suppress
from typing import Any

from waypoint_lab import kubectl
from waypoint_lab.config.app_models import PodClient
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError, LabError, ProbeError
from waypoint_lab.waiting import polls

LABELS = {"app": "waypoint-lab-probe"}
LIFE_SECONDS = 7200.0  # a Pod whose process was killed ends by itself
READY_SECONDS = 120.0  # the image may have to be pulled
DELETE_SECONDS = 10.0
POLL_SECONDS = 0.2
USER = 65534  # nobody

_lock = threading.Lock()
_pods: dict[tuple[object, PodClient], tuple[str, float]] = {}  # the Pod of a cluster and a client, and its end


def name(config: LabConfig, client: PodClient, seconds: float) -> str:
    """Return the name of a Pod that is ready and lives for `seconds` longer; create it if there is none.

    Raises:
        KubectlError: It cannot be created.
        ProbeError: It is not ready within READY_SECONDS.
    """
    key = (config.target, client)
    with _lock:
        found, ends = _pods.get(key, ("", 0.0))
        if time.monotonic() + seconds < ends:
            return found
        if not _pods:
            atexit.register(delete_all)
        if found:
            _delete(config.target, client, found)
        fresh = f"waypoint-lab-probe-{secrets.token_hex(4)}"
        _pods[key] = (fresh, time.monotonic() + LIFE_SECONDS)
        try:
            text = json.dumps(manifest(fresh, client))
            kubectl.run(config.target, "create", "--namespace", client.namespace, "--filename=-", stdin=text)
            _wait(config, client, fresh)
        except LabError:
            del _pods[key]
            _delete(config.target, client, fresh)
            raise
        return fresh


def manifest(pod: str, client: PodClient) -> dict[str, Any]:
    """Return the Pod. The Pod security standard `restricted` accepts it, and it ends after LIFE_SECONDS."""
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
                    "command": ["python3", "-c", f"import time; time.sleep({LIFE_SECONDS:.0f})"],
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


def _delete(target: kubectl.ClusterAccess, client: PodClient, pod: str) -> None:
    with suppress(KubectlError):
        what = ("delete", "pod", pod, "--namespace", client.namespace, "--ignore-not-found", "--wait=false")
        kubectl.run(target, *what, limit_seconds=DELETE_SECONDS)


def delete_all() -> None:
    """Delete the Pods of this process. A cluster that does not answer ends them itself."""
    with _lock:
        while _pods:
            (target, client), (pod, _) = _pods.popitem()
            _delete(target, client, pod)  # type: ignore[arg-type]
        atexit.unregister(delete_all)
