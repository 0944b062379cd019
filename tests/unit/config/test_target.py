"""The configuration of a stack, from its file and the defaults of its project."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.configs import lab_config
from waypoint_lab.config.target import stack_config
from waypoint_lab.errors import ConfigError

AFFINITY = {"sessionAffinity": {"maxAgeSeconds": 60}}


def written(folder: Path, stack: Any, project: Any) -> None:
    (folder / "Pulumi.dev.yaml").write_text(yaml.safe_dump(stack))
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "waypoint-lab", "config": project}))


@pytest.mark.parametrize(
    ("stack", "project", "canary"),
    [
        ({}, {"waypoint-lab:canary": {"value": {"weight": 30}}}, {"weight": 30}),
        ({}, {"canary": {"type": "object", "default": {"weight": 30}}}, {"weight": 30}),
        ({}, {"canary.weight": {"value": 30}}, {"weight": 30}),
        ({}, {"canary.weight": 30, "canary.mirrorPercent": 5}, {"weight": 30, "mirrorPercent": 5}),
        # As with Pulumi, a key of the stack takes the place of the project's whole object, but not of its paths.
        ({"weight": 5}, {"canary": {"value": {"weight": 30, **AFFINITY}}}, {"weight": 5}),
        ({"weight": 5}, {"canary.weight": 30, "canary.mirrorPercent": 5}, {"weight": 5, "mirrorPercent": 5}),
        ({"weight": 5}, {"canary": {"type": "object"}, "kubernetes:context": {"value": "x"}}, {"weight": 5}),
    ],
)
def test_stack_config_has_the_defaults_of_the_project(tmp_path: Path, stack: Any, project: Any, canary: Any) -> None:
    config = {"waypoint-lab:canary": stack} if stack else {}
    on = {"waypoint-lab:stages": {"waypoint": True, "canary": True}}
    written(tmp_path, {"config": {**on, **config}}, project)
    assert stack_config(tmp_path) == lab_config("waypoint", "canary", canary=canary)


@pytest.mark.parametrize("document", [["x"], {"config": ["x"]}, {"config": "x"}, "x"])
def test_stack_config_of_another_shape_is_refused_in_one_line(tmp_path: Path, document: Any) -> None:
    written(tmp_path, document, {})
    with pytest.raises(ConfigError, match=r"^Pulumi.dev.yaml: config is not a map of settings; fix it$"):
        stack_config(tmp_path)
