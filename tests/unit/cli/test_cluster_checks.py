from typing import Any

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.cli import cluster_checks
from waypoint_lab.cli.cluster_checks import State
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError

CRDS = dict.fromkeys(cluster_checks.CRDS, "v1.6.0")
ACCEPTED = {"status": {"conditions": [{"type": "Accepted", "status": "True"}]}}


def istiod(version: str) -> dict[str, Any]:
    image = f"docker.io/istio/pilot:{version}"
    return {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}


def ztunnel(ready: int, wanted: int, version: str = "") -> dict[str, Any]:
    status = {"numberReady": ready, "desiredNumberScheduled": wanted}
    image = {"template": {"spec": {"containers": [{"image": f"docker.io/istio/ztunnel:{version}"}]}}}
    return {"kind": "DaemonSet", "metadata": {"namespace": "istio-system"}, "status": status, "spec": image}


def review(kind: str, verb: str, resource: str, *, allowed: bool, namespace: str = "n") -> dict[str, Any]:
    asked = {"verb": verb, "resource": resource, "namespace": namespace}
    return {"kind": kind, "spec": {"resourceAttributes": asked}, "status": {"allowed": allowed}}


def test_gateway_api_with_all_crds_is_ok() -> None:
    assert [item.state for item in cluster_checks.gateway_api(CRDS)] == [State.OK, State.OK]


def test_gateway_api_without_crds_names_them_and_the_fix() -> None:
    some = {name: version for name, version in CRDS.items() if not name.startswith(("httproutes", "telemetries"))}
    gateway, istio = cluster_checks.gateway_api(some)
    assert (gateway.state, gateway.found) == (State.MISSING, "httproutes.gateway.networking.k8s.io not installed")
    assert gateway.fix.startswith("kubectl apply --server-side")
    assert (istio.state, istio.fix) == (State.MISSING, "istioctl install --set profile=ambient")


@pytest.mark.parametrize(("version", "state"), [("v1.0.0", State.MISSING), ("v1.1.0", State.OK), ("", State.OK)])
def test_gateway_api_before_1_1_is_missing(version: str, state: State) -> None:
    found, _ = cluster_checks.gateway_api({**CRDS, "httproutes.gateway.networking.k8s.io": version})
    assert found.state is state


def test_ambient_without_accepted_class_names_the_fix() -> None:
    for classes in ([], [{"status": {"conditions": [{"type": "Accepted", "status": "Unknown"}]}}]):
        first, *_ = cluster_checks.ambient(classes, [istiod("1.31.0"), ztunnel(1, 1)])
        assert (first.state, first.fix) == (State.MISSING, "istioctl install --set profile=ambient")


@pytest.mark.parametrize(
    ("image", "state", "found"),
    [
        ("istio/pilot:1.20.3@sha256:9f2c1d4e5b6a", State.MISSING, "1.20.3 is too old, 1.24 or newer is needed"),
        ("registry:5000/istio/pilot:1.31.0@sha256:9f2c", State.OK, "1.31.0"),
        ("registry:5000/istio/pilot", State.UNKNOWN, "no tag: its image names no version"),
        ("istio/pilot@sha256:9f2c1d4e5b6a", State.UNKNOWN, "no tag: its image names no version"),
        ("istio/pilot:latest", State.UNKNOWN, "latest: its image names no version"),
    ],
)
def test_ambient_takes_the_version_from_the_tag_alone(image: str, state: State, found: str) -> None:
    one = {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{"image": image}]}}}}
    _, version, _ = cluster_checks.ambient([ACCEPTED], [one])
    assert (version.state, version.found) == (state, found)


@pytest.mark.parametrize("nodes", [0, 2])
def test_ambient_old_istio_and_ztunnel_without_a_ready_node_are_missing(nodes: int) -> None:
    _, version, data_plane = cluster_checks.ambient([ACCEPTED], [istiod("1.22.3"), ztunnel(0, nodes)])
    assert (version.state, version.found) == (State.MISSING, "1.22.3 is too old, 1.24 or newer is needed")
    assert (data_plane.state, data_plane.found) == (State.MISSING, f"0 of {nodes} nodes ready")


