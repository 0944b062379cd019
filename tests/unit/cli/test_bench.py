"""Errors of `lab bench`."""

import os
from pathlib import Path

import pytest

from waypoint_lab.cli import bench
from waypoint_lab.errors import PulumiError, RestoreError
from waypoint_lab.measure.restore import Backup
from waypoint_lab.pulumi_cli import PulumiStack


def test_rounds_after_a_kill_that_cannot_be_restored_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stack: PulumiStack) -> float:
        raise PulumiError("no answer")

    (tmp_path / "pulumi").write_text(f"#!/bin/sh\ntouch {tmp_path}/used\n")
    (tmp_path / "pulumi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(PulumiStack, "up_unchecked", fail)
    stack = PulumiStack(tmp_path, "dev")
    stack.file.write_text("config: {}\n")
    Backup(stack).keep()
    with pytest.raises(RestoreError, match="no answer"):
        bench.rounds(stack, 1, print)
    assert not (tmp_path / "used").exists()
