"""The output of `lab verify`."""

import pytest

from waypoint_lab.cli import output
from waypoint_lab.measure.verify import Measurement, Verdict


@pytest.mark.parametrize(
    ("verdict", "shown"), [(Verdict.FAILED, "FAILED  why"), (Verdict.INCONCLUSIVE, "inconclusive  why")]
)
def test_table_names_what_did_not_pass(verdict: Verdict, shown: str) -> None:
    item = Measurement("canary", verdict, 10, 0.2, 0.9, (0.5, 1.0), {"red": 9}, "why")
    assert str(output.verdict_cells(item)[-1]) == shown
