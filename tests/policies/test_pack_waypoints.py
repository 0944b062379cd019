"""Tests of the pack with the real engine and a cluster: a migration to another waypoint in steps."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Kubectl
from tests.embedded.pulumi_program import Program
from tests.policies.programs import CANARY, USE, pack, packed, patch, preview, two_waypoints

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PLACE = "policy-takeover"
BOTH = patch("enrollment", PLACE, **{USE: "old", CANARY: "new"})
ONLY_OLD, ONLY_NEW = patch("enrollment", PLACE, **{USE: "old"}), patch("enrollment", PLACE, **{USE: "new"})
STAYS = "new still gets 20 % of new connections: set the weight to 0 before taking it away"


@pytest.fixture
def program(tmp_path: Path, cluster_environment: dict[str, str], kubectl: Kubectl) -> Iterator[Program]:
    """A stack that has applied a canary waypoint with a share of 20 %, by two patches of one namespace."""
    two_waypoints(kubectl, PLACE)
    made = packed(tmp_path, cluster_environment)
    made.write(BOTH, patch("weight", PLACE, weight="20"))
    made.up()
    yield made
    made.destroy()
    kubectl("delete", "namespace", PLACE, "--wait=false")


def test_canary_waypoint_with_share_cannot_be_removed(program: Program, kubectl: Kubectl) -> None:
    (lost,) = preview(program, [ONLY_OLD], fails=True)
    assert (lost.policy, lost.level) == ("canary-waypoint-steps", "mandatory")
    assert STAYS in lost.message
    (early,) = preview(program, [ONLY_NEW], fails=True)
    assert "old still gets 80 % of new connections: raise the weight of new to 100" in early.message

    program.write(ONLY_OLD)
    assert STAYS in program.up("--policy-pack", str(pack(program)), fails=True)
    labels = kubectl("get", "namespace", PLACE, "-o", "jsonpath={.metadata.labels}").stdout
    assert f'"{CANARY}":"new"' in labels, "the update was stopped after the label was taken away"

    program.write(BOTH, patch("weight", PLACE, weight="100"))
    program.up("--policy-pack", str(pack(program)))
    assert preview(program, [ONLY_NEW], fails=False) == []
