"""State, refresh, import, secrets and errors of the official Kubernetes provider, on the real API server."""

import base64
import json
import signal
from pathlib import Path

import pytest

from tests.conftest import Kubectl
from tests.embedded.documents import NAMESPACE, config_map, live, meta, row, service
from tests.embedded.pulumi_program import Program

pytestmark = pytest.mark.slow
CANARY = "s3cr3t-canary-value"


def test_state_has_inputs_field_manager_and_uid(program: Program) -> None:
    program.write(row("a", config_map("facts", {"k": "v"})))
    program.up()
    kept = program.state()["a"]
    assert kept["id"] == f"{NAMESPACE}/facts"
    assert kept["inputs"] == config_map("facts", {"k": "v"})
    assert kept["outputs"]["__inputs"] == kept["inputs"]
    assert kept["outputs"]["__initialApiVersion"] == "v1"
    assert kept["outputs"]["__fieldManager"].startswith("pulumi-kubernetes-")
    assert kept["outputs"]["metadata"]["uid"]


# Refresh.


def test_refresh_reads_drift_and_next_update_reverts_it(program: Program, kubectl: Kubectl) -> None:
    forced = {"pulumi.com/skipAwait": "true", "pulumi.com/patchForce": "true"}
    program.write(row("a", service("drift", labels={"tier": "one"}, annotations=forced)))
    program.up()
    program.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    kubectl("label", "service", "drift", "-n", NAMESPACE, "tier=two", "--overwrite")
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert program.state()["a"]["inputs"]["metadata"]["labels"] == {"tier": "two"}
    (step,) = program.preview()
    assert step["op"] == "update"
    assert list(step["detailedDiff"]) == ["metadata.labels.tier"]
    program.up()
    assert live(kubectl, "service", "drift")["metadata"]["labels"] == {"tier": "one"}


def test_refresh_drops_a_deleted_object_and_next_update_creates_it(program: Program, kubectl: Kubectl) -> None:
    program.write(row("a", config_map("lost", {"k": "v"})))
    program.up()
    kubectl("delete", "configmap", "lost", "-n", NAMESPACE)
    program.pulumi("refresh", "--yes", "--skip-preview")
    assert "a" not in program.state()
    program.up()
    assert live(kubectl, "configmap", "lost")["data"] == {"k": "v"}


# Import and get.


def test_import_keeps_the_object_and_manages_it(program: Program, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "adopted", "-n", NAMESPACE, "--from-literal=k=v")
    uid = live(kubectl, "configmap", "adopted")["metadata"]["uid"]
    program.write(row("a", config_map("adopted", {"k": "v"}), import_=f"{NAMESPACE}/adopted"))
    program.up()
    program.write(row("a", config_map("adopted", {"k": "v"})))
    program.up("--expect-no-changes")
    program.write(row("a", config_map("adopted", {"k": "v"}, labels={"ours": "yes"})))
    program.up()
    now = live(kubectl, "configmap", "adopted")
    assert now["metadata"]["uid"] == uid
    assert now["metadata"]["labels"] == {"ours": "yes"}


def test_import_that_differs_from_the_program_is_refused(program: Program, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "differs", "-n", NAMESPACE, "--from-literal=k=v")
    program.write(row("a", config_map("differs", {"k": "other"}), import_=f"{NAMESPACE}/differs"))
    said = program.pulumi("up", "--yes", "--skip-preview", fails=True)
    assert "may not be replaced" in said
    assert "data.k" in said
    assert live(kubectl, "configmap", "differs")["data"] == {"k": "v"}


def test_read_object_remains_after_destroy(program: Program, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "read", "-n", NAMESPACE, "--from-literal=k=v")
    program.write(row("a", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("read")}, id=f"{NAMESPACE}/read"))
    program.up()
    assert program.state()["a"]["external"] is True
    assert program.state()["a"]["outputs"]["data"] == {"k": "v"}
    program.destroy()
    assert live(kubectl, "configmap", "read")["data"] == {"k": "v"}


def test_read_of_a_missing_object_fails(program: Program) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("nowhere")}
    program.write(row("a", document, id=f"{NAMESPACE}/nowhere"))
    assert "nowhere" in program.up(fails=True)


# Secrets.


def test_secrets_reach_the_cluster_only(program: Program, kubectl: Kubectl) -> None:
    program.pulumi("config", "set", "--secret", "password", CANARY)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta("hidden"), "stringData": {"p": "config:password"}}
    marked = config_map("marked", {"open": "yes", "p": "config:password"})
    program.write(row("secret", secret), row("marked", marked))
    said = program.pulumi("preview", "--diff") + program.up("--diff")
    coded = base64.b64encode(CANARY.encode()).decode()
    assert live(kubectl, "secret", "hidden")["data"] == {"p": coded}
    assert live(kubectl, "configmap", "marked")["data"]["p"] == CANARY
    # What the server made of it, as with the official provider.
    assert set(program.state()["secret"]["inputs"]) == {"apiVersion", "kind", "metadata", "data"}
    program.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    program.up("--expect-no-changes")
    said += program.pulumi("stack", "export") + program.pulumi("stack", "output", "--json")
    assert CANARY not in said
    assert coded not in said
    assert program.state()["marked"]["inputs"]["data"]["open"] == "yes"


# Cancellation.


def test_interrupted_wait_keeps_the_object_in_the_state(program: Program, kubectl: Kubectl) -> None:
    wait = {"pulumi.com/waitFor": "jsonpath={.data.ready}=yes"}
    program.write(row("a", config_map("stopped", {"k": "v"}, annotations=wait)))
    running = program.start("up", "--yes", "--skip-preview")
    kubectl("wait", "--for=create", "configmap/stopped", "-n", NAMESPACE, "--timeout=120s")
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=120)
    assert running.returncode != 0
    assert "failed to fully initialize or become live: context canceled" in said
    assert program.state()["a"]["id"] == f"{NAMESPACE}/stopped"


# Errors.


def test_unusable_cluster_fails(program: Program, tmp_path: Path) -> None:
    resource = row("a", config_map("never", {}))
    program.write(resource, provider={"context": "no-such-context"})
    assert 'context "no-such-context" does not exist' in program.up(fails=True)
    program.write(resource, provider={"kubeconfig": str(tmp_path / "missing.yaml")})
    assert "failed to parse kubeconfig data" in program.up(fails=True)
    nobody = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}], "users": [{"name": "u"}]}
    nobody |= {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}  # type: ignore[dict-item]
    program.write(resource, provider={"kubeconfig": json.dumps(nobody)})
    assert "configured Kubernetes cluster is unreachable" in program.up(fails=True)


# Policy packs.


def test_policy_pack_stops_preview_and_update(program: Program, kubectl: Kubectl) -> None:
    refs = [{"name": "one", "port": 80, "weight": 80}, {"name": "two", "port": 80, "weight": 30}]
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": meta("unbalanced"),
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "one", "port": 80}],
            "rules": [{"backendRefs": refs}],
        },
    }
    pack = Path("policies").resolve()
    program.write(row("r", route))
    said = program.pulumi("preview", "--policy-pack", str(pack), fails=True)
    assert "weights of rule 1 add up to 110, not to 100" in said
    assert "weights of rule 1" in program.pulumi("up", "--yes", "--policy-pack", str(pack), fails=True)
    assert live(kubectl, "httproute", "unbalanced") is None
