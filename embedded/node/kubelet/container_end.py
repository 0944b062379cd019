"""The end of a container's run: preStop hook, SIGTERM, and SIGKILL after the grace period."""

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from embedded.kube import Object
from embedded.node.kubelet import probes
from embedded.node.kubelet.context import PodContext
from embedded.node.launcher.process import Process

DEFAULT_GRACE_SECONDS = 30.0
# The least time from SIGTERM to SIGKILL, whatever its preStop hook and the containers before it took.
# Source: https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/kuberuntime/kuberuntime_container.go
LEAST_SECONDS = 2.0


class GracePeriod:
    """The time until SIGKILL. It can only become shorter, also while something waits for its end."""

    def __init__(self, seconds: float = math.inf) -> None:
        """Begin now; without `seconds` the first call of `shorten` sets the end."""
        self._end = asyncio.get_running_loop().time() + seconds
        self._limits: dict[asyncio.Timeout, float] = {}
        self._inner: list[GracePeriod] = []

    def left(self) -> float:
        """Return the seconds that are left, 0 or more."""
        return max(0.0, self._end - asyncio.get_running_loop().time())

    def shorten(self, seconds: float) -> None:
        """End `seconds` from now, unless the end is nearer already."""
        end = asyncio.get_running_loop().time() + seconds
        if end >= self._end:
            return
        self._end = end
        for limit, extra in self._limits.items():
            if not limit.expired():
                limit.reschedule(end + extra)
        for inner in self._inner:
            inner.shorten(seconds)

    def include(self, inner: "GracePeriod") -> None:
        """Let `inner` end no later than this grace period."""
        if inner is not self:
            inner.shorten(self.left())
            self._inner.append(inner)

    @contextlib.asynccontextmanager
    async def limit(self, extra: float = 0.0) -> AsyncIterator[None]:
        """Run the block until `extra` seconds after the end of the grace period, then cancel it without an error."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._end + extra) as limit:
                self._limits[limit] = extra
                try:
                    yield
                finally:
                    del self._limits[limit]


class ContainerEnd:
    """The ends of a container's runs: by a deletion, a failed probe or a failed hook; one at a time."""

    def __init__(self, pod: PodContext, spec: Object, probe: Callable[[Object], Awaitable[probes.ProbeResult]]) -> None:
        """End nothing yet.

        Args:
            pod: The Pod.
            spec: The container of the Pod's spec.
            probe: Runs the action of a hook.
        """
        self._pod, self._spec, self._probe = pod, spec, probe
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._period = GracePeriod()

    def in_progress(self, process: Process) -> bool:
        """Return True while `process` is being ended."""
        return self._process is process and self._task is not None and not self._task.done()

    def grace(self, probe: str = "") -> float:
        """Return the seconds from SIGTERM to SIGKILL; a failed `probe` may have its own."""
        pod, own = self._pod.view()["spec"], self._spec.get(probe) or {}
        given = pod.get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
        return float(own.get("terminationGracePeriodSeconds", given))

    def begin(self, process: Process, period: GracePeriod) -> asyncio.Task[None]:
        """Return the task that ends `process` within `period`; one that does so already gets no more time than that."""
        if self._task is not None and self.in_progress(process):
            period.include(self._period)
            return self._task
        if self._task is not None:
            self._task.cancel()  # the hook of an earlier run, whose process ended meanwhile
        self._process, self._period = process, period
        self._task = asyncio.create_task(self._run(process, period))
        return self._task

    async def _run(self, process: Process, period: GracePeriod) -> None:
        if (hook := (self._spec.get("lifecycle") or {}).get("preStop")) and period.left() > 0:
            async with period.limit():
                answer = await probes.run_hook(hook, period.left(), self._probe)
                if not answer.passed:
                    name = self._spec["name"]
                    self._pod.event("Warning", "FailedPreStopHook", f"preStop hook of {name}: {answer.message}")
        extra = max(0.0, LEAST_SECONDS - period.left())  # where a hook, or the wait for other containers, took the rest
        await self._pod.launcher.kill(process, signal.SIGTERM)
        async with period.limit(extra):
            await process.wait()
        await self._pod.launcher.kill(process)
