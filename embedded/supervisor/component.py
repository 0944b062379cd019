"""Components of the cluster as the supervisor runs them."""

import asyncio
import logging
import os
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp

from embedded.control_plane.process_specs import ProcessSpec

BACKOFF_SECONDS = (0.2, 1.0, 2.0, 5.0)
CHECK_SECONDS = 0.25
READY_CHECK_SECONDS = 2.0
CHECK_LIMIT_SECONDS = 3.0
SETTLED_SECONDS = 30.0
LOG_LIMIT = 32 * 2**20  # bytes; a larger log is renamed to NAME.log.1 when its process starts
log = logging.getLogger("supervisor")


class Component:
    """Something that must be ready for the cluster to be ready."""

    def __init__(self, name: str, detail: str = "starting") -> None:
        """Create a component that is not ready."""
        self.name, self.detail = name, detail
        self.pid = self.starts = 0
        self.ready = asyncio.Event()

    def set_ready(self, problem: str | None) -> None:
        """Record that the component is ready, or the `problem` that it has."""
        self.detail = problem or "ready"
        if problem:
            self.ready.clear()
        else:
            self.ready.set()

    def row(self) -> dict[str, object]:
        """Return the component's row of the status file."""
        return {
            "name": self.name,
            "pid": self.pid,
            "ready": self.ready.is_set(),
            "detail": self.detail,
            "starts": self.starts,
        }


class SupervisedProcess(Component):
    """A process that starts once its dependencies are ready, and restarts when it ends."""

    def __init__(self, spec: ProcessSpec, logs: Path, components: Mapping[str, Component]) -> None:
        """Start nothing yet.

        Args:
            spec: The process.
            logs: Folder of the log `NAME.log`.
            components: All components by name; `spec.needs` are looked up in it later.
        """
        super().__init__(spec.name, f"waiting for {', '.join(spec.needs)}" if spec.needs else "starting")
        self._spec, self._log, self._components = spec, logs / f"{spec.name}.log", components
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep the process running until the task is cancelled."""
        for need in self._spec.needs:
            await self._components[need].ready.wait()
        failures = 0
        while True:
            began = time.monotonic()
            try:
                status = await self._run_once()
                self.set_ready(f"ended with status {status}; see logs/{self._log.name}")
            except OSError as error:  # such as a full disk, or no process left
                self.set_ready(f"cannot be started: {error}")
                log.error("%s: %s", self.name, self.detail)
            failures = 0 if time.monotonic() - began > SETTLED_SECONDS else failures + 1
            await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)])

    async def _run_once(self) -> int:
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        self.detail = "starting"
        with self._log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self._spec.env},
                start_new_session=True,
            )
        self.pid, self.starts = self._process.pid, self.starts + 1
        check = asyncio.create_task(self._check())
        try:
            return await self._process.wait()
        finally:
            check.cancel()
            self.pid = 0

    async def _check(self) -> None:
        while True:
            self.set_ready(await find_problem(self._spec.ready))
            await asyncio.sleep(READY_CHECK_SECONDS if self.ready.is_set() else CHECK_SECONDS)

    async def stop(self, seconds: float) -> None:
        """End the process: SIGTERM, and SIGKILL after `seconds`."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), seconds)
            except TimeoutError:
                self._process.kill()


async def find_problem(target: str) -> str | None:
    """Check `target`, a URL that must answer 200 or HOST:PORT that must accept. Return the problem, or None."""
    try:
        if target.startswith("http"):
            # The target is a process in our own network namespace: there is no certificate to check. A proxy
            # of the environment does not apply, because aiohttp uses one only where it is given.
            timeout = aiohttp.ClientTimeout(total=CHECK_LIMIT_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(target, ssl=False) as answer:
                return None if answer.status == 200 else f"not ready: {target} answers {answer.status}"
        host, port = target.rsplit(":", 1)
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), CHECK_LIMIT_SECONDS)
        writer.close()
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return f"not ready: {str(error) or type(error).__name__}"
    return None
