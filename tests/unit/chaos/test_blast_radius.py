"""Objects in the cluster by which a declared fault would hit no request."""

from typing import Any

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.chaos import blast_radius
from waypoint_lab.stages import fault_expiry

LASTING = {"durationSeconds": 30, "start": "1"}
SERVICE = {"metadata": {"name": "reviews"}, "spec": {"ports": [{"port": 9080}]}}
ROUTE = {
    "kind": "HTTPRoute",
    "metadata": {"name": "mine"},
    "spec": {"parentRefs": [{"kind": "Service", "name": "reviews"}]},
}
RULE = {"kind": "VirtualService", "metadata": {"name": "theirs"}, "spec": {"hosts": ["reviews"], "http": [{}]}}


class Cluster:
    """The Service, its routes, and the record of expired faults."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.service: dict[str, Any] | None = SERVICE
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.expired = frozenset[str]()
        monkeypatch.setattr(kubectl, "get", lambda _target, *_what: self.service)
        monkeypatch.setattr(kubectl, "items", lambda _target, kind, *_what: self.objects.get(kind.split(".")[0], []))
        monkeypatch.setattr(fault_expiry.RecordReader, "result", lambda _reader: self.expired)
        monkeypatch.setattr(fault_expiry.RecordReader, "__init__", lambda _reader, _config: None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_obstacles_of_a_fault_that_hits_requests_are_none(cluster: Cluster) -> None:
    assert blast_radius.obstacles(lab_config("waypoint", "abort", fault=LASTING)) == []


def test_obstacles_without_a_fault_say_so(cluster: Cluster) -> None:
    want = ["no fault is declared: turn on stages.delay or stages.abort"]
    assert blast_radius.obstacles(lab_config("waypoint")) == want


def test_obstacles_of_an_expired_fault_name_its_start(cluster: Cluster) -> None:
    config = lab_config("waypoint", "abort", fault=LASTING)
    cluster.expired = frozenset({fault_expiry.fault_id(config)})
    assert blast_radius.obstacles(config) == ["the fault has expired; set another fault.start to start it again"]


def test_obstacles_are_those_of_the_service_and_its_routes(cluster: Cluster) -> None:
    labels = {"istio.io/use-waypoint": "none"}
    cluster.service = {"metadata": {"labels": labels}, "spec": {"ports": [{"port": 80}, {"port": 81}]}}
    cluster.objects = {"httproutes": [ROUTE], "virtualservices": [RULE]}
    assert blast_radius.obstacles(lab_config("waypoint", "abort", fault={"abort": {"percent": 0}})) == [
        "fault.abort.percent is 0",
        "reviews has no port 9080, but 80, 81",
        "Service reviews bypasses the waypoint by its label istio.io/use-waypoint: none",
        "HTTPRoute mine on the Service hides it",
        "VirtualService theirs has the same host and may hide it",
    ]


def test_obstacles_without_the_service_name_it(cluster: Cluster) -> None:
    cluster.service = None
    want = ["there is no Service bookinfo-backends/reviews"]
    assert blast_radius.obstacles(lab_config("waypoint", "abort")) == want
