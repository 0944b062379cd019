"""Run a schedule of faults; stop as soon as the application is unhealthy."""

import threading
import time
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from waypoint_lab import signals
from waypoint_lab.chaos import blast_radius
from waypoint_lab.chaos.health_checks import HealthMonitor
from waypoint_lab.chaos.schedule_file import Schedule, ScheduledFault
from waypoint_lab.config import combinations
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.traffic_models import TrafficApi
from waypoint_lab.errors import ConfigError, LabError, NotSyncedError, RestoreError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.restore import restored, selected
from waypoint_lab.measure.stage_run import set_step
from waypoint_lab.measure.verify import Measurement, measure
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages.table import Step, expectations
from waypoint_lab.waiting import wait as wait_until

EXPIRY_GRACE_SECONDS = 30.0  # the cluster removes a fault this long after its end, if this process cannot
Report = Callable[[str], None]
Show = Callable[[Sequence[Measurement]], None]


def step_of(fault: ScheduledFault, base: LabConfig, start: str) -> Step:
    """Return the toggles and settings while a fault is on. The fault expires, even if this process is killed.

    Args:
        fault: The fault.
        base: Config of the stack without it.
        start: Any text that no fault had before.
    """
    settings: dict[str, object] = {
        **fault.settings(),
        "fault.durationSeconds": min(fault.duration_seconds + EXPIRY_GRACE_SECONDS, 3600),
        "fault.start": start,
        "trafficApi": _traffic_api(base),
    }
    return Step(tuple(sorted({*base.stages.on, *fault.stages})), settings)


def _traffic_api(base: LabConfig) -> TrafficApi:
    return "virtual-service" if base.stages.canary or base.stages.premium else base.traffic_api


def check(faults: Sequence[ScheduledFault], base: LabConfig) -> None:
    """Check that each fault goes with the stack's config, and hits requests.

    Raises:
        ConfigError: One does not; the message names it.
    """
    for number, fault in enumerate(faults):
        stages = replace(base.stages, **dict.fromkeys(fault.stages, True))
        given = {name: getattr(fault, name) for name in fault.stages}
        declared = replace(base.fault, at=fault.at, header=fault.header, **given)
        config = replace(base, stages=stages, fault=declared, traffic_api=_traffic_api(base))
        parts = (config.stages, config.app, config.waypoint, config.canary, config.fault)
        try:
            combinations.check(*parts, exclusive=not config.uses_virtual_service)
        except ConfigError as error:
            raise ConfigError(f"faults[{number}]: {str(error).removeprefix(f'{PROJECT}:')}") from None
        for why in blast_radius.no_effect(config):
            raise ConfigError(f"faults[{number}]: it hits nothing: {why}; change the fault, or the stack")


def run(stack: PulumiStack, schedule: Schedule, base: LabConfig, report: Report, show: Show) -> int:
    """Run a schedule. The stack is restored in the end, however the run ends.

    Args:
        stack: The stack.
        schedule: Health check and faults.
        base: Config of the stack without faults.
        report: Shows one line.
        show: Shows the verdicts of one fault.

    Returns:
        0 if every fault was as declared, 1 if not, unhealthy or not restored, 130 if interrupted.

    Raises:
        ConfigError: The stack has a fault already, or no waypoint, or a fault cannot have an effect.
    """
    if base.faulty:
        raise ConfigError("stages.delay or stages.abort is on; turn it off before a schedule")
    if not base.stages.waypoint:
        raise ConfigError("stages.waypoint is off; turn it on, and run `pulumi up`, before a schedule")
    check(schedule.faults, base)
    failed, stop = 0, signals.StopRequest()

    def interrupt(number: int, frame: object) -> None:
        stop.name = str(number)  # kubectl gets the signal, too, and may fail first
        signals.interrupt(number, frame)

    monitor = HealthMonitor(schedule.health)
    # An update that starts a fault ends early where the application is unhealthy; one that removes a fault does not.
    faulty = PulumiStack(stack.folder, stack.name, lambda: monitor.why)
    try:
        with monitor:
            with selected(stack), restored(stack, report), signals.handled(interrupt):
                before, began = stack.file.read_bytes(), time.monotonic()
                for fault in schedule.faults:
                    if monitor.unhealthy.wait(max(0.0, began + fault.start_seconds - time.monotonic())):
                        break
                    failed += not _run_fault(faulty, fault, base, monitor, report, show)
                    if monitor.unhealthy.is_set():
                        break
                    stack.file.write_bytes(before)
                    stack.up_unchecked()
            report("the stack is restored")
    except KeyboardInterrupt:
        report("interrupted; the stack is restored")
        return signals.EXIT
    except RestoreError as error:
        report(f"interrupted; {error}" if stop() else str(error))
        failed += 1
    except LabError as error:
        report("interrupted; the stack is restored" if stop() else str(error))
        return signals.EXIT if stop() else 1
    if monitor.unhealthy.is_set():
        report(f"stopped: {monitor.why}")
        return 1
    return 1 if failed else 0


def _run_fault(
    stack: PulumiStack, fault: ScheduledFault, base: LabConfig, monitor: HealthMonitor, report: Report, show: Show
) -> bool:
    """Apply one fault and measure it. Return True if it was as declared; end early if the application is unhealthy."""
    config = set_step(stack, step_of(fault, base, f"{time.time():.3f}"))
    try:
        stack.up()
        until = time.monotonic() + fault.duration_seconds
        _wait(config, monitor)
    except LabError:
        if monitor.unhealthy.is_set():
            return False
        raise
    if monitor.unhealthy.is_set():
        return False
    report(f"fault is on for {fault.duration_seconds:g} s: {fault}")
    verdicts: list[Measurement] = []
    measuring = threading.Thread(target=lambda: verdicts.extend(_measure(config, report)), daemon=True)
    measuring.start()
    monitor.unhealthy.wait(max(0.0, until - time.monotonic()))
    if monitor.unhealthy.is_set():
        return False
    measuring.join(0)
    if not verdicts:
        report("the fault ended before it was measured; give it more seconds")
        return False
    show(verdicts)
    return all(item.passed for item in verdicts)


def _wait(config: LabConfig, monitor: HealthMonitor) -> None:
    """Wait until the waypoints have the fault, or the application is unhealthy. Raises NotSyncedError."""

    def missing() -> str:
        found = envoy_config.difference(config)
        return "" if monitor.unhealthy.is_set() else found

    wait_until(missing, envoy_config.DECLARED, envoy_config.LIMIT_SECONDS, error=NotSyncedError)


def _measure(config: LabConfig, report: Report) -> list[Measurement]:
    try:
        return measure(config, expectations(config))
    except LabError as error:
        report(str(error))
        return []
