"""Copies of the policies of the application's Service for the backends that the stack creates."""

from typing import Any

import pytest

from tests.unit.components.recording import run
from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.errors import ConfigError, KubectlError
from waypoint_lab.program import build
from waypoint_lab.program.backend_checks import Application
from waypoint_lab.program.backend_policies import copies

BACKENDS = ["reviews-baseline", "reviews-premium", "reviews-stable"]
DENY = {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}]}


def refs(*services: str, kind: str = "Service") -> list[dict[str, str]]:
    return [{"group": "", "kind": kind, "name": name} for name in services]


def policy(name: str = "users", kind: str = "AuthorizationPolicy", **spec: Any) -> dict[str, Any]:
    """Return a policy as the cluster has it."""
    meta = {"name": name, "namespace": "bookinfo-backends", "uid": "1", "labels": {"app.kubernetes.io/instance": "x"}}
    return {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": meta, "spec": {**DENY, **spec}}


def found(monkeypatch: pytest.MonkeyPatch, *policies: dict[str, Any], on: tuple[str, ...] = ()) -> list[Any]:
    monkeypatch.setattr(kubectl, "items", lambda *_, **__: [*policies])
    return copies(lab_config("waypoint", *on))


@pytest.mark.parametrize("kind", ["AuthorizationPolicy", "RequestAuthentication"])
def test_copies_policy_of_the_service_is_bound_to_the_backends(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    (copy,) = found(monkeypatch, policy(kind=kind, targetRefs=refs("reviews")))
    assert copy == {
        "apiVersion": "security.istio.io/v1",
        "kind": kind,
        "metadata": {
            "name": "waypoint-lab-users",
            "namespace": "bookinfo-backends",
            "annotations": {"waypoint-lab/copy-of": "users"},
        },
        "spec": {**DENY, "targetRefs": refs(*BACKENDS)},
    }


def test_copies_old_reference_and_dry_run_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    given = policy(targetRef=refs("reviews")[0])
    given["metadata"] |= {"annotations": {"istio.io/dry-run": "true", "x": "y"}, "labels": {"istio.io/rev": "next"}}
    (copy,) = found(monkeypatch, given)
    assert copy["metadata"]["annotations"] == {"istio.io/dry-run": "true", "waypoint-lab/copy-of": "users"}
    assert copy["metadata"]["labels"] == {"istio.io/rev": "next"}
    assert copy["spec"] == {**DENY, "targetRefs": refs(*BACKENDS)}


def test_copies_bind_only_what_the_policy_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    (copy,) = found(monkeypatch, policy(targetRefs=refs("reviews", "reviews-premium")))
    assert copy["spec"]["targetRefs"] == refs("reviews-baseline", "reviews-stable")


@pytest.mark.parametrize(
    "given",
    [
        policy(targetRefs=refs("details")),
        policy(targetRefs=refs("reviews", kind="Gateway")),
        policy(selector={"matchLabels": {"app": "reviews"}}),
        policy(targetRefs=refs("reviews", *BACKENDS)),
        policy("reviews-l7-policy", targetRefs=refs("reviews")),
        policy(kind="Other", targetRefs=refs("reviews")),
        {**policy(), "spec": None},
    ],
    ids=["other Service", "Gateway", "selector", "all named", "own", "other kind", "no spec"],
)
def test_copies_of_other_policies_are_not_made(monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]) -> None:
    assert found(monkeypatch, given) == []


def test_copies_include_the_failing_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "items", lambda *_, **__: [policy(targetRefs=refs("reviews"))])
    (copy,) = copies(lab_config("waypoint", "abort", fault={"at": "upstream"}))
    assert refs("reviews-fault-upstream")[0] in copy["spec"]["targetRefs"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (lab_config(), "no waypoint"),
        (lab_config("waypoint", app={"backends": {name: {"service": name} for name in ("baseline", "canary")}}), "own"),
    ],
)
def test_copies_without_created_services_ask_nothing(monkeypatch: pytest.MonkeyPatch, config: Any, why: str) -> None:
    monkeypatch.setattr(kubectl, "items", lambda *_, **__: pytest.fail(why))
    assert copies(config) == []


@pytest.mark.parametrize("text", ["kubectl get: User x cannot list resource (Forbidden)", "no answer within 30 s"])
def test_copies_policies_that_cannot_be_read_are_one_line(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KubectlError(text)

    monkeypatch.setattr(kubectl, "items", fail)
    with pytest.raises(
        ConfigError, match=r"^waypoint-lab:app: the policies of Service .* cannot be read.*; allow to list"
    ):
        copies(lab_config("waypoint"))


def test_copies_without_policies_in_the_cluster_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KubectlError('kubectl get: the server doesn\'t have a resource type "authorizationpolicies"')

    monkeypatch.setattr(kubectl, "items", fail)
    assert copies(lab_config("waypoint")) == []


def test_build_copies_are_created_before_the_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    made = found(monkeypatch, policy(targetRefs=refs("reviews")))
    record = run(lambda: build.build(lab_config("waypoint"), application=Application([{"port": 9080}], made)))
    assert record.kinds()["waypoint-lab-users-authorizationpolicy"] == "AuthorizationPolicy"
    kept = record.inputs("waypoint-lab-users-authorizationpolicy")["metadata"]["annotations"]
    assert kept == {"waypoint-lab/copy-of": "users", "waypoint-lab/owner": "waypoint-lab/test"}
    for name in BACKENDS:
        assert "waypoint-lab-users-authorizationpolicy" in record.needs(name)
