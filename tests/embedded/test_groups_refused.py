"""Where the machine has no groups to give, the API server refuses Pods that ask for some, and the user reads why."""

import json
import time
from typing import Any

from embedded import groups
from embedded.control_plane import admission
from tests.conftest import Kubectl

LIMIT_SECONDS = 20.0


def test_pod_with_groups_that_the_machine_cannot_give_is_refused(kubectl: Kubectl) -> None:
    refusal = json.dumps({"apiVersion": "v1", "kind": "List", "items": admission.without_groups()})

    def attempt(context: dict[str, Any], own: dict[str, Any] | None = None) -> str:
        """Return the error of creating a Pod in the namespace default, or nothing; it is not created."""
        container = {"name": "c", "image": "python:3.11", "securityContext": own or {}}
        spec = {"securityContext": context, "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "attempt", "namespace": "default"}, "spec": spec}
        return kubectl("apply", "--dry-run=server", "-f", "-", given=json.dumps(pod), check=False).stderr.strip()

    try:
        kubectl("apply", "-f", "-", given=refusal)
        deadline = time.monotonic() + LIMIT_SECONDS
        while "has no other groups on this machine" not in attempt({"fsGroup": 1000}):
            assert time.monotonic() < deadline, "the refusal is not in force"
            time.sleep(0.2)
        assert "run lab up as root" in attempt({"supplementalGroups": [1000], "runAsGroup": 2000})
        assert "run lab up as root" in attempt({"fsGroup": 1000, "runAsGroup": 1000}, {"runAsGroup": 2000})
        assert attempt({"fsGroup": 1000, "runAsGroup": 1000, "supplementalGroups": [1000]}, {"runAsUser": 1}) == ""
        assert attempt({"runAsUser": 1000}) == ""
    finally:
        if groups.available():
            kubectl("delete", "-f", "-", given=refusal)
