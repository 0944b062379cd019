"""The config of a stack, each time after its file has changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import LabError
from waypoint_lab.pulumi_cli import PulumiStack

AGAIN_SECONDS = 1.0  # between two looks at the file


async def follow(stack: PulumiStack, take: Callable[[LabConfig], None]) -> None:
    """Give the config to a function after each change of the file. A file that is not valid is left out.

    Args:
        stack: The stack.
        take: The function; it neither blocks nor raises.
    """
    known = _written(stack.file)
    while True:
        await asyncio.sleep(AGAIN_SECONDS)
        if (now := _written(stack.file)) == known:
            continue
        known = now
        try:
            take(await asyncio.to_thread(stack.config))
        except (OSError, LabError):  # its user or a command still writes it
            continue


def _written(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0
