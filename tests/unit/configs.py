"""Configurations for tests."""

from collections.abc import Mapping
from typing import Any

from waypoint_lab.config.paths import Settings, put
from waypoint_lab.config.settings import LabConfig


def lab_config(*on: str, **objects: object) -> LabConfig:
    """Read a config with the stages `on` and these settings objects, such as `canary={"weight": 50}`."""
    return LabConfig.from_mapping({"stages": dict.fromkeys(on, True), **objects})


def of_step(on: tuple[str, ...], settings: Mapping[str, object]) -> LabConfig:
    """Read a config with the stages `on` and settings by path."""
    return LabConfig.from_mapping({**nested(settings), "stages": dict.fromkeys(on, True)})


def nested(settings: Settings) -> dict[str, Any]:
    """Return settings by path as nested maps."""
    found: dict[str, Any] = {}
    put(found, settings)
    return found
