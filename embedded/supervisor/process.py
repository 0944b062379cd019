"""A supervised process: started when what it needs is ready, and again whenever it ends."""

import asyncio
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

from embedded.control_plane.programs import Program

BACKOFF_SECONDS = (0.2, 1.0, 2.0, 5.0)
PROBE_SECONDS = 0.25
SETTLED_SECONDS = 30.0
LOG_LIMIT = 32 * 2**20  # bytes; a larger log is set aside as NAME.log.1 when its program starts


class Part:
    """One program, started again for as long as the supervisor lives."""

    def __init__(self, program: Program, logs: Path, parts: dict[str, "Part"]) -> None:
        """Nothing is started before `keep` runs."""
        self.program, self._logs, self._parts = program, logs, parts
        self.pid = 0
        self.starts = 0
        self.ready = asyncio.Event()
        self.detail = "waiting for " + ", ".join(program.needs) if program.needs else "starting"
        self.process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Starts when what it needs is ready; afterwards again whenever the process ends."""
        for need in self.program.needs:
            await self._parts[need].ready.wait()
        failures = 0
        while True:
            began = time.monotonic()
            await self._once()
            failures = 0 if time.monotonic() - began > SETTLED_SECONDS else failures + 1
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def _once(self) -> None:
        log = self._logs / f"{self.program.name}.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        self.detail = "starting"
        with log.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *self.program.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.program.env},
                start_new_session=True,
            )
        self.pid, self.starts = self.process.pid, self.starts + 1
        watch = asyncio.create_task(self._watch())
        status = await self.process.wait()
        watch.cancel()
        self.pid = 0
        self.ready.clear()
        self.detail = f"ended with status {status}; see logs/{log.name}"

    async def _watch(self) -> None:
        while True:
            answer = await asyncio.to_thread(_answers, self.program.ready)
            if answer is None:
                self.ready.set()
                self.detail = "ready"
            else:
                self.ready.clear()
                self.detail = answer
            await asyncio.sleep(2.0 if self.ready.is_set() else PROBE_SECONDS)


def _answers(target: str) -> str | None:
    """None where `target` serves, else why it does not."""
    try:
        if target.startswith("/"):
            return None if Path(target).exists() else "starting"
        if not target.startswith("http"):
            host, port = target.rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=3).close()
            return None
        # These are our own processes inside our own network namespace, asked whether they live: nothing is sent.
        context = ssl._create_unverified_context() if target.startswith("https") else None
        with urllib.request.urlopen(target, timeout=3, context=context):
            return None
    except (OSError, ValueError) as error:
        return f"not ready: {error}"
