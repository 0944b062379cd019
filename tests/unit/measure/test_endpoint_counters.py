"""Counters of endpoints, over the life of waypoints and of endpoints."""

import json
from typing import Any

import pytest

from waypoint_lab import kubectl
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.errors import KubectlError
from waypoint_lab.measure import endpoint_counters
from waypoint_lab.measure.endpoint_counters import Counts, Destination, EndpointCounters

HOST = "web-{}.shop.svc.cluster.local"
CANARY, BASELINE = Destination(HOST.format("canary"), 80), Destination(HOST.format("baseline"), 80)
FORBIDDEN = (
    'kubectl exec: Error from server (Forbidden): pods "w-1" is forbidden: User "ci" cannot create resource "pods/exec"'
)


def endpoint(address: str, requests: int, errors: int = 0, active: int = 0) -> dict[str, Any]:
    values = {"total": requests, "success": requests - errors - active, "error": errors, "active": active}
    # Envoy leaves out a value of 0.
    stats = [{"name": f"rq_{name}", **({"value": str(value)} if value else {})} for name, value in values.items()]
    internal = {"envoy_internal_address": {"server_listener_name": "connect_originate", "endpoint_id": address}}
    return {"address": internal, "stats": stats}


def answer(subset: str = "http", **services: list[dict[str, Any]]) -> dict[str, Any]:
    statuses = [
        {"name": f"inbound-vip|80|{subset}|{HOST.format(name)}", "host_statuses": hosts}
        for name, hosts in services.items()
    ]
    other = [{"name": name, "host_statuses": [endpoint("i", 9)]} for name in ("xds-grpc", "encap", "inbound|80||")]
    return {"cluster_statuses": [*statuses, *other]}


def counters(**pods: dict[str, Any]) -> EndpointCounters:
    return EndpointCounters({name: endpoint_counters.endpoints(found) for name, found in pods.items()})


class Cluster:
    """Pods of a waypoint; an answer that is an error is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, Any] = {}
        self.states: dict[str, dict[str, Any]] = {}
        monkeypatch.setattr(kubectl, "items", lambda _target, *_what: [self.pod(name) for name in self.answers])
        monkeypatch.setattr(kubectl, "get", lambda _target, *what: self.pod(what[-1]))
        monkeypatch.setattr(kubectl, "run", lambda _target, *what, **_limits: self.ask(what[3]))

    def pod(self, name: str) -> dict[str, Any]:
        state = self.states.get(name, {"state": {"running": {}}, "started": True})
        return {"metadata": {"name": name}, "status": {"containerStatuses": [{"name": "istio-proxy", **state}]}}

    def ask(self, pod: str) -> str:
        found = self.answers[pod]
        if callable(found):
            found = found()
        if isinstance(found, Exception):
            raise found
        return json.dumps(found)

    def read(self) -> EndpointCounters:
        return endpoint_counters.read(ExistingTarget(), "shop", ["w"])


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_since_with_several_replicas_adds_the_tries_of_all_endpoints() -> None:
    before = counters(one=answer(canary=[endpoint("a", 10)]), two=answer(canary=[endpoint("a", 5, errors=5)]))
    one = answer(canary=[endpoint("a", 13, errors=1)], baseline=[endpoint("b", 7, active=2)])
    after = counters(one=one, two=answer(canary=[endpoint("a", 9, errors=7)]))
    assert {CANARY: Counts(7, 4, 3, 0), BASELINE: Counts(7, 5, 0, 2)} == after.since(before)


def test_since_after_a_restart_of_envoy_counts_the_new_counters_whole() -> None:
    before = counters(one=answer(canary=[endpoint("a", 10)]))
    after = counters(one=answer(canary=[endpoint("a", 4, errors=1)]))
    assert {CANARY: Counts(4, 3, 1)} == after.since(before)


def test_since_with_new_pods_and_endpoints_counts_them_whole() -> None:
    before = counters(one=answer(canary=[endpoint("a", 10), endpoint("b", 3)]), two=answer(canary=[endpoint("a", 8)]))
    after = counters(
        one=answer(canary=[endpoint("a", 11), endpoint("c", 4)]), three=answer(baseline=[endpoint("d", 2)])
    )
    assert {CANARY: Counts(5, 5, 0), BASELINE: Counts(2, 2, 0)} == after.since(before)


def test_endpoints_of_a_subset_have_a_destination_of_their_own() -> None:
    found = endpoint_counters.endpoints(answer("http/v2", canary=[endpoint("a", 1), endpoint("a", 2)]))
    assert [Destination(CANARY.host, 80, "v2")] == list(found)
    assert [Counts(3, 3, 0)] == list(found[Destination(CANARY.host, 80, "v2")].values())


@pytest.mark.parametrize("state", [{"state": {"waiting": {}}}, {"state": {"running": {}}, "started": False}])
def test_read_leaves_out_a_pod_whose_envoy_has_not_started(cluster: Cluster, state: dict[str, Any]) -> None:
    cluster.answers = {"w-1": answer(canary=[endpoint("a", 1)]), "w-2": KubectlError("not asked")}
    cluster.states["w-2"] = state
    assert list(cluster.read().pods) == ["w-1"]


def test_read_leaves_out_a_pod_that_ends_meanwhile(cluster: Cluster) -> None:
    def ending() -> KubectlError:
        cluster.states["w-2"] = {"state": {"terminated": {}}}
        return KubectlError("kubectl exec: container not found")

    cluster.answers = {"w-1": answer(canary=[endpoint("a", 1)]), "w-2": ending}
    assert list(cluster.read().pods) == ["w-1"]


def test_read_of_a_running_pod_that_does_not_answer_raises(cluster: Cluster) -> None:
    cluster.answers = {"w-1": KubectlError("kubectl exec: no answer within 20 s")}
    with pytest.raises(KubectlError, match="no answer within 20 s"):
        cluster.read()


def test_read_without_permission_names_it_in_one_line(cluster: Cluster) -> None:
    cluster.answers = {"w-1": KubectlError(FORBIDDEN)}
    with pytest.raises(KubectlError) as raised:
        cluster.read()
    assert str(raised.value) == (
        f"waypoints of namespace shop: their counters cannot be read ({FORBIDDEN}); grant `get` and `list` on pods "
        "and `create` on pods/exec there"
    )


@pytest.mark.parametrize("text", ['{"cluster_statuses": [{}]}', '{"cluster_statuses": 1}', "[]", "no JSON"])
def test_read_of_an_answer_of_another_shape_raises(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    cluster.answers = {"w-1": None}
    monkeypatch.setattr(kubectl, "run", lambda *_what, **_limits: text)
    with pytest.raises(KubectlError, match="counters of shop/w-1: the answer has an unknown shape"):
        cluster.read()