@pytest.mark.parametrize(
    ("version", "state", "found"),
    [
        ("1.31.0", State.UNKNOWN, "99 of 100 nodes ready"),
        ("1.22.3", State.MISSING, "1.22.3 is too old, 1.24 or newer is needed"),
    ],
)
def test_ambient_one_node_without_ztunnel_stops_nothing_but_an_old_one_does(
    version: str, state: State, found: str
) -> None:
    *_, data_plane = cluster_checks.ambient([ACCEPTED], [istiod("1.31.0"), ztunnel(99, 100, version)])
    assert (data_plane.state, data_plane.found) == (state, found)


def test_ambient_canary_waypoint_needs_istiod_and_ztunnel_1_31() -> None:
    _, version, data_plane = cluster_checks.ambient(
        [ACCEPTED], [istiod("1.31.0"), ztunnel(1, 1, "1.30.4")], cluster_checks.CANARY
    )
    assert version.state is State.OK
    assert data_plane.state is State.MISSING
    assert data_plane.found == "1.30.4 is too old for a canary waypoint, 1.31 or newer is needed"
    parts = [istiod("1.30.4"), ztunnel(1, 1, "1.30.4")]
    assert [item.state for item in cluster_checks.ambient([ACCEPTED], parts)] == [State.OK] * 3
    assert [item.state for item in cluster_checks.ambient([ACCEPTED], parts, cluster_checks.CANARY)][1:] == [
        State.MISSING
    ] * 2


def test_ambient_without_workloads_is_unknown() -> None:
    found = cluster_checks.ambient([ACCEPTED], [])
    assert [item.state for item in found] == [State.OK, State.UNKNOWN, State.UNKNOWN]


def test_enrolled_names_missing_and_unenrolled_namespaces() -> None:
    backends, frontends = cluster_checks.enrolled(LabConfig(), {"bookinfo-backends": {"metadata": {"labels": {}}}})
    assert backends.fix == "kubectl label namespace bookinfo-backends istio.io/dataplane-mode=ambient"
    assert frontends.found == "does not exist"


def test_service_without_the_port_names_its_ports() -> None:
    found = cluster_checks.service(LabConfig(), {"spec": {"ports": [{"port": 80}]}})
    assert (found.state, found.found) == (State.MISSING, "has no port 9080, but 80")


def test_permissions_list_denied_verbs_per_account() -> None:
    own = "SelfSubjectAccessReview"
    rows = [
        review(own, "create", "httproutes", allowed=False),
        review(own, "patch", "services", allowed=True),
        review("SubjectAccessReview", "create", "deployments", allowed=True),
    ]
    mine, istiods = cluster_checks.permissions(rows)
    assert (mine.state, mine.found) == (State.MISSING, "not allowed in n: create httproutes")
    assert istiods.state is State.OK


@pytest.mark.parametrize("key", ["kubeconfig", "context"])
def test_target_kubeconfig_or_context_needs_kind_existing(key: str) -> None:
    with pytest.raises(ConfigError, match=r"set target\.kind to existing"):
        lab_config(target={key: "west"})
    assert lab_config(target={"kind": "existing", key: "west"}).target.kind == "existing"


def test_target_kind_has_own_kubeconfig_and_installs_bookinfo() -> None:
    config = lab_config(target={"kind": "kind", "name": "two"})
    assert config.target.kubeconfig == ".lab/kind/two.kubeconfig"
    assert config.installs_bookinfo
    assert not lab_config(target={"kind": "kind"}, app={"deployBookinfo": False}).installs_bookinfo


def test_target_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="use embedded or existing or kind"):
        lab_config(target={"kind": "minikube"})


def test_permissions_in_two_namespaces_are_two_checks() -> None:
    kind = "SelfSubjectAccessReview"
    reviews = [review(kind, "create", "gateways", allowed=True)]
    reviews += [review(kind, "create", "pods", allowed=False, namespace="users")]
    found = [(item.state, item.found) for item in cluster_checks.permissions(reviews)]
    assert found == [(State.OK, "sufficient in n"), (State.MISSING, "not allowed in users: create pods")]
