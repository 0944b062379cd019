"""Updates of the stack, from Pulumi's history."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from waypoint_lab.errors import KubectlError
from waypoint_lab.kubectl import ODD
from waypoint_lab.live import connection
from waypoint_lab.live.model import Change

MOST = 10
LIMIT_SECONDS = 30.0


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
