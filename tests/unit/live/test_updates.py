"""The history of a stack is read after a change by Pulumi until it has the update."""

import asyncio
from pathlib import Path

import pytest

from waypoint_lab.live import updates
from waypoint_lab.live.model import Change

FIRST, SECOND = (Change(time=time, kind="update", text="pulumi up") for time in (50.0, 100.0))


@pytest.mark.parametrize(("limit", "reads"), [(60.0, 4), (0.0, 2)])
def test_follow_reads_until_the_history_has_the_update(
    monkeypatch: pytest.MonkeyPatch, limit: float, reads: int
) -> None:
    monkeypatch.setattr(updates, "POLL_SECONDS", 0)
    monkeypatch.setattr(updates, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(updates, "UPDATE_SECONDS", limit)
    changed, read, polls = 0.0, list[float](), 0

    async def history(_folder: Path, _stack: str) -> list[Change]:
        read.append(changed)
        return [FIRST, SECOND] if len(read) > 3 else [] if len(read) == 2 else [FIRST]

    def last() -> float:
        nonlocal polls
        polls += 1
        return changed

    async def run() -> None:
        nonlocal changed, polls
        monkeypatch.setattr(updates, "read", history)
        found = list[list[Change]]()

        async def take() -> None:
            async for one in updates.follow(Path(), "dev", last):
                found.append(one)

        async def polled(more: int) -> None:
            before = polls
            async with asyncio.timeout(5):
                while polls < before + more:
                    await asyncio.sleep(0)

        task = asyncio.create_task(take())
        await polled(20)
        assert (read, found) == ([0.0], [[FIRST]])
        changed = 100.9  # in the history, its end has whole seconds
        async with asyncio.timeout(5):
            while len(read) < reads:
                await asyncio.sleep(0)
        await polled(20)
        task.cancel()
        assert len(read) == reads
        assert found[-1] == ([FIRST, SECOND] if reads == 4 else [FIRST])

    asyncio.run(run())
