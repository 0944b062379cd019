import json

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.cli import cluster_queries
from waypoint_lab.cli.cluster_checks import State
from waypoint_lab.errors import KubectlError

SCALED = {"autoscaling": {"min": 2, "max": 3}}


def asked(monkeypatch: pytest.MonkeyPatch, user: str, **waypoint: object) -> set[tuple[str, str]]:
    """Return verbs and resources of the access reviews."""
    sent: list[str] = []
    monkeypatch.setattr(kubectl, "run", lambda *_args, stdin: sent.append(stdin) or "")
    cluster_queries._permissions(lab_config(waypoint=waypoint), user)
    rows = [item["spec"]["resourceAttributes"] for item in json.loads(sent[0])["items"]]
    return {(row["verb"], row["resource"]) for row in rows}


@pytest.mark.parametrize(("user", "verb"), [("", "delete"), ("istiod", "patch")])
def test_permissions_for_parameters_are_asked_only_with_parameters(
    monkeypatch: pytest.MonkeyPatch, user: str, verb: str
) -> None:
    assert (verb, "horizontalpodautoscalers") in asked(monkeypatch, user, replicas=2)
    assert (verb, "horizontalpodautoscalers") not in asked(monkeypatch, user)


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
