"""Settings of the node agent."""

import re
import sys
from pathlib import Path

import pytest

from embedded.node import __main__ as agent


def test_main_without_a_token_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["embedded.node", "--bin", str(tmp_path / "bin"), str(tmp_path)])
    monkeypatch.setattr(agent.logging, "basicConfig", lambda **_: None)  # for a process of its own
    assert agent.main() == 2
    said = rf"embedded\.node: .*No such file or directory: '{tmp_path}/pki/token'\n"
    assert re.fullmatch(said, capsys.readouterr().err)
