"""Unit tests of queries and snapshots, with stand-ins for kubectl, pulumi and istioctl."""

import json
from pathlib import Path

import pytest

from policies.pack import queries
from policies.pack.queries import ClusterConnection, QueryError, without_stack
from policies.pack.reader import UNKNOWN, SnapshotReader, analyzed
from policies.pack.resources import Resource
from policies.pack.rules.reductions import pod_namespaces
from tests.policies.builders import ENROLLED, enrolled, namespace, route, rule, service, snapshot, thing
from tests.policies.commands import Commands, exported, listed

HERE = ClusterConnection()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Commands(tmp_path)


ROUTE = {"kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "n"}}
OTHER = {"kind": "HTTPRoute", "metadata": {"name": "other", "namespace": "n"}}


def test_without_stack_removes_resources_of_the_stack() -> None:
    kept = without_stack([route(rule(1)), route(rule(1), name="other")], [route(rule(2))])
    assert [item.name for item in kept] == ["other"]


def test_without_stack_removes_labels_of_patches() -> None:
    (left,) = without_stack([namespace(tier="a", **ENROLLED)], [namespace(patch=True, **ENROLLED)])
    assert left.labels == {"tier": "a"}


def test_without_stack_removes_annotations_of_patches() -> None:
    (left,) = without_stack(
        [enrolled(patch=False, primary="w", weight="20")], [enrolled(primary="w"), enrolled(weight="20")]
    )
    assert (left.labels, left.annotations) == ({}, {})


# What Istio's canary needs of a namespace, as the cluster shows it: one patch's labels, another's annotation, and more.
SERVED = {
    "kind": "Namespace",
    "metadata": {
        "name": "n",
        "labels": {"istio.io/use-waypoint": "w", "istio.io/use-waypoint-canary": "b", "tier": "a"},
        "annotations": {"istio.io/use-waypoint-canary-weight": "20"},
    },
}
PATCH = "kubernetes:core/v1:NamespacePatch"


def asked(labels: dict[str, str], urn: str = "urn:0", kind: str = "NamespacePatch") -> Resource:
    return Resource(kind, {"metadata": {"name": "n", "labels": labels}}, urn)


def test_of_stack_with_patch_in_state_keeps_marks_of_others(
    commands: Commands,
) -> None:
    commands.add("kubectl", listed(SERVED))
    commands.add("pulumi", exported((PATCH, SERVED), inputs={"metadata": {"name": "n", "labels": ENROLLED}}))
    (left,) = SnapshotReader().of_stack((service(),), "dev", HERE).live
    assert left.labels == {"istio.io/use-waypoint-canary": "b", "tier": "a"}
    assert left.annotations == {"istio.io/use-waypoint-canary-weight": "20"}


def test_of_resource_returns_live_with_and_without_its_marks(commands: Commands) -> None:
    commands.add("kubectl", listed(SERVED))
    inputs = {"metadata": {"name": "n", "labels": {**ENROLLED, "istio.io/use-waypoint-canary": "b"}}}
    commands.add("pulumi", exported((PATCH, SERVED), inputs=inputs))
    reader = SnapshotReader()
    mine = reader.of_resource(asked(ENROLLED), "dev", HERE)
    assert [item.labels for item in mine.live_unfiltered] == [SERVED["metadata"]["labels"]]
    assert [item.labels for item in mine.live] == [{"tier": "a"}]
    others = reader.of_resource(asked(ENROLLED, "urn:another"), "dev", HERE)
    assert [item.labels for item in others.live] == [SERVED["metadata"]["labels"]]


def test_of_resource_without_state_keeps_all_marks(commands: Commands) -> None:
    commands.add("kubectl", listed(SERVED))
    commands.add("pulumi", "", "error: refused\n", 1)
    found = SnapshotReader().of_resource(asked(ENROLLED), "dev", HERE)
    assert (found.error, found.live) == ("", found.live_unfiltered)


@pytest.mark.parametrize("kind", ["Namespace", "NamespacePatch"])
def test_of_stack_with_recorded_resource_uses_requested_marks(commands: Commands, kind: str) -> None:
    token = f"kubernetes:core/v1:{kind}"
    before = {"metadata": {"name": "n", "labels": {**ENROLLED, "istio.io/use-waypoint-canary": "b"}}}
    commands.add("kubectl", listed(SERVED))
    commands.add("pulumi", exported((token, SERVED), inputs=before))
    reader = SnapshotReader()
    reader.record(asked(ENROLLED, kind=kind))
    shown = Resource(kind, SERVED, "urn:0")  # an old output: it has the canary still
    found = reader.of_stack((shown,), "dev", HERE)
    assert found.labels("Namespace", "", "n") == {**ENROLLED, "tier": "a"}
    (own,) = found.declared
    assert own.labels == (ENROLLED if own.patch else {**ENROLLED, "tier": "a"})
    # One that was never asked for by itself is as the engine shows it.
    assert SnapshotReader().of_stack((shown,), "dev", HERE).labels("Namespace", "", "n") == SERVED["metadata"]["labels"]


def test_reader_used_several_times_runs_each_query_once(commands: Commands) -> None:
    commands.add("kubectl", listed(ROUTE, OTHER))
    token = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
    commands.add("pulumi", exported((token, ROUTE), ("pulumi:pulumi:Stack", {})))
    reader = SnapshotReader()
    for _ in range(3):
        assert [item.name for item in reader.beside_cluster((service(),), "dev", HERE).live] == ["r", "other"]
        assert [item.name for item in reader.of_stack((service(),), "dev", HERE).live] == ["other"]
    assert len(commands.calls("kubectl")) == 1
    assert commands.calls("pulumi") == ["stack export --stack dev --non-interactive"]


@pytest.mark.parametrize(
    ("named", "name"), [("acme/shop/dev", "acme/shop/dev"), ("acme/shop/test", "dev"), ("", "dev")]
)
def test_reader_of_a_stack_that_pulumi_stack_names_reads_that_one(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, named: str, name: str
) -> None:
    monkeypatch.setenv("PULUMI_STACK", named)
    commands.add("kubectl", listed())
    commands.add("pulumi", exported())
    assert SnapshotReader().of_stack((service(),), "dev", HERE).error == ""
    assert commands.calls("pulumi") == [f"stack export --stack {name} --non-interactive"]


def test_reader_with_kubeconfig_path_or_text_passes_it_to_kubectl(commands: Commands) -> None:
    commands.add("kubectl", listed())
    commands.add("pulumi", exported())
    SnapshotReader().beside_cluster((), "dev", ClusterConnection("/some/where", "there", "east"))
    reader = SnapshotReader()
    snapshot = reader.beside_cluster((), "dev", ClusterConnection("apiVersion: v1\nkind: Config\n"))
    assert snapshot.error == ""
    first, second = sorted(commands.calls("kubectl"), key=lambda call: "/dev/fd/" in call)
    assert "--context=there --cluster=east --kubeconfig=/some/where" in first
    assert "--kubeconfig=/dev/fd/" in second


@pytest.mark.parametrize("broken", ["kubectl", "pulumi"])
def test_of_stack_with_failing_query_returns_error_without_live_resources(commands: Commands, broken: str) -> None:
    commands.add("kubectl", listed(ROUTE))
    commands.add("pulumi", exported())
    commands.add(broken, "", "error: refused\n", 1)
    found = SnapshotReader().of_stack((service(),), "dev", HERE)
    state = "the stack's state could not be read: " if broken == "pulumi" else ""
    assert (found.error, found.stack) == (f"{state}{broken}: refused", "dev")
    assert list(found.live) == []


def test_of_stack_with_unknown_connection_returns_error(commands: Commands) -> None:
    commands.add("pulumi", exported())
    found = SnapshotReader().of_stack((service(),), "dev", None)
    assert (found.error, found.stack) == (UNKNOWN, "dev")


def test_run_with_missing_or_slow_command_raises_query_error(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(QueryError, match="nothing-here is not on PATH"):
        queries._run(["nothing-here"])
    monkeypatch.setattr(queries, "LIMIT_SECONDS", 0.05)
    with pytest.raises(QueryError, match=r"sleep gave no answer within 0\.05 s"):
        queries._run(["sleep", "5"])


def test_analyzed_passes_plain_resources_to_istioctl(commands: Commands) -> None:
    reported = [{"code": "IST0109", "level": "Error", "origin": "Service n/s", "message": "no"}]
    commands.add("istioctl", json.dumps(reported), "\t* error processing -[0]: not this\n")
    given = thing("Service", "s", {"ports": [{"port": 80.0, "weight": 0.5, "nothing": None}], "__fieldManager": "m"})
    given = type(given)("Service", {**given.properties, "apiVersion": "v1"})
    patch = Resource("NamespacePatch", {**namespace(patch=True).properties, "apiVersion": "v1"})
    found = analyzed(snapshot(given, patch))
    assert [message["message"] for message in found.messages] == ["no", "not this"]
    assert found.messages[1]["origin"] == "Service n/s"
    shown = (commands.folder / "istioctl.in").read_text()
    assert '"spec": {"ports": [{"port": 80, "weight": 0.5}]}' in shown  # Istio refuses a port 80.0


def test_analyzed_without_istioctl_is_empty_and_with_failing_one_raises(commands: Commands) -> None:
    given = type(service())("Service", {**service().properties, "apiVersion": "v1"})
    assert analyzed(snapshot(given)).messages == []
    commands.add("istioctl", "", "Error: what?\n", 1)
    with pytest.raises(QueryError, match=r"istioctl: Error: what\?"):
        analyzed(snapshot(given))


def test_with_pods_changed_selector_reads_pods_once(commands: Commands) -> None:
    commands.add("kubectl", listed({"kind": "Pod", "metadata": {"name": "p", "namespace": "n"}}))
    live = thing("Service", "s", {"selector": {"app": "old"}})
    changed = snapshot(thing("Service", "s", {"selector": {"app": "new"}}), live=(live,))
    reader = SnapshotReader()
    for _ in range(2):
        found = reader.with_pods(changed, HERE, pod_namespaces(changed))
    assert [item.kind for item in found.live] == ["Service", "Pod"]
    (call,) = commands.calls("kubectl")
    assert "get pods --namespace=n" in call


def test_with_pods_unchanged_selector_reads_none(commands: Commands) -> None:
    same = thing("Service", "s", {"selector": {"app": "old"}})
    unchanged = snapshot(same, live=(same,))
    assert pod_namespaces(unchanged) == set()
    assert SnapshotReader().with_pods(unchanged, HERE, set()).live == [same]


def test_with_pods_failing_query_raises(commands: Commands) -> None:
    commands.add("kubectl", "", "error: pods is forbidden", 1)
    with pytest.raises(QueryError, match="pods is forbidden"):
        SnapshotReader().with_pods(snapshot(), HERE, {"n"})
