"""Behaviour of the official Kubernetes provider that this project relies on, on the real API server."""

import json
import re

import pytest

from components._internal.objects import SKIP_AWAIT
from tests.conftest import Kubectl
from tests.embedded.documents import NAMESPACE, config_map, deployment, live, meta, row, service
from tests.embedded.pulumi_program import Program

pytestmark = pytest.mark.slow


def managers(kubectl: Kubectl, kind: str, name: str) -> set[tuple[str, str]]:
    found = json.loads(kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json", "--show-managed-fields").stdout)
    return {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}


# Previews and diffs.


def test_preview_is_a_dry_run_on_the_server(program: Program, kubectl: Kubectl) -> None:
    program.write(row("a", config_map("dry", {"k": "v"})))
    (step,) = program.preview()
    assert step["op"] == "create"
    assert live(kubectl, "configmap", "dry") is None
    program.write(row("a", service("dry", target=70000)))
    said = program.pulumi("preview", fails=True)
    assert "spec.ports[0].targetPort: Invalid value: 70000" in said


def test_diff_names_exactly_the_changed_fields(program: Program) -> None:
    program.write(row("a", service("diff", 80, labels={"old": "x", "same": "y"})))
    program.up()
    program.write(row("a", service("diff", 81, labels={"new": "x", "same": "y"})))
    (step,) = program.preview()
    assert step["op"] == "update"
    kinds = {path: detail["kind"] for path, detail in step["detailedDiff"].items()}
    assert kinds == {
        "spec.ports[0].targetPort": "update",
        "metadata.labels.old": "delete",
        "metadata.labels.new": "add",
    }
    program.up()
    assert "2 unchanged" in program.up("--expect-no-changes")


def test_immutable_field_replaces_an_object_of_a_fixed_name(program: Program, kubectl: Kubectl) -> None:
    program.write(row("a", config_map("fixed", {"k": "1"})))
    program.up()
    before = live(kubectl, "configmap", "fixed")["metadata"]["uid"]
    program.write(row("a", config_map("fixed", {"k": "2"})))
    (step,) = program.preview()
    assert step["op"] == "replace"
    assert {path: detail["kind"] for path, detail in step["detailedDiff"].items()} == {"data.k": "update-replace"}
    program.up()
    after = live(kubectl, "configmap", "fixed")
    assert after["data"] == {"k": "2"}
    assert after["metadata"]["uid"] != before


def test_generated_name_is_kept_until_a_replacement(program: Program, kubectl: Kubectl) -> None:
    document = config_map("x", {"k": "1"})
    del document["metadata"]["name"]
    program.write(row("auto", document))
    program.up()
    first = program.state()["auto"]["outputs"]["metadata"]["name"]
    assert re.fullmatch(r"auto-[0-9a-f]{8}", first)
    program.up("--expect-no-changes")
    program.write(row("auto", {**document, "data": {"k": "2"}}))
    program.up()
    second = program.state()["auto"]["outputs"]["metadata"]["name"]
    assert second != first
    assert live(kubectl, "configmap", first) is None


# Ownership.


def test_field_of_another_manager_conflicts_unless_forced(program: Program, kubectl: Kubectl) -> None:
    program.write(row("a", service("owned", labels={"tier": "one"})))
    program.up()
    manager = program.state()["a"]["outputs"]["__fieldManager"]
    assert re.fullmatch(r"pulumi-kubernetes-[0-9a-f]{8}", manager)
    assert managers(kubectl, "service", "owned") == {(manager, "Apply")}
    kubectl("label", "service", "owned", "-n", NAMESPACE, "tier=taken", "--overwrite", "--field-manager=somebody")
    program.write(row("a", service("owned", labels={"tier": "three"})))
    said = program.up(fails=True)
    assert 'conflict with "somebody"' in said
    assert "metadata.labels.tier" in said
    forced = {"pulumi.com/skipAwait": "true", "pulumi.com/patchForce": "true"}
    program.write(row("a", service("owned", labels={"tier": "three"}, annotations=forced)))
    program.up()
    assert live(kubectl, "service", "owned")["metadata"]["labels"] == {"tier": "three"}


def test_existing_object_with_other_values_is_refused_and_unchanged(program: Program, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "mine", "-n", NAMESPACE, "--from-literal=k=mine")
    program.write(row("a", config_map("mine", {"k": "theirs"})))
    said = program.up(fails=True)
    assert 'conflict with "kubectl-create"' in said
    assert ".data.k" in said
    program.destroy()
    assert live(kubectl, "configmap", "mine")["data"] == {"k": "mine"}


def test_patch_owns_its_fields_only_and_removes_them(program: Program, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "patched", "-n", NAMESPACE, "--from-literal=k=v")
    kubectl("label", "configmap", "patched", "-n", NAMESPACE, "own=stays")
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("patched", labels={"lab": "yes"})}
    program.write({"name": "p", "document": document, "patch": True})
    program.up()
    assert live(kubectl, "configmap", "patched")["metadata"]["labels"] == {"own": "stays", "lab": "yes"}
    assert program.state()["p"]["type"] == "kubernetes:core/v1:ConfigMapPatch"
    program.up("--expect-no-changes")
    program.destroy()
    after = live(kubectl, "configmap", "patched")
    assert after["metadata"]["labels"] == {"own": "stays"}
    assert after["data"] == {"k": "v"}


