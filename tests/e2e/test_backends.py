"""Backends beside baseline and canary: cohorts get them by name, and the Services that the stack makes are whole."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Kubectl
from tests.e2e.scene import NAMESPACE, Scene, until
from waypoint_lab.measure.client import Endpoint, Group, send

ADMIN = {"name": "http-admin", "port": 9081, "targetPort": 9080, "protocol": "TCP", "appProtocol": "http"}
DENIED, WRITES = {"paths": ["/reviews/1"]}, {"methods": ["POST"]}
WAYPOINTS = "gateways"
APP = {
    "backends": {
        "baseline": {"service": "reviews-baseline", "selector": {"app": "reviews", "version": "v1"}},
        "canary": {"service": "reviews-stable", "selector": {"app": "reviews", "version": "v3"}},
        "gold": {"service": "reviews-gold", "selector": {"app": "reviews", "version": "v2"}},
        "details": {"service": "details"},
    },
    "cohorts": {"gold": {"cookie": "tier", "value": "gold"}},
    "identify": {"values": {"baseline": "none", "canary": "red", "gold": "black"}},
}


@pytest.fixture(scope="module")
def backends(scene: Scene, kubectl: Kubectl) -> Iterator[Scene]:
    """Return the stack with a backend `gold` and its waypoint in another namespace; `reviews` has a second port."""
    scene.clear()
    kubectl("create", "namespace", WAYPOINTS)
    patch = ("patch", "service", "reviews", "--namespace", NAMESPACE, "--type=json", "--patch")
    kubectl(*patch, json.dumps([{"op": "add", "path": "/spec/ports/-", "value": ADMIN}]))
    scene.up("canary", "premium", app=APP, canary={"weight": 20}, waypoint={"namespace": WAYPOINTS})
    yield scene
    scene.clear()
    kubectl(*patch, json.dumps([{"op": "remove", "path": "/spec/ports/1"}]))
    kubectl("delete", "namespace", WAYPOINTS)


def spec(kubectl: Kubectl, service: str) -> dict[str, Any]:
    """Return the spec of a Service."""
    found: dict[str, Any] = json.loads(
        kubectl("get", "service", service, "--namespace", NAMESPACE, "--output=json").stdout
    )["spec"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_cohort_gets_the_backend_of_its_name(backends: Scene) -> None:
    verdicts = backends.verdicts()
    assert verdicts["gold to gold"]["measured"] == 1.0
    assert verdicts["others to the canary"]["declared"] == 0.2
    assert backends.gateways() == []
    assert backends.enrollment()["istio.io/use-waypoint-namespace"] == WAYPOINTS
    backends.assert_unchanged()


def policy(spec: dict[str, Any]) -> str:
    """Return a user's policy of the application's Service."""
    target = {"group": "", "kind": "Service", "name": "reviews"}
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "users", "namespace": NAMESPACE},
            "spec": {"targetRefs": [target], **spec},
        }
    )


def statuses(scene: Scene, service: str, *paths: str) -> list[int]:
    """Return the status of a request to each path of a Service."""
    groups = [Group((Endpoint(service, path=path),), 1, 1) for path in paths]
    return [answers[0].status for answers in send(scene.config(), groups)]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_users_policy_of_the_service_holds_for_the_backends(backends: Scene, kubectl: Kubectl) -> None:
    kubectl("apply", "--filename=-", given=policy({"action": "DENY", "rules": [{"to": [{"operation": DENIED}]}]}))
    assert backends.apply().returncode == 0
    every = ("reviews", "reviews-baseline", "reviews-stable", "reviews-gold")
    for name in every:
        until(lambda name=name: statuses(backends, name, "/reviews/1") == [403], 20, f"{name} refuses")
        assert statuses(backends, name, "/reviews/0") == [200], name
    assert backends.verdicts()["gold to gold"]["measured"] == 1.0
    backends.assert_unchanged()
    kubectl("apply", "--filename=-", given=policy({"action": "ALLOW", "rules": [{"to": [{"operation": WRITES}]}]}))
    assert backends.apply().returncode == 0
    for name in every:
        until(lambda name=name: statuses(backends, name, "/reviews/0") == [403], 20, f"{name} follows the change")
    kubectl("delete", "authorizationpolicy", "users", "--namespace", NAMESPACE)
    assert backends.apply().returncode == 0
    assert not [name for name in backends.objects() if "authorizationpolicy" in name]
    until(lambda: statuses(backends, "reviews-gold", "/reviews/1") == [200], 20, "the copy is gone")


@pytest.mark.slow
def test_backends_have_all_ports_of_the_service(backends: Scene, kubectl: Kubectl) -> None:
    for name in ("reviews-baseline", "reviews-stable", "reviews-gold"):
        assert spec(kubectl, "reviews")["ports"] == spec(kubectl, name)["ports"]
    assert len(spec(kubectl, "details")["ports"]) == 1, "a Service that exists is left alone"
