"""Replicas, autoscaler and budget of a waypoint on the embedded cluster."""

import json
from typing import Any

import pytest

from tests.e2e.scene import NAMESPACE, Scene, failures

KINDS = "horizontalpodautoscalers,poddisruptionbudgets,configmaps"
pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def made(scene: Scene, gateway: str = "waypoint") -> set[str]:
    """Return the objects of a waypoint's parameters, without the hash in the names."""
    names = scene.run("kubectl", "get", KINDS, "-n", NAMESPACE, "-o", "name").stdout.split()
    own = [name for name in names if name.split("/")[1].startswith(gateway)]
    return {name.rpartition("-")[0] if "-parameters-" in name else name for name in own}


def pods(scene: Scene, gateway: str = "waypoint") -> list[dict[str, Any]]:
    """Return the Pods of a waypoint that are not about to end."""
    chosen = f"--selector=gateway.networking.k8s.io/gateway-name={gateway}"
    found = json.loads(scene.run("kubectl", "get", "pods", "-n", NAMESPACE, chosen, "-o", "json").stdout)["items"]
    return [item for item in found if "deletionTimestamp" not in item["metadata"]]


def test_waypoint_parameters_apply_at_each_update_until_removed(scene: Scene) -> None:
    scene.clear()
    pods_of = {"podLabels": {"team": "edge"}, "resources": {"limits": {"memory": "512Mi"}}}
    scene.up(waypoint={"replicas": 2, "disruptionBudget": {"minAvailable": 1}, **pods_of})
    sending = scene.load(workers=2, fresh_workers=1)
    try:
        there = pods(scene)
        assert [item["metadata"]["labels"]["team"] for item in there] == ["edge", "edge"]
        assert [item["spec"]["containers"][0]["resources"]["limits"]["memory"] for item in there] == ["512Mi"] * 2
        assert made(scene) == {"poddisruptionbudget.policy/waypoint", "configmap/waypoint-parameters"}
        scene.assert_unchanged()

        scene.up(waypoint={"replicas": 2, "canary": {"name": "waypoint-next", "weight": 100}, **pods_of})
        assert made(scene) == {"configmap/waypoint-parameters", "configmap/waypoint-next-parameters"}

        # A waypoint with replicas is drained, although istiod writes their number again and again.
        said = scene.up(waypoint={"name": "waypoint-next", "autoscaling": {"min": 2, "max": 3}, **pods_of})
        assert "the cluster has no metrics of CPU (metrics.k8s.io), so its autoscaler keeps 2 replicas" in said
        assert [len(pods(scene, name)) for name in ("waypoint-next", "waypoint")] == [2, 0]
        scaler = "horizontalpodautoscaler.autoscaling/waypoint-next"
        assert made(scene) == {scaler, "configmap/waypoint-next-parameters"}

        scene.up(waypoint={"name": "waypoint-next"})
        assert len(pods(scene, "waypoint-next")) == 1
        assert made(scene) == set()
    finally:
        answers = sending.stop()
        scene.clear()
    assert len(answers) > 500
    assert not failures(answers)
