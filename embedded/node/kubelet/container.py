"""One container of a Pod: process, probes, restarts and state."""

import asyncio
import contextlib
import dataclasses
import math
import time
from pathlib import Path

from embedded.kube import Object, now
from embedded.node.kubelet import probes, termination
from embedded.node.kubelet.container_end import ContainerEnd, GracePeriod
from embedded.node.kubelet.container_process import ContainerProcess, Streams
from embedded.node.kubelet.container_start import prepare, pull
from embedded.node.kubelet.context import BACKOFF_FORGOTTEN, PodContext, backoff
from embedded.node.kubelet.environment import UNAVAILABLE, reason
from embedded.node.kubelet.logs import remove
from embedded.node.launcher.process import Command, LaunchError, Process

CONFIG_RETRY_SECONDS = 1.0
KILLED = 137  # exit code of a container that ends before its first run, or with its Pod's namespaces


class Container:
    """A container, which runs `spec` until its restart policy ends it.

    Attributes:
        state, last_state: As in containerStatuses.
        up: Set once the container has started, by its startup probe if it has one.
        command: The command of the present run.
        exit_code: Set when no run will follow.
    """

    def __init__(self, pod: PodContext, spec: Object, policy: str, restarts: int = 0) -> None:
        """Start nothing yet.

        Args:
            pod: The Pod.
            spec: The container of the Pod's spec.
            policy: Always, OnFailure or Never.
            restarts: The restarts so far, before the node agent started.
        """
        self._pod, self.spec, self._policy, self.restarts = pod, spec, policy, restarts
        self.name: str = spec["name"]
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.ready = self.started = False
        self.up = asyncio.Event()
        self.current: ContainerProcess | None = None
        self.command: Command | None = None
        self.exit_code: int | None = None
        self._since, self._failures = 0.0, 0
        self._probes: probes.ProbeSet | None = None
        self._end = ContainerEnd(pod, spec, self._probe)
        self._stopping = asyncio.Event()
        self._launched = asyncio.Event()  # no process is being started
        self._settled = asyncio.Event()  # no run lasts, and `state` says how the last one ended
        self._launched.set()
        self._settled.set()

    @property
    def process(self) -> Process | None:
        """Return the process of the present or last run."""
        return self.current.process if self.current else None

    @property
    def logging(self) -> bool:
        """Return True if more output may come to the present log."""
        return not self._launched.is_set() or (self.current is not None and self.current.open)

    def log_path(self, *, previous: bool = False) -> Path:
        """Return the file with the output of the present run, or of the run that is in `last_state`."""
        if not previous:
            return self._log(self.restarts)
        before = self.last_state.get("terminated", {}).get("containerID")
        return self._log(int(before.rsplit("/", 1)[1]) if before else self.restarts - 1)

    def _log(self, run: int) -> Path:
        return self._pod.folder / "logs" / self.name / f"{run}.log"

    async def run(self) -> int:
        """Run the container to its final end; return the exit code."""
        self.exit_code = None
        if "terminated" in self.state:  # it ended with its Pod's namespaces
            self.last_state, self.restarts = self.state, self.restarts + 1
        self._set_waiting("ContainerCreating")
        try:
            self.exit_code = await self._run()
            return self.exit_code
        finally:
            self._settled.set()

    async def _run(self) -> int:
        while True:
            code = await self._once()
            if not self.runs_after(code) or self._stopping.is_set():
                return code
            self._failures = 1 if time.time() - self._since > BACKOFF_FORGOTTEN else self._failures + 1
            self.last_state = self.state
            if delay := backoff(self._failures):
                self._set_waiting("CrashLoopBackOff", f"back-off {delay:g}s restarting failed container={self.name}")
                self._pod.event("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), delay)
                if self._stopping.is_set():
                    self.state = self.last_state
                    self._pod.changed()
                    return code
            self.restarts += 1
            remove(self._log(self.restarts - 2))
            self._pod.changed()

    def _set_waiting(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self._pod.changed()

    async def _prepare(self) -> tuple[Command, list[list[str]]]:
        image = await pull(self._pod, self.spec["image"], self._set_waiting)
        while True:
            try:
                return await prepare(self._pod, self.spec, image)
            except UNAVAILABLE as error:
                if self.state.get("waiting", {}).get("message") != reason(error):
                    self._pod.event("Warning", "Failed", f"Error: {reason(error)}")
                self._set_waiting("CreateContainerConfigError", reason(error))
                await asyncio.sleep(CONFIG_RETRY_SECONDS)

    async def _once(self) -> int:
        self._settled.set()
        command, mounts = await self._prepare()
        if self._stopping.is_set():
            return KILLED
        self._settled.clear()
        sandbox = self._pod.sandbox
        assert sandbox is not None
        self._since, start = time.time(), now()
        self._launched.clear()
        try:
            log = self.log_path()
            root, streams = self._pod.folder / "root", Streams.of(self.spec)
            run = await ContainerProcess.start(self._pod.launcher, sandbox, command, root, mounts, log, streams)
        except (LaunchError, OSError) as error:
            self._pod.event("Warning", "Failed", f"Error: failed to start container {self.name}: {error}")
            self._ended(128, "StartError", start, f"failed to start container: {error}")
            return 128
        finally:
            self._launched.set()
        self.current, self.command = run, command
        self.state = {"running": {"startedAt": start}}
        self._pod.event("Normal", "Started", f"Container started: {self.name}")
        code = await self._run_probes(run)
        said = termination.message(self._pod.folder, self.spec, code, log)
        self._ended(code, "Completed" if code == 0 else "Error", start, said)
        return code

    async def _run_probes(self, run: ContainerProcess) -> int:
        """Run the probes while the process lives; return its exit code."""
        self._probes = probes.ProbeSet(
            self.spec,
            self._probe,
            started=self._has_started,
            readiness=self._set_ready,
            failed=lambda which, message: self._fail_probe(run.process, which, message),
        )
        if self._stopping.is_set():
            self._probes.stop()
        watch = asyncio.create_task(self._run_hook_and_probes(run.process, self._probes))
        try:
            return await run.finish()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _run_hook_and_probes(self, process: Process, checks: probes.ProbeSet) -> None:
        """Run the postStart hook, then the probes."""
        if hook := (self.spec.get("lifecycle") or {}).get("postStart"):
            answer = await probes.run_hook(hook, math.inf, self._probe)
            if not answer.passed:
                self._pod.event("Warning", "FailedPostStartHook", f"postStart hook of {self.name}: {answer.message}")
                await asyncio.wait({self._end.begin(process, GracePeriod(self._end.grace()))})
                return
        await checks.run()

    def _ended(self, code: int, reason: str, start: str, message: str = "") -> None:
        self.state = termination.terminated(code, reason, start, self.identity(), message)
        self.ready = self.started = False
        self.up.clear()
        self._pod.changed()

    def runs_after(self, code: int) -> bool:
        """Return True if another run follows one with this exit code."""
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    def lost(self) -> None:
        """Record that the container ended with its Pod's namespaces."""
        if "running" in self.state:
            self._ended(KILLED, "Error", self.state["running"]["startedAt"])
        code = self.state.get("terminated", {}).get("exitCode")
        self.exit_code = None if code is None or self.runs_after(code) else code
        self.current = None

    def identity(self) -> str:
        """Return the container id in the form of Kubernetes."""
        return f"process://{self._pod.view()['metadata']['uid']}/{self.name}/{self.restarts}"

    async def _probe(self, probe: Object) -> probes.ProbeResult:
        sandbox = self._pod.sandbox
        if sandbox is None:
            return probes.ProbeResult(False, "the Pod has no network")
        return await probes.attempt(probe, self.spec, sandbox.ip, self.capture)

    async def capture(self, argv: list[str], seconds: float) -> tuple[int | None, str]:
        """Run a command in the container; return exit code (126 if it cannot be started) and output."""
        sandbox, process, command = self._pod.sandbox, self.process, self.command
        if sandbox is None or process is None or command is None:
            return 126, "the container does not run"
        inside = dataclasses.replace(command, argv=argv)
        try:
            return await self._pod.launcher.capture(sandbox.pause, process, inside, seconds)
        except LaunchError as error:
            return 126, str(error)

    def _has_started(self) -> None:
        self.started = True
        self.up.set()
        self._pod.changed()

    def _set_ready(self, passed: bool, message: str) -> None:
        if passed != self.ready:
            self.ready = passed
            self._pod.changed()
        if not passed:
            self._pod.event("Warning", "Unhealthy", f"Readiness probe failed: {message}")

    def _fail_probe(self, process: Process, which: str, message: str) -> None:
        self._pod.event("Warning", "Unhealthy", f"{which} probe failed: {message}")
        if self._end.in_progress(process):
            return
        self._pod.event("Normal", "Killing", f"Container {self.name} failed {which.lower()} probe, will be restarted")
        self._end.begin(process, GracePeriod(self._end.grace(f"{which.lower()}Probe")))

    async def stop(self, period: GracePeriod) -> None:
        """End the container for good within `period`; return once its state is final."""
        self._stopping.set()
        if self._probes is not None:
            self._probes.stop()
        await self._launched.wait()
        if self.process is not None and not self.process.ended.is_set():
            await asyncio.wait({self._end.begin(self.process, period)})
        await self._settled.wait()
