"""Updates of the stack, from Pulumi's history."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path

from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ODD
from waypoint_lab.live import connection
from waypoint_lab.live.model import Change
from waypoint_lab.pulumi_cli import UPDATE_SECONDS

MOST = 10
LIMIT_SECONDS = 30.0
POLL_SECONDS = 1.0
FIRST_SECONDS = 3.0  # from a change by Pulumi to the first read of its history
MOST_SECONDS = 15.0  # from one read to the next, each of which waits twice as long as the last


async def follow(folder: Path, stack: str, changed: Callable[[], float]) -> AsyncIterator[list[Change]]:
    """Yield the last updates at the start, and after each change by Pulumi until its update has ended.

    An update may end long after its last change, because it measures in the end.

    Args:
        folder: Folder of the project.
        stack: Name of the stack.
        changed: Returns the time of the last change by Pulumi; 0 without one.
    """
    known, pause, due, until = changed(), FIRST_SECONDS, 0.0, 0.0
    while True:
        now = time.monotonic()
        if (last := changed()) != known:
            known, pause = last, FIRST_SECONDS
            due, until = now + pause, now + UPDATE_SECONDS
        if now >= due:
            if found := await read(folder, stack):
                yield found
            ended = bool(found) and found[-1].time >= math.floor(known)  # the history has whole seconds
            due = math.inf if ended or now >= until else time.monotonic() + pause
            pause = min(2 * pause, MOST_SECONDS)
        await asyncio.sleep(POLL_SECONDS)


async def read(folder: Path, stack: str) -> list[Change]:
    """Return the last updates; none where Pulumi cannot tell.

    Args:
        folder: Folder of the project.
        stack: Name of the stack.
    """
    command = ("pulumi", "stack", "history", "--json", "--page-size", str(MOST), "--stack", stack, "--non-interactive")
    try:
        process = await connection.start(*command, folder=folder)
    except KubectlError:
        return []
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
        return sorted(parsed(said.decode(errors="replace")), key=lambda one: one.time)
    except (TimeoutError, *ODD):
        return []
    finally:
        if process.returncode is None:
            await connection.end(process, kill=True)


def parsed(text: str) -> Iterator[Change]:
    """Yield the updates in the output of `pulumi stack history --json`."""
    for one in json.loads(text) if text.strip() else []:
        if one.get("result") not in ("succeeded", "failed"):
            continue
        began, ended = (datetime.fromisoformat(one[key]).timestamp() for key in ("startTime", "endTime"))
        counts = {kind: count for kind, count in (one.get("resourceChanges") or {}).items() if kind != "same"}
        changed = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "no change"
        word = {"update": "up"}.get(one["kind"], one["kind"])
        failed = ", failed" if one["result"] == "failed" else ""
        yield Change(time=ended, kind="update", text=f"pulumi {word}: {changed} in {ended - began:.0f} s{failed}")
