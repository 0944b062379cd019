"""An error of the sampler is part of its snapshots: nobody else sees it."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.unit.live.answers import CONFIG
from waypoint_lab.errors import LabError
from waypoint_lab.live import sampler as module
from waypoint_lab.live.cluster_reader import ClusterReader
from waypoint_lab.live.sampler import Sampler


class FakeApi:
    """An API server without objects."""

    def __init__(self, _target: object) -> None:
        pass

    async def __aenter__(self) -> "FakeApi":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture
def sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sampler:
    """Return a sampler of a cluster without objects."""

    async def nothing(*_: object) -> bool:
        return False

    monkeypatch.setattr(module, "Api", FakeApi)
    monkeypatch.setattr(ClusterReader, "start", lambda _reader: [])
    monkeypatch.setattr(ClusterReader, "read", nothing)
    return Sampler(CONFIG, tmp_path)


@pytest.mark.parametrize("task", [False, True], ids=["its loop", "a task"])
def test_error_after_the_start_is_the_problem_of_a_new_snapshot(
    sampler: Sampler, monkeypatch: pytest.MonkeyPatch, task: bool
) -> None:
    entered = threading.Event()

    async def fail(*_: Any) -> bool:
        while not entered.is_set():
            await module.asyncio.sleep(0.01)
        raise RecursionError("too deep")

    monkeypatch.setattr(ClusterReader, "read", ClusterReader.read if task else fail)
    monkeypatch.setattr(ClusterReader, "start", lambda _: [module.asyncio.create_task(fail())] if task else [])
    with sampler:
        assert not sampler.ended
        entered.set()
        sampler._thread.join(10)
        found = sampler.wait(None, 5.0)
        assert sampler.ended
    assert found
    assert found.problem.startswith("the live view has ended (live view: RecursionError at test_sampler.py:")
    assert found.problem.endswith("too deep); start it again")


def test_journal_that_cannot_be_read_is_named_and_the_rest_is_shown(sampler: Sampler) -> None:
    sampler._journal.file.mkdir(parents=True)  # unreadable even for root
    with sampler:
        later = sampler.wait(sampler.wait(None, 5.0), 5.0)
    assert later
    assert later.problem == f"{sampler._journal.file}: it cannot be read (Is a directory); make it readable"


def test_snapshots_go_on_where_the_clock_is_set_back(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    with sampler:
        first = sampler.wait(None, 5.0)
        assert first
        monkeypatch.setattr(module.time, "time", lambda: first.time - 3600)
        found = first
        while found.time >= first.time:  # one more may have the old clock
            later = sampler.wait(found, 5.0)
            assert later
            found = later


def test_error_before_the_start_is_raised(sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/usr/bin/kubectl")

    monkeypatch.setattr(module, "Api", fail)
    with pytest.raises(LabError, match=r"^live view: PermissionError at .*: '/usr/bin/kubectl'$"), sampler:
        pass
