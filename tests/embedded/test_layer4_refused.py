"""Where the kernel cannot enforce policies of layer 4, the API server refuses them, and the user reads why."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded import cluster, health
from embedded.control_plane import admission
from embedded.node.proxy import unenforced
from tests.conftest import Kubectl
from tests.embedded import manifests
from tests.embedded.manifests import LIMIT_SECONDS, until

REASON = "the test says so"
AUTHORIZATION, PEER = "AuthorizationPolicy", "PeerAuthentication"
SERVICE = {"group": "", "kind": "Service", "name": "reviews"}
pytestmark = pytest.mark.timeout(120)


def attempt(kubectl: Kubectl, kind: str, spec: dict[str, Any]) -> str:
    """Return the error of creating an object, or nothing; it is not created."""
    meta = {"name": "attempt", "namespace": "default"}
    given = {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": meta, "spec": spec}
    return kubectl("apply", "--dry-run=server", "-f", "-", given=json.dumps(given), check=False).stderr.strip()


@contextlib.contextmanager
def correcting(state: Path) -> Iterator[None]:
    """Correct the status of policies, as the node agent does it where its kernel cannot enforce them."""
    ending = threading.Event()

    async def work() -> None:
        async with health.connect(state) as kube:
            task = asyncio.create_task(unenforced.correct_status(kube, REASON))
            await asyncio.to_thread(ending.wait)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(LIMIT_SECONDS)


def test_layer_4_without_enforcement_is_refused_with_the_reason(kubectl: Kubectl, cluster_state: Path) -> None:
    if kubectl("get", "validatingadmissionpolicy", admission.LAYER_4, "--ignore-not-found").stdout:
        pytest.skip("this kernel lacks the enforcement: the cluster's own refusal is in force")
    refusal = json.dumps({"apiVersion": "v1", "kind": "List", "items": admission.without_layer_4(REASON)})
    strict = {"mtls": {"mode": "STRICT"}}
    try:
        kubectl("apply", "-f", "-", given=refusal)
        deadline = time.monotonic() + LIMIT_SECONDS
        for kind, spec in ((AUTHORIZATION, {"rules": [{}]}), (PEER, strict)):
            while REASON not in attempt(kubectl, kind, spec):
                assert time.monotonic() < deadline, "the refusal is not in force"
                time.sleep(0.2)
        assert "nothing enforces them on this machine" in attempt(kubectl, PEER, strict)
        ports = {"selector": {"matchLabels": {"app": "reviews"}}, "portLevelMtls": {"9080": {"mode": "STRICT"}}}
        assert REASON in attempt(kubectl, PEER, ports)
        assert attempt(kubectl, AUTHORIZATION, {"targetRefs": [SERVICE], "rules": [{}]}) == ""
        assert attempt(kubectl, PEER, {"mtls": {"mode": "PERMISSIVE"}}) == ""
        for scope, refused in (("workload", True), ("all", True), ("service", False)):
            gateway = manifests.waypoint("default")
            gateway["metadata"]["labels"] = {"istio.io/waypoint-for": scope}
            while True:  # each policy of the refusal is in force at a moment of its own
                done = kubectl("apply", "--dry-run=server", "-f", "-", given=json.dumps(gateway), check=False)
                if (REASON in done.stderr) == refused or time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            assert (refused, refused) == (done.returncode != 0, REASON in done.stderr), done.stderr
        rows = {row.name: row for row in cluster.status(cluster_state).components}
        assert REASON in rows["layer-4 policies"].detail
    finally:
        kubectl("delete", "-f", "-", given=refusal)
    assert "layer-4 policies" not in {row.name for row in cluster.status(cluster_state).components}


def test_policy_from_before_is_no_longer_called_enforced(kubectl: Kubectl, cluster_state: Path) -> None:
    if kubectl("get", "validatingadmissionpolicy", admission.LAYER_4, "--ignore-not-found").stdout:
        pytest.skip("this kernel lacks the enforcement: there is no policy from before")
    meta = {"name": "before", "namespace": "default"}
    spec = {
        "selector": {"matchLabels": {"app": "none"}},
        "rules": [{"from": [{"source": {"namespaces": ["default"]}}]}],
    }
    policy = json.dumps({"apiVersion": "security.istio.io/v1", "kind": AUTHORIZATION, "metadata": meta, "spec": spec})
    refusal = json.dumps({"apiVersion": "v1", "kind": "List", "items": admission.without_layer_4(REASON)})
    path = "jsonpath={.status.conditions[?(@.type=='ZtunnelAccepted')]['status','message']}"

    def written() -> str:
        return kubectl("get", "authorizationpolicy", "before", "-n", "default", "-o", path).stdout

    def claim() -> str:
        """Return the error of writing, as istiod does, that the policy is enforced."""
        rows = {"status": {"conditions": [{"type": "ZtunnelAccepted", "status": "True", "message": "istiod"}]}}
        given = ("--subresource=status", "--type=merge", "--dry-run=server", "--patch", json.dumps(rows))
        return kubectl("patch", "authorizationpolicy", "before", "-n", "default", *given, check=False).stderr

    try:
        # A refusal that was deleted a moment ago may still be in force.
        until("it is accepted", lambda: kubectl("apply", "-f", "-", given=policy, check=False).returncode, 0)
        until("istiod calls it enforced", written, "True attached to ztunnel")
        with correcting(cluster_state):
            until("it is corrected", written, f"False nothing enforces this policy on this machine ({REASON})")
        assert claim() == ""
        kubectl("apply", "-f", "-", given=refusal)
        until("istiod's write is refused", lambda: REASON in claim(), True)
    finally:
        kubectl("delete", "-f", "-", given=refusal, check=False)
        kubectl("delete", "-f", "-", given=policy, check=False)
