import json

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.cli import cluster_queries
from waypoint_lab.cli.cluster_checks import State
from waypoint_lab.errors import KubectlError

SCALED = {"autoscaling": {"min": 2, "max": 3}}


def asked(monkeypatch: pytest.MonkeyPatch, whose: str, **waypoint: object) -> set[tuple[str, str]]:
    """Return verbs and resources of the access reviews."""
    sent: list[str] = []
    monkeypatch.setattr(kubectl, "run", lambda *_args, stdin: sent.append(stdin) or "")
    ask = cluster_queries._istiod if whose == "istiod" else cluster_queries._permissions
    ask(lab_config(waypoint=waypoint))
    rows = [item["spec"]["resourceAttributes"] for item in json.loads(sent[0])["items"]]
    return {(row["verb"], row["resource"]) for row in rows}


@pytest.mark.parametrize(("whose", "verb"), [("user", "delete"), ("istiod", "patch")])
def test_permissions_for_parameters_are_asked_only_with_parameters(
    monkeypatch: pytest.MonkeyPatch, whose: str, verb: str
) -> None:
    assert (verb, "horizontalpodautoscalers") in asked(monkeypatch, whose, replicas=2)
    assert (verb, "horizontalpodautoscalers") not in asked(monkeypatch, whose)


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
        ({"kind": "pod", "namespace": "users"}, {("create", "jobs"), ("delete", "jobs"), ("create", "pods")}),
        ({"kind": "workload", "namespace": "users", "workload": "deploy/a"}, {("create", "pods")}),
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
