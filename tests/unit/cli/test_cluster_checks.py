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


def review(kind: str, verb: str, resource: str, *, allowed: bool) -> dict[str, Any]:
    asked = {"verb": verb, "resource": resource, "namespace": "n"}
    return {"kind": kind, "spec": {"resourceAttributes": asked}, "status": {"allowed": allowed}}


def test_a_cluster_with_all_crds_lacks_none() -> None:
    assert [item.state for item in cluster_checks.gateway_api(CRDS)] == [State.OK, State.OK]


def test_missing_crds_are_named_with_the_command_that_installs_them() -> None:
    some = {name: version for name, version in CRDS.items() if not name.startswith(("httproutes", "telemetries"))}
    gateway, istio = cluster_checks.gateway_api(some)
    assert (gateway.state, gateway.found) == (State.MISSING, "httproutes.gateway.networking.k8s.io not installed")
    assert gateway.fix.startswith("kubectl apply --server-side")
    assert (istio.state, istio.fix) == (State.MISSING, "istioctl install --set profile=ambient")


@pytest.mark.parametrize(("version", "state"), [("v1.0.0", State.MISSING), ("v1.1.0", State.OK), ("", State.OK)])
def test_an_older_gateway_api_is_missing_what_a_service_parent_needs(version: str, state: State) -> None:
    found, _ = cluster_checks.gateway_api({**CRDS, "httproutes.gateway.networking.k8s.io": version})
    assert found.state is state


def test_a_cluster_without_ambient_is_told_how_to_get_it() -> None:
    for classes in ([], [{"status": {"conditions": [{"type": "Accepted", "status": "Unknown"}]}}]):
        first, *_ = cluster_checks.ambient(classes, [istiod("1.31.0"), ztunnel(1, 1)])
        assert (first.state, first.fix) == (State.MISSING, "istioctl install --set profile=ambient")


def test_an_old_istio_and_a_ztunnel_that_is_not_ready_are_missing() -> None:
    _, version, data_plane = cluster_checks.ambient([ACCEPTED], [istiod("1.22.3"), ztunnel(1, 2)])
    assert (version.state, version.found) == (State.MISSING, "1.22.3 is too old, 1.24 or newer is needed")
    assert (data_plane.state, data_plane.found) == (State.MISSING, "1 of 2 nodes ready")


def test_a_canary_waypoint_needs_an_istiod_and_a_ztunnel_that_know_one() -> None:
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


def test_what_cannot_be_seen_is_unknown_and_stands_in_nobodys_way() -> None:
    found = cluster_checks.ambient([ACCEPTED], [])
    assert [item.state for item in found] == [State.OK, State.UNKNOWN, State.UNKNOWN]


def test_namespaces_that_are_missing_or_not_enrolled_are_named() -> None:
    backends, frontends = cluster_checks.enrolled(LabConfig(), {"bookinfo-backends": {"metadata": {"labels": {}}}})
    assert backends.fix == "kubectl label namespace bookinfo-backends istio.io/dataplane-mode=ambient"
    assert frontends.found == "does not exist"


def test_a_service_without_the_port_says_which_ports_it_has() -> None:
    found = cluster_checks.service(LabConfig(), {"spec": {"ports": [{"port": 80}]}})
    assert (found.state, found.found) == (State.MISSING, "has no port 9080, but 80")


def test_denied_verbs_are_listed_for_each_who_needs_them() -> None:
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
def test_a_cluster_of_ones_own_needs_the_target_existing(key: str) -> None:
    with pytest.raises(ConfigError, match=r"set target\.kind to existing"):
        lab_config(target={key: "west"})
    assert lab_config(target={"kind": "existing", key: "west"}).target.kind == "existing"


def test_the_target_kind_has_a_kubeconfig_of_its_own_and_brings_bookinfo() -> None:
    config = lab_config(target={"kind": "kind", "name": "two"})
    assert config.target.kubeconfig == ".lab/kind/two.kubeconfig"
    assert config.installs_bookinfo
    assert not lab_config(target={"kind": "kind"}, app={"deployBookinfo": False}).installs_bookinfo


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="use embedded or existing or kind"):
        lab_config(target={"kind": "minikube"})
