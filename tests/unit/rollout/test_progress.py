"""The file of a running promotion's progress."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from waypoint_lab.rollout import progress
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.progress import Progress, ProgressFile


def test_progress_that_takes_long_is_written_with_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = [1000.0], list[float]()
    monkeypatch.setattr(time, "time", lambda: now[0])

    def evidence() -> Mapping[str, Any]:
        asked.append(now[0])
        now[0] += 2 * progress.INTERVAL_SECONDS
        return {}

    with ProgressFile(Journal(tmp_path, "dev")) as write:
        for _ in range(3):
            write(Progress("evidence", evidence=evidence))
        assert asked == [1000.0]
        now[0] += 2 * progress.INTERVAL_SECONDS
        write(Progress("evidence", evidence=evidence))
    assert len(asked) == 2
