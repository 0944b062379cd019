"""The config of a stack is given after each change of its file."""

import asyncio
import os
from pathlib import Path

import pytest

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.live import stack_file
from waypoint_lab.pulumi_cli import PulumiStack

BROKEN = "config: {'waypoint-lab:stages': {waypoint: 7}}"
CANARY = "config: {'waypoint-lab:stages': {waypoint: true}, 'waypoint-lab:waypoint': {canary: {name: waypoint-b}}}"


def test_follow_gives_the_config_after_a_change_that_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_file, "AGAIN_SECONDS", 0.01)
    stack, taken, asked = PulumiStack(tmp_path, "dev"), list[LabConfig](), list[None]()
    config = stack.config

    def read() -> LabConfig:
        try:
            return config()
        finally:
            asked.append(None)

    monkeypatch.setattr(stack, "config", read)

    async def write(text: str, moment: int) -> None:
        stack.file.write_text(text)
        os.utime(stack.file, (moment, moment))
        before = len(asked)
        async with asyncio.timeout(5):
            while len(asked) == before:
                await asyncio.sleep(0.01)

    async def run() -> None:
        task = asyncio.create_task(stack_file.follow(stack, taken.append))
        await asyncio.sleep(0)  # it looks at the file that is not there
        await write(BROKEN, 1)
        await write(CANARY, 2)
        async with asyncio.timeout(5):
            while not taken:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(run())
    assert [[*config.waypoints] for config in taken] == [["waypoint", "waypoint-b"]]
