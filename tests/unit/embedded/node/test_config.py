"""Settings of the node agent."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embedded.node.config import NodeConfig, NodeConfigError
from tests.unit.embedded.node.documents import SETTINGS


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"api": None}, "field api is of the wrong type"),
        ({"kubelet_port": "10250"}, "field kubelet_port is of the wrong type"),
        ({"color": "red"}, "unknown field color"),
    ],
)
def test_node_config_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SETTINGS | change))
    with pytest.raises(NodeConfigError, match=complaint):
        NodeConfig.load(file)


def test_node_config_missing_field_or_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({key: value for key, value in SETTINGS.items() if key != "ca_file"}))
    with pytest.raises(NodeConfigError, match="field ca_file is missing"):
        NodeConfig.load(file)
    with pytest.raises(NodeConfigError, match="No such file"):
        NodeConfig.load(tmp_path / "none.json")


def test_main_bad_configuration_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(SETTINGS | {"token_file": str(tmp_path / "no-token")}))
    for path in (tmp_path / "none.json", file):
        got = subprocess.run(
            [sys.executable, "-m", "embedded.node", "--config", str(path)], capture_output=True, text=True, timeout=30
        )
        assert got.returncode == 2
        assert re.fullmatch(r"embedded\.node: .*No such file or directory: .*\n", got.stderr)
