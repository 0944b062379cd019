"""A list of faults with times, walked one after the other, and stopped at once where the application is not well."""

import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from waypoint_lab import signals
from waypoint_lab.chaos.health_checks import Health, NotWell, Watch
from waypoint_lab.cli.run import RunError, Walk, kept
from waypoint_lab.config.paths import nested
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_config, verify
from waypoint_lab.measure.probe import ProbeError
from waypoint_lab.signals import handled, ignored
from waypoint_lab.stages.table import Step, expectations

TAKE_BACK_TRIES = 5  # the API server may be away for a moment
GRACE_SECONDS = 30.0  # how long after its end the cluster itself takes a fault back, where this walk has not
# entry of a schedule -> setting of the stack
_SETTINGS = {
    "percent": "fault.abort.percent",
    "status": "fault.abort.status",
    "delay": "fault.delay.seconds",
    "header": "fault.header",
    "from": "fault.at",
}


@dataclass(frozen=True)
class Entry:
    """One fault: `at` seconds after the start, for `seconds`, with settings of the stack."""

    at: float
    seconds: float
    stages: tuple[str, ...]
    settings: dict[str, object]


@dataclass(frozen=True)
class Schedule:
    """What is walked, and what is watched meanwhile."""

    health: Health
    entries: tuple[Entry, ...]


def read(file: Path) -> Schedule:
    """A schedule from YAML. Raises ConfigError with one line for what is wrong, and where."""
    try:
        document = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or set(document) != {"health", "faults"}:
        raise ConfigError(f"{file} must have exactly two keys, health and faults")
    return Schedule(_health(file, document["health"]), _entries(file, document["faults"]))


def _health(file: Path, given: Any) -> Health:
    known = {"url", "contains", "seconds", "failures"}
    if not isinstance(given, dict) or not set(given) <= known or "url" not in given:
        raise ConfigError(f"{file}: health must have url, and may have contains, seconds and failures")
    if not str(given["url"]).startswith(("http://", "https://")):
        raise ConfigError(f"{file}: health.url is {given['url']}: it must begin with http:// or https://")
    seconds, failures = given.get("seconds", 2.0), given.get("failures", 2)
    if not isinstance(seconds, int | float) or not 0 < seconds <= 60:
        raise ConfigError(f"{file}: health.seconds is {seconds}: it must be a number above 0, up to 60")
    if not isinstance(failures, int) or not 1 <= failures <= 100:
        raise ConfigError(f"{file}: health.failures is {failures}: it must be a whole number from 1 to 100")
    return Health(str(given["url"]), str(given.get("contains", "")), float(seconds), failures)


