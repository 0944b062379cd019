"""Capabilities of containers."""

from typing import Any

import pytest

from embedded import groups
from embedded.node.kubelet.environment import MissingReference
from embedded.node.kubelet.security import (
    ADDABLE,
    USUAL,
    capabilities,
    no_new_privileges,
    supplemental_groups,
    user_and_group,
)

ALL_USUAL = sum(1 << bit for bit in USUAL.values())


def container(**context: Any) -> dict[str, Any]:
    return {"name": "c", "securityContext": context}


def test_capabilities_default_is_the_usual_set_without_administration() -> None:
    assert capabilities({"name": "c"}) == ALL_USUAL
    for forbidden in (12, 16, 19, 21, 27):  # NET_ADMIN, SYS_MODULE, SYS_PTRACE, SYS_ADMIN, MKNOD
        assert not ALL_USUAL >> forbidden & 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"drop": ["ALL"]}, 0),
        ({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, 1 << 10),
        ({"drop": ["CAP_KILL"]}, ALL_USUAL & ~(1 << 5)),
        ({"add": ["NET_ADMIN"]}, ALL_USUAL | 1 << 12),
        ({"add": ["ALL"]}, sum(1 << bit for bit in ADDABLE.values())),
    ],
)
def test_capabilities_changed_follow_the_security_context(change: dict[str, list[str]], expected: int) -> None:
    assert expected == capabilities(container(capabilities=change))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"privileged": True}, "privileged containers do not run on this node"),
        ({"capabilities": {"add": ["SYS_ADMIN"]}}, "capability SYS_ADMIN is not available on this node"),
    ],
)
def test_capabilities_beyond_the_pod_are_refused(context: dict[str, Any], message: str) -> None:
    with pytest.raises(MissingReference, match=message):
        capabilities(container(**context))


def test_no_new_privileges_needs_an_explicit_false() -> None:
    assert no_new_privileges(container(allowPrivilegeEscalation=False))
    assert not no_new_privileges(container())


@pytest.mark.parametrize(
    ("pod", "context", "expected"),
    [
        ({}, {}, (0, 0)),
        ({"runAsUser": 1000, "runAsGroup": 2000}, {}, (1000, 2000)),
        ({"runAsUser": 1000, "runAsGroup": 2000}, {"runAsUser": 1337}, (1337, 2000)),
        ({"runAsNonRoot": True}, {}, (65532, 0)),
        ({"runAsNonRoot": True}, {"runAsUser": 7}, (7, 0)),
    ],
)
def test_user_and_group_container_overrides_pod(
    pod: dict[str, Any], context: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert expected == user_and_group({"spec": {"securityContext": pod}}, container(**context))


def test_user_and_group_of_root_without_leave_is_refused() -> None:
    with pytest.raises(MissingReference, match="breaks non-root policy"):
        user_and_group({"spec": {"securityContext": {"runAsNonRoot": True}}}, container(runAsUser=0))


@pytest.mark.parametrize(
    ("context", "available", "expected"),
    [
        ({}, True, ()),
        ({"fsGroup": 0}, True, (0,)),
        ({"fsGroup": 5, "supplementalGroups": [7, 5]}, True, (7, 5)),
        ({"fsGroup": 5}, False, ()),
    ],
)
def test_supplemental_groups_are_those_of_the_pod_that_the_machine_can_give(
    monkeypatch: pytest.MonkeyPatch, context: dict[str, Any], available: bool, expected: tuple[int, ...]
) -> None:
    monkeypatch.setattr(groups, "available", lambda: available)
    assert expected == supplemental_groups({"spec": {"securityContext": context}})
