"""Sample the traffic of a stack's waypoints at least twice a second, in a thread of its own.

One `kubectl proxy` carries the watches and the logs, and one `kubectl exec` for each Pod the counters. No request is
sent.
"""

import asyncio
import threading
import time
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import LabError, WaitError, described
from waypoint_lab.live import stack_file
from waypoint_lab.live.cluster_objects import MOST_CHANGES
from waypoint_lab.live.cluster_reader import ClusterReader
from waypoint_lab.live.connection import START_SECONDS, Api
from waypoint_lab.live.model import Change, Fault, PromotionProgress, TrafficSnapshot
from waypoint_lab.live.promotion import changes as promotion_changes
from waypoint_lab.live.promotion import promotion
from waypoint_lab.live.services import services
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout import progress
from waypoint_lab.rollout.journal import Journal, Record

INTERVAL_SECONDS = 0.4
SOON_SECONDS = 0.1  # after a change of an object or of Envoy's routes
FREQUENT_SECONDS = 2.0  # after a change of an object, which Envoy gets some time later
END_SECONDS = 15.0


class Sampler:
    """Snapshots of a stack's traffic; a context manager that ends all its processes."""

    def __init__(self, config: LabConfig, folder: Path, stack: str = "dev", window_seconds: float = 10.0) -> None:
        """Keep the stack; nothing is started yet.

        Args:
            config: The stack's config, whose target the environment is prepared for.
            folder: Folder of the project.
            stack: Name of the stack.
            window_seconds: Greatest length of the window that the numbers are of.
        """
        self._config, self._folder, self._stack = config, folder, stack
        self._window_seconds = window_seconds
        self._journal = Journal(folder, stack)
        self._records: tuple[float, list[Record]] = (-1.0, [])
        self._journal_problem = ""
        self._changed = threading.Condition()
        self._snapshot = TrafficSnapshot(time=0.0, stack=stack, namespace=config.app.namespace, problem="no answer yet")
        self._started, self._error = threading.Event(), LabError("")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> "Sampler":
        """Start.

        Raises:
            KubectlError: kubectl is missing, or the cluster cannot be reached.
        """
        self._thread.start()
        if not self._started.wait(START_SECONDS + END_SECONDS):
            raise WaitError(f"live view: kubectl proxy did not start within {START_SECONDS:g} s")
        if str(self._error):
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        """End the thread and its processes."""
        self._stopping = True  # for a task that ends at the moment of its cancellation
        if self._loop and (work := self._work) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(work.cancel)
        self._thread.join(END_SECONDS)

    def snapshot(self) -> TrafficSnapshot:
        """Return the newest snapshot."""
        return self._snapshot

    @property
    def ended(self) -> bool:
        """True once no snapshot follows the newest one."""
        return not self._thread.is_alive()

    def wait(self, after: TrafficSnapshot | None, limit_seconds: float = 2.0) -> TrafficSnapshot | None:
        """Return the newest snapshot, once it is another than `after`; None where none comes in time.

        Times of snapshots are not compared, because the clock may be set back.

        Args:
            after: The snapshot that is known; None without one.
            limit_seconds: Limit of the wait.
        """
        with self._changed:
            new = self._changed.wait_for(lambda: self._snapshot.time and self._snapshot is not after, limit_seconds)
            return self._snapshot if new else None

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass  # by `__exit__`
        except Exception as error:  # of any type: a view that stands still has to say why
            self._error = error if isinstance(error, LabError) else LabError(f"live view: {described(error)}")
            problem = f"the live view has ended ({self._error}); start it again"
            self._show(replace(self._snapshot, time=time.time(), problem=problem))
        finally:
            self._started.set()

    async def _run(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.current_task()
        async with Api(self._config.target) as api:
            reader = ClusterReader(self._config, self._folder, self._stack, self._window_seconds, api)
            self._started.set()
            stack = PulumiStack(self._folder, self._stack)
            tasks = [*reader.start(), asyncio.create_task(stack_file.follow(stack, reader.take))]
            frequent_until = 0.0
            try:
                while not self._stopping:
                    began = time.monotonic()
                    changed = await reader.read()
                    for task in tasks:
                        if task.done():  # by an error alone
                            task.result()
                    self._publish(reader)
                    now = time.monotonic()
                    if reader.woken.is_set():
                        reader.woken.clear()
                        frequent_until = now + FREQUENT_SECONDS
                    soon = changed or now < frequent_until
                    pause = SOON_SECONDS if soon else max(0.0, INTERVAL_SECONDS - (now - began))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await reader.woken.wait()
            finally:
                self._work = None  # its end is not cancelled
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await reader.close()

    def _publish(self, reader: ClusterReader) -> None:
        now, clock, found, window = time.time(), time.monotonic(), reader.objects, reader.window
        running, records = progress.read(self._journal), self._read_journal()
        all_changes: list[Change] = [*found.changes, *reader.live_changes, *reader.updates]
        all_changes += promotion_changes(records[-MOST_CHANGES:])
        shown: PromotionProgress | None = promotion(records, running)
        snapshot = TrafficSnapshot(
            time=now,
            stack=self._stack,
            namespace=self._config.app.namespace,
            window_seconds=round(clock - window.began, 3) if window.began else 0.0,
            services=services(reader.config, reader.routes, found.declared(), window, clock),
            faults=(*found.faults(), *self._upstream(reader)),
            policies=tuple(found.policies()),
            changes=tuple(sorted(all_changes, key=lambda one: one.time)[-MOST_CHANGES:]),
            promotion=shown,
            problem=reader.problem() or self._journal_problem,
        )
        self._show(snapshot)

    def _show(self, snapshot: TrafficSnapshot) -> None:
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()

    def _upstream(self, reader: ClusterReader) -> list[Fault]:
        """Return the fault of the failing workload, where a route sends requests to it."""
        config, failing = reader.config, f"{reader.config.rule_name}-upstream"
        routed = {one.name for routes in reader.routes.values() for one, weight in routes.weights.items() if weight}
        if failing not in routed:
            return []
        fault, found = config.fault, []
        if config.stages.delay:
            found.append(("delay", f"delay {fault.delay.seconds:g} s"))
        if config.stages.abort:
            found.append(("abort", f"abort with {fault.abort.status} for {fault.abort.percent:g} % of requests"))
        return [
            Fault(service=config.app.service, at="upstream", kind=kind, text=text, object=f"Deployment {failing}")
            for kind, text in found or [("abort", "fault")]
        ]

    def _read_journal(self) -> list[Record]:
        """Return the journal, which is read again after it was written."""
        self._journal_problem = ""
        try:
            written = self._journal.file.stat().st_mtime_ns / 1e9
            if written != self._records[0]:
                self._records = (written, self._journal.records())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._journal_problem = f"{self._journal.file}: it cannot be read ({error.strerror}); make it readable"
            return []
        return self._records[1]
