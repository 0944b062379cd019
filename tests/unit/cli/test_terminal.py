"""The live view beside a command, on a terminal that is closed."""

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.cli.snapshots import QUIET
from tests.unit.streams import Unread, without_stderr
from waypoint_lab.cli import output, terminal
from waypoint_lab.config.settings import LabConfig


@pytest.mark.parametrize("writes", [0, 5])
def test_shown_on_a_closed_terminal_runs_its_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    ran = []
    without_stderr(monkeypatch, errno.EIO)
    gone = output.OutputConsole(file=Unread(errno.EIO, writes), force_terminal=True, width=80, height=24)
    monkeypatch.setattr(terminal.output, "OutputConsole", lambda **_options: gone)
    monkeypatch.setattr(terminal, "can_show", lambda _console: True)
    monkeypatch.setattr(terminal, "REFRESH_SECONDS", 0.001)
    sampler = SimpleNamespace(snapshot=lambda: QUIET)
    monkeypatch.setattr(terminal, "Sampler", lambda *_arguments: nullcontext(sampler))
    with terminal.shown(LabConfig(), tmp_path, "dev"):
        output.reporter("promote")("rolling back")
        ran.append("rollback")
    assert ran == ["rollback"]
