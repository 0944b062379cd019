"""The output of `lab verify`."""

from pathlib import Path

import pytest

from waypoint_lab.cli import output
from waypoint_lab.config.target import stack_config
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure.verify import Measurement, Verdict


@pytest.mark.parametrize(
    ("verdict", "shown"), [(Verdict.FAILED, "FAILED  why"), (Verdict.INCONCLUSIVE, "inconclusive  why")]
)
def test_table_names_what_did_not_pass(verdict: Verdict, shown: str) -> None:
    item = Measurement("canary", verdict, 10, 0.2, 0.9, (0.5, 1.0), {"red": 9}, "why")
    assert str(output.verdict_cells(item)[-1]) == shown


def test_stack_config_without_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Pulumi\.dev\.yaml: there is no such file"):
        stack_config(tmp_path)
