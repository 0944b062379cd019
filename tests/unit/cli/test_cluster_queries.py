import json

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.cli import cluster_queries
from waypoint_lab.cli.cluster_checks import State
from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import Object

SCALED = {"autoscaling": {"min": 2, "max": 3}}
EXEC = {("get", "pods"), ("create", "pods")}
OLD, NEW = ("istio-system", "1-30", "istiod-1-30"), ("mesh", "1-31", "istiod-1-31")


def istiod(namespace: str, revision: str, account: str) -> Object:
    """Return the Deployment of an istiod."""
    meta = {"name": account, "namespace": namespace, "labels": {"app": "istiod", "istio.io/rev": revision}}
    pod = {"serviceAccountName": account, "containers": [{"image": f"pilot:{revision.replace('-', '.')}.0"}]}
    return {"kind": "Deployment", "metadata": meta, "spec": {"template": {"spec": pod}}}


def control_planes(monkeypatch: pytest.MonkeyPatch, *istiods: tuple[str, str, str], allowed: str = "") -> None:
    """Let kubectl list istiods, and allow everything to the accounts that have the text `allowed` in their name."""

    def items(_target: object, *what: str) -> list[Object]:
        revision = what[-1].partition("istio.io/rev=")[2]
        return [istiod(*one) for one in istiods if revision in ("", one[1])] if "deployments" in what[0] else []

    def run(*_args: object, stdin: str) -> str:
        reviews = json.loads(stdin)["items"]
        return "".join(json.dumps({**one, "status": {"allowed": allowed in one["spec"]["user"]}}) for one in reviews)

    monkeypatch.setattr(kubectl, "items", items)
    monkeypatch.setattr(kubectl, "run", run)


def asked(monkeypatch: pytest.MonkeyPatch, whose: str, **waypoint: object) -> set[tuple[str, str]]:
    """Return verbs and resources of the access reviews."""
    sent: list[str] = []
    control_planes(monkeypatch, OLD)
    monkeypatch.setattr(kubectl, "run", lambda *_args, stdin: sent.append(stdin) or "")
    ask = cluster_queries._istiod if whose == "istiod" else cluster_queries._permissions
    ask(lab_config(waypoint=waypoint))
    rows = [item["spec"]["resourceAttributes"] for item in json.loads(sent[0])["items"]]
    return {(row["verb"], row["resource"]) for row in rows}


def test_permission_to_read_pods_is_asked_for_a_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("get", "pods") in asked(monkeypatch, "user", canary={"name": "b"})


@pytest.mark.parametrize(("whose", "verb"), [("user", "delete"), ("istiod", "patch")])
def test_permissions_for_parameters_are_asked_only_with_parameters(
    monkeypatch: pytest.MonkeyPatch, whose: str, verb: str
) -> None:
    assert (verb, "horizontalpodautoscalers") in asked(monkeypatch, whose, replicas=2)
    assert (verb, "horizontalpodautoscalers") not in asked(monkeypatch, whose)


@pytest.mark.parametrize(
    ("waypoint", "istiods", "allowed", "state"),
    [
        ({}, [NEW], "mesh:istiod-1-31", State.OK),
        ({}, [OLD, NEW], "mesh:istiod-1-31", State.OK),
        ({}, [OLD, NEW], "nobody", State.MISSING),
        ({"revision": "1-31"}, [OLD, NEW], "mesh:istiod-1-31", State.OK),
        ({"revision": "1-31"}, [OLD, NEW], "istio-system:istiod-1-30", State.MISSING),
        ({"revision": "1-30", "canary": {"name": "b", "revision": "1-31"}}, [OLD, NEW], "istiod-1-3", State.OK),
        ({"revision": "1-29"}, [OLD, NEW], "istiod", State.UNKNOWN),
        ({}, [], "istiod", State.UNKNOWN),
    ],
)
def test_permissions_of_istiod_are_asked_for_the_accounts_of_its_deployments(
    monkeypatch: pytest.MonkeyPatch,
    waypoint: dict[str, object],
    istiods: list[tuple[str, str, str]],
    allowed: str,
    state: State,
) -> None:
    control_planes(monkeypatch, *istiods, allowed=allowed)
    (found,) = cluster_queries._istiod(lab_config(waypoint=waypoint))
    assert found.state is state


def test_permissions_that_istiod_lacks_have_a_fix_with_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    control_planes(monkeypatch, NEW, allowed="nobody")
    (found,) = cluster_queries._istiod(lab_config())
    assert found.fix == "grant them to system:serviceaccount:mesh:istiod-1-31, as Istio's chart does"


