"""Capabilities of containers."""

from typing import Any

import pytest

from embedded.node.kubelet.environment import MissingReference
from embedded.node.kubelet.security import ADDABLE, USUAL, capabilities, no_new_privileges

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
