"""The status of policies that the kernel cannot enforce."""

from typing import Any

import pytest

from embedded.node.proxy.unenforced import corrected

WAYPOINT = {"type": "WaypointAccepted", "status": "True"}


def policy(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "n", "generation": 3}, "status": {"conditions": list(conditions)}}


def test_corrected_accepted_policy_is_false_with_the_reason() -> None:
    first, second = corrected(policy({"type": "ZtunnelAccepted", "status": "True"}, WAYPOINT), "no nftables") or []
    assert (first["status"], first["reason"], first["observedGeneration"]) == ("False", "NotEnforced", 3)
    assert first["message"] == "nothing enforces this policy on this machine (no nftables)"
    assert second == WAYPOINT


def test_corrected_earlier_reason_is_replaced() -> None:
    before = corrected(policy({"type": "ZtunnelAccepted", "status": "True"}), "one") or []
    assert corrected(policy(*before), "one") is None
    assert "(two)" in (corrected(policy(*before), "two") or [{}])[0]["message"]


@pytest.mark.parametrize(
    "given",
    [
        policy(),
        {"metadata": {"name": "p"}},
        policy(WAYPOINT),
        policy({"type": "ZtunnelAccepted", "status": "False"}),
        policy({"message": "?"}, {"type": "ZtunnelAccepted"}),
    ],
)
def test_corrected_other_policy_is_left_alone(given: dict[str, Any]) -> None:
    assert corrected(given, "no nftables") is None
