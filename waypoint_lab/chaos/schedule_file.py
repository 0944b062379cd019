"""The file of a schedule: health check and faults, with the settings of the stack's config."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from waypoint_lab.config import stack_yaml, types
from waypoint_lab.config.decode import PROJECT, read
from waypoint_lab.config.models import Model
from waypoint_lab.config.traffic_models import AbortSettings, DelaySettings, HeaderSettings
from waypoint_lab.errors import ConfigError

Start = Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")]
Length = Annotated[float, Meta(ge=1, le=3600, description="a number of seconds from 1 to 3600")]
Limit = Annotated[float, Meta(gt=0, le=60, description="a number of seconds above 0, at most 60")]
Failures = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")]


class HealthCheck(Model, frozen=True):
    """A URL that must answer with a status below 400. It is requested every half second."""

    url: types.Address
    """The address."""
    contains: str = ""
    """Text that the answer must contain."""
    seconds: Limit = 2.0
    """Limit of one answer."""
    failures: Failures = 2
    """Failures in a row that make the application unhealthy."""


class ScheduledFault(Model, frozen=True):
    """One fault of a schedule."""

    start_seconds: Start
    """Start after the start of the schedule."""
    duration_seconds: Length
    """Length of the fault."""
    abort: AbortSettings | None = None
    """The error; its defaults are those of the stack."""
    delay: DelaySettings | None = None
    """The delay."""
    header: HeaderSettings | None = None
    """Limit the fault to requests with this header."""
    at: Literal["waypoint", "upstream"] = "waypoint"
    """Origin of the fault."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that the fault turns on."""
        return tuple(name for name in ("delay", "abort") if getattr(self, name))

    def settings(self) -> dict[str, object]:
        """Return the fault as settings by path; None removes one."""
        found: dict[str, object] = {"fault.at": self.at, "fault.header": None}
        if self.header:
            found["fault.header"] = msgspec.to_builtins(self.header)
        if self.delay:
            found["fault.delay.seconds"] = self.delay.seconds
        if self.abort:
            found |= {"fault.abort.percent": self.abort.percent, "fault.abort.status": self.abort.status}
        return found

    def __str__(self) -> str:
        """Return the fault as a person reads it."""
        delay = [f"delay of {self.delay.seconds:g} s"] if self.delay else []
        abort = [f"{self.abort.percent:g} % answered with {self.abort.status}"] if self.abort else []
        return ", ".join([*delay, *abort])


class Schedule(Model, frozen=True):
    """A health check, and faults that follow each other."""

    health: HealthCheck
    """The health check."""
    faults: tuple[ScheduledFault, ...]
    """The faults, in order."""


def load(file: Path) -> Schedule:
    """Read a schedule.

    Raises:
        ConfigError: The file cannot be read, or a value is not valid.
    """
    try:
        document: Any = stack_yaml.load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8
        raise ConfigError(f"{file}: it cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or set(document) != {"health", "faults"}:
        raise ConfigError(f"{file}: it must have exactly the keys health and faults")
    if not isinstance(document["faults"], list) or not document["faults"]:
        raise ConfigError(f"{file}: faults must be a list of at least one fault")
    try:
        health = read(HealthCheck, document["health"], "health")
        faults = [read(ScheduledFault, item, f"faults[{number}]") for number, item in enumerate(document["faults"])]
    except ConfigError as error:
        raise ConfigError(f"{file}: {str(error).removeprefix(f'{PROJECT}:')}") from None
    for number, fault in enumerate(faults):
        before = faults[number - 1] if number else None
        if not fault.stages:
            raise ConfigError(f"{file}: faults[{number}]: it has no effect; give abort, delay or both")
        if before and fault.start_seconds < before.start_seconds + before.duration_seconds:
            end = before.start_seconds + before.duration_seconds
            raise ConfigError(
                f"{file}: faults[{number}].startSeconds: the fault before ends later; use {end:g} or more"
            )
    return Schedule(health=health, faults=tuple(faults))
