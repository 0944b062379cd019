"""The program with settings of any shape: it registers objects of plain JSON, or fails in one line."""

import json
from random import Random

import pulumi

from tests.unit import shapes
from tests.unit.components.recording import run
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.program.build import build


def settings(random: Random) -> dict[str, object]:
    """Return settings without the kinds of target that need more than an API server, and with stages that fit."""
    found = shapes.config(random, LabConfig, random.choice((0, 0, 0.02)), random.choice((0.1, 0.3)))
    stages = {"waypoint": True, **{name: random.random() < 0.5 for name in ("canary", "premium", "abort", "retries")}}
    return {**found, "target": {}, "stages": stages, "trafficApi": "virtual-service"}


def test_program_with_settings_of_any_shape_renders_or_fails() -> None:
    taken = 0

    def check(random: Random) -> None:
        nonlocal taken
        try:
            config = LabConfig.from_mapping(settings(random))
        except ConfigError:
            return
        refused = "nothing"
        try:
            record = run(lambda: build(config))
            taken += 1
            json.dumps([record.inputs(name) for name in record.kinds()])
        except pulumi.RunError as error:
            refused = str(error)
        assert len(refused.splitlines()) == 1

    shapes.cases(check, shapes.CASES // 8)
    assert taken > shapes.CASES / 80