def test_permissions_of_the_istiod_of_a_canary_waypoint_are_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    control_planes(monkeypatch, OLD, NEW, allowed="istiod-1-30")
    canary = {"name": "b", "revision": "1-31"}
    found = cluster_queries._istiod(lab_config(waypoint={"revision": "1-30", "canary": canary}))
    assert [check.state for check in found] == [State.OK, State.MISSING]


@pytest.mark.parametrize("revision", ["1-30", "1-31"])
def test_version_of_istio_is_that_of_the_revision(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    control_planes(monkeypatch, OLD, NEW)
    found = cluster_queries._mesh(lab_config(waypoint={"revision": revision}))
    assert [check.found for check in found if check.what == "Istio version"] == [f"{revision.replace('-', '.')}.0"]


@pytest.mark.parametrize(
    ("istiods", "revision", "state", "found"),
    [
        ([("a", "default", "1.31.0"), ("b", "1-22", "1.22.8")], "", State.OK, "1.31.0"),
        ([("a", "1-31", "1.31.0"), ("b", "default", "1.22.8")], "", State.MISSING, "1.22.8 is too old"),
        ([("a", "default", "1.22.8"), ("b", "1-31", "1.31.0")], "", State.MISSING, "1.22.8 is too old"),
        (
            [("a", "1-30", "1.30.0"), ("b", "1-22", "1.22.8")],
            "prod",
            State.UNKNOWN,
            "several control planes (1-22, 1-30), and none has the revision prod",
        ),
        ([("a", "1-22", "1.22.8"), ("b", "1-30", "1.30.0")], "", State.UNKNOWN, "several control planes (1-22, 1-30)"),
        ([("a", "1-22", "1.22.8")], "prod", State.MISSING, "1.22.8 is too old"),
    ],
)
def test_version_of_istio_is_of_no_other_control_plane(
    monkeypatch: pytest.MonkeyPatch, istiods: list[tuple[str, str, str]], revision: str, state: State, found: str
) -> None:
    parts = []
    for namespace, name, version in istiods:
        parts.append(istiod(namespace, name, name))
        parts[-1]["spec"]["template"]["spec"]["containers"] = [{"image": f"pilot:{version}"}]
    monkeypatch.setattr(kubectl, "items", lambda _target, *what: parts if "deployments" in what[0] else [])
    checks = cluster_queries._mesh(lab_config(waypoint={"revision": revision}))
    (check,) = [one for one in checks if one.what == "Istio version"]
    assert check.state is state
    assert check.found.startswith(found)
    assert bool(check.fix) is (state is not State.OK)


def test_permissions_without_a_revision_are_those_of_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    control_planes(monkeypatch, OLD, ("mesh", "default", "istiod"), allowed="istiod-1-30")
    assert [check.state for check in cluster_queries._istiod(lab_config())] == [State.MISSING]


def test_metrics_that_are_missing_are_reported_with_an_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_args: object, **_more: object) -> str:
        raise KubectlError("not found")

    monkeypatch.setattr(kubectl, "run", run)
    (found,) = cluster_queries._metrics(lab_config(waypoint=SCALED))
    assert (found.state, found.found) == (State.UNKNOWN, "there are none, so the autoscaler keeps 2 replicas")
    assert cluster_queries._metrics(lab_config()) == []


def test_metrics_that_are_there_are_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "run", lambda *_args, **_more: "{}")
    assert [item.state for item in cluster_queries._metrics(lab_config(waypoint=SCALED))] == [State.OK]


@pytest.mark.parametrize(
    ("client", "wanted"),
    [
        ({"kind": "pod", "namespace": "users"}, {("create", "jobs"), ("delete", "jobs"), *EXEC}),
        ({"kind": "workload", "namespace": "users", "workload": "deploy/a"}, EXEC),
    ],
)
def test_permissions_of_the_client_are_asked_in_its_namespace(
    monkeypatch: pytest.MonkeyPatch, client: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(kubectl, "run", lambda *_args, stdin: sent.append(stdin) or "")
    cluster_queries._permissions(lab_config(app={"client": client}))
    rows = [item["spec"]["resourceAttributes"] for item in json.loads(sent[0])["items"]]
    found = {(row["verb"], row["resource"]) for row in rows if row["namespace"] == "users"}
    assert wanted == found - {("list", "pods")}