def _entries(file: Path, given: Any) -> tuple[Entry, ...]:
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{file}: faults must be a list of at least one fault")
    found: list[Entry] = []
    for number, item in enumerate(given, 1):
        where = f"{file}: fault {number}"
        if not isinstance(item, dict) or (unknown := set(item) - {"at", "seconds", *_SETTINGS}):
            what = f"has no setting {', '.join(sorted(unknown))}" if isinstance(item, dict) else "is no map"
            raise ConfigError(f"{where} {what}; known are at, seconds, {', '.join(_SETTINGS)}")
        for field, low in (("at", 0), ("seconds", 1)):
            value = item.get(field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 3600:
                raise ConfigError(f"{where}: {field} is {value}: it must be a number of seconds from {low} to 3600")
        if found and item["at"] < found[-1].at + found[-1].seconds:
            raise ConfigError(f"{where} begins at {item['at']} s, before fault {number - 1} is over")
        stages = tuple(stage for stage, key in (("delay", "delay"), ("abort", "percent")) if key in item)
        if not stages:
            raise ConfigError(f"{where} does nothing: give percent, delay or both")
        settings = {_SETTINGS[key]: value for key, value in item.items() if key in _SETTINGS}
        try:
            LabConfig.from_mapping(nested(settings))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        found.append(Entry(float(item["at"]), float(item["seconds"]), stages, settings))
    return tuple(found)


def _say(line: str) -> None:
    print(f"chaos: {line}", file=sys.stderr, flush=True)


def step_of(entry: Entry, base: LabConfig, start: str) -> Step:
    """The stack's toggles and settings while a fault is on; the cluster itself ends it, even if this walk dies."""
    routed = base.stages.canary or base.stages.premium
    settings: dict[str, object] = {
        "fault.header": None,
        "fault.at": "waypoint",
        **entry.settings,
        "fault.durationSeconds": min(entry.seconds + GRACE_SECONDS, 3600),
        "fault.start": start,
        "trafficApi": "virtual-service" if routed else base.traffic_api,
    }
    return Step(tuple(sorted({*base.stages.on, *entry.stages})), settings)


def walk(folder: Path, schedule: Schedule, base: LabConfig, stack: str) -> int:
    """0 if every fault was on and did what it should; all is taken back in any case."""
    if base.faulty:
        raise ConfigError(f"{PROJECT}:stages has a fault on already; turn delay and abort off before a schedule")
    if not base.stages.waypoint:
        raise ConfigError("stages.waypoint is off: turn it on, and run `pulumi up`, before a schedule")
    file = folder / f"Pulumi.{stack}.yaml"
    missed, told = 0, threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        told.set()  # a kubectl that is interrupted too may be heard of first
        raise KeyboardInterrupt

    try:
        with handled(interrupt, (signal.SIGINT,)), kept(file), Watch(schedule.health) as watch:
            before, walking = file.read_bytes(), Walk(folder, stack)
            try:
                began = time.monotonic()
                for number, entry in enumerate(schedule.entries, 1):
                    if watch.ill.wait(max(0.0, began + entry.at - time.monotonic())):
                        break
                    missed += not _fault(walking, entry, base, watch, number)
                    if watch.ill.is_set():
                        break
                    file.write_bytes(before)
                    walking.back()
            finally:
                _take_back(walking, file, before)
            if watch.ill.is_set():
                _say(f"stopped: {watch.why}")
                return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return signals.EXIT
    except (RunError, NotWell, envoy_config.NotLive) as error:
        _say("interrupted" if told.is_set() else str(error))
        return signals.EXIT if told.is_set() else 1
    return 1 if missed else 0


def _fault(walking: Walk, entry: Entry, base: LabConfig, watch: Watch, number: int) -> bool:
    """One fault, measured while it is on; whether it did what it should. Ends early where the watch is ill."""
    config = walking.edit(step_of(entry, base, f"{time.time():.3f}"))
    walking.up()
    until = time.monotonic() + entry.seconds
    envoy_config.wait(config)
    _say(f"fault {number} is on for {entry.seconds:g} s: {', '.join(entry.stages)} {entry.settings}")
    verdicts: list[verify.Verdict] = []
    measuring = threading.Thread(target=lambda: verdicts.extend(_measured(config)), daemon=True)
    measuring.start()
    watch.ill.wait(max(0.0, until - time.monotonic()))
    if watch.ill.is_set():
        return False
    measuring.join(0)
    if not verdicts:
        _say(f"fault {number} was over before it could be measured; give it more seconds")
        return False
    print(verify.table(verdicts), flush=True)
    return all(item.passed for item in verdicts)


def _measured(config: LabConfig) -> list[verify.Verdict]:
    try:
        return verify.measure(config, expectations(config))
    except ProbeError as error:
        _say(str(error))
        return []


def _take_back(walking: Walk, file: Path, before: bytes) -> None:
    """The stack as it was; a second interruption does not stop this."""
    with ignored():
        file.write_bytes(before)
        for left in reversed(range(TAKE_BACK_TRIES)):
            try:
                walking.back()
                _say("all is taken back")
                return
            except RunError as error:
                if not left:
                    _say(f"not taken back by Pulumi ({error}); the cluster ends the fault itself when its time is over")
                time.sleep(1)
