"""Fields that the node does not carry out are refused at once, in one line."""

import json
from typing import Any

import pytest

from tests.conftest import Kubectl
from tests.embedded.manifests import made

CONTAINER = {"name": "c", "image": "python:3.11"}
RULES = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]


def attempt(kubectl: Kubectl, given: dict[str, Any]) -> str:
    """Return the error of creating an object, or nothing; it is not created."""
    return kubectl("apply", "--dry-run=server", "-f", "-", given=json.dumps(given), check=False).stderr.strip()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"hostNetwork": True}, "hostNetwork, hostPID, hostIPC: Pods of this node have namespaces of their own"),
        ({"hostPID": True}, "hostNetwork, hostPID, hostIPC: Pods of this node have namespaces of their own"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}, "hostPath: Pods of this node have no access"),
        ({"activeDeadlineSeconds": 3}, "activeDeadlineSeconds: this node ends no Pod by a deadline"),
        (
            {"containers": [{**CONTAINER, "restartPolicy": "Never", "restartPolicyRules": RULES}]},
            "restartPolicyRules: this node restarts containers by their restartPolicy alone",
        ),
        ({"setHostnameAsFQDN": True}, "setHostnameAsFQDN: hosts of this node have short names"),
        ({"hostUsers": False}, "hostUsers: only containers with runAsUser have a user namespace of their own"),
        (
            {"containers": [{**CONTAINER, "ports": [{"containerPort": 80, "hostPort": 80}]}]},
            "hostPort: this node opens no ports for Pods; use a Service of type LoadBalancer",
        ),
    ],
)
def test_pod_with_a_field_without_effect_is_refused(kubectl: Kubectl, spec: dict[str, Any], message: str) -> None:
    error = attempt(kubectl, made("Pod", "attempt", "default", spec={"containers": [CONTAINER], **spec}))
    assert message in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"containers": [{**CONTAINER, "image": "python:3.12"}]}, "image: this node does not replace the image"),
        ({"activeDeadlineSeconds": 3}, "activeDeadlineSeconds: this node ends no Pod by a deadline"),
    ],
)
def test_pod_update_without_effect_is_refused(kubectl: Kubectl, change: dict[str, Any], message: str) -> None:
    pod = made("Pod", "update-attempt", "default", spec={"containers": [CONTAINER]})
    kubectl("apply", "-f", "-", given=json.dumps(pod))
    try:
        assert message in attempt(kubectl, {**pod, "spec": {**pod["spec"], **change}})
        assert kubectl("label", "pod", "update-attempt", "-n", "default", "other=label")
    finally:
        kubectl("delete", "pod", "update-attempt", "-n", "default", "--wait=false")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ports": [{"port": 53, "protocol": "UDP"}]}, "Service: this node carries TCP"),
        ({"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}, "externalIPs: this node takes no other addresses"),
        (
            {"ports": [{"port": 80}], "type": "LoadBalancer", "loadBalancerSourceRanges": ["192.0.2.0/24"]},
            "loadBalancerSourceRanges: addresses of this node are open to this machine",
        ),
    ],
)
def test_service_with_a_field_without_effect_is_refused(kubectl: Kubectl, spec: dict[str, Any], message: str) -> None:
    assert message in attempt(kubectl, made("Service", "attempt", "default", spec=spec))


def test_headless_service_may_have_ports_of_udp(kubectl: Kubectl) -> None:
    spec = {"clusterIP": "None", "ports": [{"port": 53, "protocol": "UDP"}]}
    assert attempt(kubectl, made("Service", "attempt", "default", spec=spec)) == ""


def test_injection_of_sidecars_is_refused(kubectl: Kubectl) -> None:
    space = made("Namespace", "attempt", "", labels={"istio-injection": "enabled"})
    pod = made(
        "Pod", "attempt", "default", labels={"sidecar.istio.io/inject": "true"}, spec={"containers": [CONTAINER]}
    )
    for given in (space, pod):
        assert "this node injects no sidecars" in attempt(kubectl, given)
    assert attempt(kubectl, made("Namespace", "attempt", "", labels={"istio-injection": "disabled"})) == ""


def test_network_policy_is_refused(kubectl: Kubectl) -> None:
    given = made("NetworkPolicy", "attempt", "default", "networking.k8s.io/v1", spec={"podSelector": {}})
    assert "NetworkPolicy: this node enforces none" in attempt(kubectl, given)


def test_pod_with_usual_fields_is_accepted(kubectl: Kubectl) -> None:
    usual = {
        "containers": [{**CONTAINER, "ports": [{"containerPort": 80}]}],
        "hostNetwork": False,
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
    assert attempt(kubectl, made("Pod", "attempt", "default", spec=usual)) == ""


@pytest.mark.parametrize(
    ("kind", "spec"), [("WorkloadEntry", {"address": "192.0.2.1"}), ("WorkloadGroup", {"template": {}})]
)
def test_workload_of_another_machine_is_refused(kubectl: Kubectl, kind: str, spec: dict[str, Any]) -> None:
    error = attempt(kubectl, made(kind, "attempt", "default", "networking.istio.io/v1", spec=spec))
    assert "this node carries no workloads of other machines" in error
