"""The state of a namespace's waypoints, from the admin interfaces of their Envoys."""

import json

import pytest

from components._internal import envoy
from tests.unit.guard.envoys import cluster, clusters, dump, endpoint, to
from tests.unit.guard.observations import destination
from waypoint_lab import kubectl
from waypoint_lab.guard import waypoints

CLASSES = {"waypoint": "istio-waypoint", "ingress": "istio"}
GATEWAYS = [{"metadata": {"name": name}, "spec": {"gatewayClassName": kind}} for name, kind in CLASSES.items()]
PODS = [{"metadata": {"name": name}} for name in ("one", "two")]
ENDS = {"metadata": {"name": "three", "deletionTimestamp": "2026-01-01T00:00:00Z"}}


def test_state_has_what_every_pod_rejects_refuses_and_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    rejected = {"dynamic_listeners": [{"error_state": {"details": "bad value"}}]}
    dumps = {"one": dump("web", to(old=1)), "two": dump("web", to(new=1))}
    dumps["two"]["configs"].append(rejected)

    def run(_target: object, *command: str, **_limits: object) -> str:
        pod, path = command[3], command[-1]
        if path == waypoints.DENIED:
            return "http.a.rbac.denied: 2\nhttp.b.rbac.denied: 1\n"
        return json.dumps({envoy.DUMP: dumps[pod], envoy.REQUESTS: clusters(old=[endpoint("a")])}[path])

    selector = "--selector=gateway.networking.k8s.io/gateway-name in (waypoint)"
    pods = {selector: [*PODS, ENDS]}
    monkeypatch.setattr(kubectl, "items", lambda _target, kind, *where: pods[where[-1]] if kind == "pods" else GATEWAYS)
    monkeypatch.setattr(kubectl, "run", run)
    found = waypoints.Waypoints(None, "shop")  # type: ignore[arg-type]
    state = found.state()
    assert (found.names, state.rejections, state.refused) == (["waypoint"], {"two": "bad value"}, 6)
    assert [cluster("new")] == [item.cluster for item in state.broken]
    assert {destination("web")} == state.services
