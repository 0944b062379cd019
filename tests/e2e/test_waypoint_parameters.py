"""Replicas, autoscaler and budget of a waypoint on the embedded cluster."""

import json
from typing import Any

import pytest

from tests.e2e.scene import NAMESPACE, Scene, failures

KINDS = "horizontalpodautoscalers,poddisruptionbudgets,configmaps"
pytestmark = pytest.mark.timeout(300)


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
    replicas = {"replicas": 2, "disruptionBudget": {"minAvailable": 1}, "podLabels": {"team": "edge"}}
    limits = {"resources": {"limits": {"memory": "512Mi"}}}
    sending = None
    scene.up(waypoint={**replicas, **limits})
    try:
        there = pods(scene)
        assert [item["metadata"]["labels"]["team"] for item in there] == ["edge", "edge"]
        assert [item["spec"]["containers"][0]["resources"]["limits"]["memory"] for item in there] == ["512Mi"] * 2
        assert {"poddisruptionbudget.policy/waypoint", "configmap/waypoint-parameters"} == made(scene)
        scene.assert_unchanged()

        sending = scene.load()
        said = scene.up(waypoint={"autoscaling": {"min": 2, "max": 3}, **limits})
        assert "the cluster has no metrics of CPU (metrics.k8s.io), so its autoscaler keeps 2 replicas" in said
        assert len(pods(scene)) == 2
        assert {"horizontalpodautoscaler.autoscaling/waypoint", "configmap/waypoint-parameters"} == made(scene)

        # A waypoint with replicas is drained, although istiod writes their number again and again.
        scene.up(waypoint={"replicas": 2, "canary": {"name": "waypoint-next", "weight": 100}})
        scene.up(waypoint={"name": "waypoint-next", "replicas": 2})
        assert [len(pods(scene, name)) for name in ("waypoint-next", "waypoint")] == [2, 0]

        scene.up(waypoint={"name": "waypoint-next"})
        assert len(pods(scene, "waypoint-next")) == 1
        assert set() == made(scene)
        answers = sending.stop()
        sending = None
        assert len(answers) > 500
        assert not failures(answers)
    finally:
        if sending:
            sending.stop()
        scene.clear()