# Waiting.


def test_unmet_wait_is_repeated_by_the_next_update(program: Program, kubectl: Kubectl) -> None:
    wait = {"pulumi.com/waitFor": "jsonpath={.data.ready}=yes", "pulumi.com/timeoutSeconds": "1"}
    program.write(row("a", config_map("waits", {"k": "v"}, annotations=wait)))
    said = program.up(fails=True)
    assert "timed out waiting for the condition" in said
    assert program.state()["a"]["initErrors"]
    assert "timed out waiting for the condition" in program.up(fails=True)
    # The provider takes over what kubectl's own field managers have, and then removes what the program does not have.
    met = ("--type=merge", "-p", '{"data":{"ready":"yes"}}', "--field-manager=somebody")
    kubectl("patch", "configmap", "waits", "-n", NAMESPACE, *met)
    program.up()
    assert "initErrors" not in program.state()["a"]


def test_update_waits_for_conditions_and_rollouts(program: Program, kubectl: Kubectl) -> None:
    program.write(
        row("plain", deployment("plain")),
        row("condition", deployment("condition", waitFor="condition=Available")),
        row("service", service("plain", annotations={}), depends_on=["plain"]),
    )
    program.up()
    for name in ("plain", "condition"):
        assert live(kubectl, "deployment", name)["status"]["availableReplicas"] == 1
    assert program.state()["plain"]["outputs"]["status"]["availableReplicas"] == 1


def test_services_of_one_namespace_keep_their_own_state(program: Program, kubectl: Kubectl) -> None:
    """The provider mixes up the states of Services with a `waitFor` that is true at once, but not with `skipAwait`."""
    for attempt in range(10):
        names = [f"service-{attempt}-{number}" for number in range(8)]
        program.write(*(row(name, service(name, annotations=SKIP_AWAIT)) for name in names))
        program.up()
        items = json.loads(kubectl("get", "services", "-n", NAMESPACE, "-o", "json").stdout)["items"]
        expected = {item["metadata"]["name"]: item["metadata"]["uid"] for item in items}
        kept = {name: resource["outputs"]["metadata"]["uid"] for name, resource in program.state().items()}
        assert {name: expected[name] for name in names} == kept, f"attempt {attempt}"


def test_deletion_waits_until_the_object_is_gone(program: Program, kubectl: Kubectl) -> None:
    program.write(row("a", config_map("held", {}, finalizers=["example.com/hold"])))
    program.up()
    going = program.start("destroy", "--yes", "--skip-preview")
    kubectl("wait", "configmap/held", "-n", NAMESPACE, "--for=jsonpath={.metadata.deletionTimestamp}", "--timeout=120s")
    assert going.poll() is None
    kubectl(
        "patch",
        "configmap",
        "held",
        "-n",
        NAMESPACE,
        "--type=json",
        "-p",
        '[{"op":"remove","path":"/metadata/finalizers"}]',
    )
    said, _ = going.communicate(timeout=120)
    assert going.returncode == 0, said
    assert live(kubectl, "configmap", "held") is None
