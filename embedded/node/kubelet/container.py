"""One container of a Pod: its process, its probes, its restarts, and the state that its status shows."""

import asyncio
import contextlib
import dataclasses
import signal
import time
from pathlib import Path

from embedded.kube import Object
from embedded.node.kubelet import images, probes, security
from embedded.node.kubelet.container_process import ContainerProcess
from embedded.node.kubelet.context import BACKOFF_FORGOTTEN, PodContext, backoff, now
from embedded.node.kubelet.environment import MissingReference, build, expand
from embedded.node.kubelet.logs import remove
from embedded.node.kubelet.mounts import Bind, hidden_folders, plan
from embedded.node.launcher.process import Command, LaunchError, Process

CONFIG_RETRY_SECONDS = 1.0
HOOK_SECONDS = 60.0  # for a postStart hook; a preStop hook has the grace period


class Container:
    """Runs `spec` until its restart policy says that it is over."""

    def __init__(self, host: PodContext, spec: Object, policy: str, restarts: int = 0) -> None:
        """`policy` is Always, OnFailure or Never; `restarts` counts on from an earlier life of the Pod."""
        self._host, self.spec, self._policy, self.restarts = host, spec, policy, restarts
        self.name: str = spec["name"]
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last_state: Object = {}
        self.ready = False
        self.started = False
        self.up = asyncio.Event()  # started, by its startup probe if it has one
        self.current: ContainerProcess | None = None
        self.starting = False
        self.command: Command | None = None
        self.exit_code: int | None = None
        self._since = 0.0
        self._stopping = False
        self._failures = 0
        self._killing: asyncio.Task[None] | None = None

    @property
    def process(self) -> Process | None:
        """The current (or last) run's process."""
        return self.current.process if self.current else None

    @property
    def logging(self) -> bool:
        """Whether more output may come to the current log."""
        return self.starting or (self.current is not None and self.current.open)

    def log_path(self, *, previous: bool = False) -> Path:
        """Where the output of the current (or the previous) run is."""
        return self._log(self.restarts - (1 if previous else 0))

    def _log(self, run: int) -> Path:
        return self._host.folder / "logs" / self.name / f"{run}.log"

    async def run(self) -> int:
        """Runs it to its final end and returns the exit code."""
        while True:
            code = await self._once()
            if self._policy == "Never" or (self._policy == "OnFailure" and code == 0) or self._stopping:
                self.exit_code = code
                return code
            self._failures = 1 if time.time() - self._since > BACKOFF_FORGOTTEN else self._failures + 1
            self.last_state = self.state
            if delay := backoff(self._failures):
                message = f"back-off {delay:g}s restarting failed container={self.name}"
                self._wait_state("CrashLoopBackOff", message)
                self._host.event("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
                await asyncio.sleep(delay)
                if self._stopping:
                    self.exit_code = code
                    return code
            self.restarts += 1
            remove(self._log(self.restarts - 2))
            self._host.changed()

    def _wait_state(self, reason: str, message: str = "") -> None:
        self.state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        self._host.changed()

    async def _image(self) -> images.Image:
        failures = 0
        while True:
            try:
                return images.find(self._host.config, self.spec["image"])
            except images.UnknownImage as error:
                failures += 1
                self._wait_state("ErrImagePull", str(error))
                self._host.event("Warning", "Failed", f'Failed to pull image "{self.spec["image"]}": {error}')
                self._host.event("Warning", "Failed", "Error: ErrImagePull")
                await asyncio.sleep(1)
                self._wait_state("ImagePullBackOff", f'Back-off pulling image "{self.spec["image"]}": {error}')
                await asyncio.sleep(backoff(failures + 1))

    async def _prepare(self) -> tuple[Command, list[list[str]]]:
        image = await self._image()
        while True:
            try:
                pod = self._host.view()
                env = await build(
                    pod, self.spec, {**image.env, **self._host.service_env()}, self._host.store, self._host.capacity
                )
                command = [expand(text, env) for text in self.spec.get("command") or []]
                args = [expand(text, env) for text in self.spec.get("args") or []]
                binds = {path: Bind(source, read_only=True) for path, source in image.files.items()}
                binds |= self._host.binds(self.spec)
                argv = image.argv(command, args)
                if not argv:
                    raise MissingReference("no command specified")
                made = Command(
                    argv,
                    env,
                    self.spec.get("workingDir") or "/",
                    security.capabilities(self.spec),
                    security.no_new_privileges(self.spec),
                )
                return made, plan(binds, hidden_folders(self._host.config.state_dir))
            except MissingReference as error:
                if self.state.get("waiting", {}).get("message") != str(error):
                    self._host.event("Warning", "Failed", f"Error: {error}")
                self._wait_state("CreateContainerConfigError", str(error))
                await asyncio.sleep(CONFIG_RETRY_SECONDS)

    async def _once(self) -> int:
        command, mounts = await self._prepare()
        sandbox = self._host.sandbox
        assert sandbox is not None
        self._since, start = time.time(), now()
        self.starting = True
        try:
            log = self.log_path()
            run = await ContainerProcess.start(
                self._host.launcher, sandbox, command, self._host.folder / "root", mounts, log
            )
        except LaunchError as error:
            self._host.event("Warning", "Failed", f"Error: failed to start container {self.name}: {error}")
            self._ended(128, "StartError", start, f"failed to start container: {error}")
            return 128
        finally:
            self.starting = False
        self.current, self.command = run, command
        self.state = {"running": {"startedAt": start}}
        self._host.event("Normal", "Started", f"Container started: {self.name}")
        code = await self._attend(run)
        self._ended(code, "Completed" if code == 0 else "Error", start)
        return code

    async def _attend(self, run: ContainerProcess) -> int:
        """Asks the probes while the process lives; its exit code."""
        health = probes.ProbeSet(
            self.spec,
            self._question,
            started=self._has_started,
            readiness=self._readiness,
            unwell=lambda which, said: self._unwell(run.process, which, said),
        )
        watch = asyncio.create_task(self._watch(run.process, health))
        try:
            return await run.finish()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _watch(self, process: Process, health: probes.ProbeSet) -> None:
        """The postStart hook, then the probes."""
        if hook := (self.spec.get("lifecycle") or {}).get("postStart"):
            answer = await self._hook(hook, HOOK_SECONDS)
            if not answer.well:
                self._host.event("Warning", "FailedPostStartHook", f"postStart hook of {self.name}: {answer.said}")
                await self._end(process, self._grace())
                return
        await health.run()

    async def _hook(self, hook: Object, seconds: float) -> probes.ProbeResult:
        if "sleep" in hook:
            await asyncio.sleep(min(seconds, float(hook["sleep"]["seconds"])))
            return probes.ProbeResult(True)
        return await self._question({**hook, "timeoutSeconds": seconds})

    def _grace(self) -> float:
        return float(self._host.view()["spec"].get("terminationGracePeriodSeconds", 30))

    def _ended(self, code: int, reason: str, start: str, message: str = "") -> None:
        self.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "startedAt": start,
                "finishedAt": now(),
                "containerID": self.identity(),
                **({"message": message} if message else {}),
                **({"signal": code - 128} if code > 128 and code != 255 else {}),
            }
        }
        self.ready = self.started = False
        self.up.clear()
        self._host.changed()

    def presume_dead(self, said: Object) -> None:
        """For a container that may run only once: `said` is its status of before the node agent restarted."""
        done = (said.get("state") or {}).get("terminated")
        self.state = {"terminated": done or {"exitCode": 137, "reason": "ContainerStatusUnknown", "finishedAt": now()}}
        self.restarts = said.get("restartCount", 0)
        self.exit_code = self.state["terminated"]["exitCode"]

    def lost(self) -> None:
        """Tells that the container ended with its Pod's namespaces; the next run is a restart."""
        if "running" in self.state:
            self._ended(137, "Error", self.state["running"]["startedAt"])
        if "terminated" in self.state:
            self.last_state, self.restarts = self.state, self.restarts + 1
        self.exit_code, self.current = None, None
        self._wait_state("ContainerCreating")

    def identity(self) -> str:
        """A container id in the form that Kubernetes wants."""
        return f"process://{self._host.view()['metadata']['uid']}/{self.name}/{self.restarts}"

    async def _question(self, probe: Object) -> probes.ProbeResult:
        sandbox = self._host.sandbox
        if sandbox is None:
            return probes.ProbeResult(False, "the Pod has no network")
        return await probes.ask(probe, self.spec, sandbox.ip, self.capture)

    async def capture(self, argv: list[str], seconds: float) -> tuple[int | None, str]:
        """Runs a command inside and returns (exit code, output); 126 where it cannot be run."""
        sandbox, process, command = self._host.sandbox, self.process, self.command
        if sandbox is None or process is None or command is None:
            return 126, "the container does not run"
        inside = dataclasses.replace(command, argv=argv)
        try:
            return await self._host.launcher.capture(sandbox.pause, process, inside, seconds)
        except LaunchError as error:
            return 126, str(error)

    def _has_started(self) -> None:
        self.started = True
        self.up.set()
        self._host.changed()

    def _readiness(self, well: bool, said: str) -> None:
        if well != self.ready:
            self.ready = well
            self._host.changed()
        if not well:
            self._host.event("Warning", "Unhealthy", f"Readiness probe failed: {said}")

    def _unwell(self, process: Process, which: str, said: str) -> None:
        self._host.event("Warning", "Unhealthy", f"{which} probe failed: {said}")
        if self._killing is not None and not self._killing.done():
            return
        self._host.event("Normal", "Killing", f"Container {self.name} failed {which.lower()} probe, will be restarted")
        self._killing = asyncio.create_task(self._end(process, self._grace()))

    async def _end(self, process: Process, grace: float) -> None:
        await self._host.launcher.kill(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await process.wait()
        await self._host.launcher.kill(process)

    async def stop(self, grace: float) -> None:
        """Ends it for good: the preStop hook, SIGTERM, and SIGKILL once `grace` seconds are over."""
        self._stopping = True
        process = self.process
        if process is None or process.ended.is_set():
            return
        until = time.monotonic() + grace
        if hook := (self.spec.get("lifecycle") or {}).get("preStop"):
            answer = await self._hook(hook, max(grace, 1.0))
            if not answer.well:
                self._host.event("Warning", "FailedPreStopHook", f"preStop hook of {self.name}: {answer.said}")
        await self._end(process, max(0.0, until - time.monotonic()))
