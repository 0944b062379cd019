"""The configuration of a stack, from its file and the defaults of its project."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.configs import lab_config
from waypoint_lab.config.target import stack_config, target_kind
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


SECURE = {"secure": "v1:abc"}


@pytest.mark.parametrize(
    ("config", "project", "kind"),
    [
        ({}, {}, "embedded"),
        ({"target": {"kind": "existing", "context": SECURE}}, {}, "existing"),
        ({"target": '{"kind": "kind"}', "canary": SECURE}, {}, "kind"),
        ({"canary": {"weight": SECURE, "cohort": {"path": SECURE}}}, {"target.kind": "existing"}, "existing"),
    ],
)
def test_target_kind_reads_no_secret(tmp_path: Path, config: dict[str, Any], project: Any, kind: str) -> None:
    written(tmp_path, {"config": {f"waypoint-lab:{name}": value for name, value in config.items()}}, project)
    assert target_kind(tmp_path, "dev") == kind


@pytest.mark.parametrize("target", [SECURE, {"kind": SECURE}])
def test_target_kind_that_is_secret_is_refused(tmp_path: Path, target: Any) -> None:
    written(tmp_path, {"config": {"waypoint-lab:target": target}}, {})
    with pytest.raises(ConfigError, match=r"^waypoint-lab:target\.kind: it is secret, .*; set it plain$"):
        target_kind(tmp_path, "dev")


@pytest.mark.parametrize("target", ["prod", {"kind": "other"}, {"kind": ["kind"]}])
def test_target_kind_that_is_not_valid_is_refused(tmp_path: Path, target: Any) -> None:
    written(tmp_path, {"config": {"waypoint-lab:target": target}}, {})
    with pytest.raises(ConfigError, match=r"^waypoint-lab:target.* is not valid; use "):
        target_kind(tmp_path, "dev")


@pytest.mark.parametrize("text", ["2024-05-01", "2024-5-1", "2024-05-01T10:00:00Z", "2024-05-01 10:00:00"])
def test_stack_config_date_is_refused_unless_it_is_quoted(tmp_path: Path, text: str) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text(
        f"config: {{other:date: {text}, 'waypoint-lab:fault': {{start: {text}}}}}"
    )
    with pytest.raises(ConfigError, match=r"^waypoint-lab:fault.start: .* is not valid; .*; quote it as text"):
        stack_config(tmp_path)
    (tmp_path / "Pulumi.dev.yaml").write_text(f"config: {{'waypoint-lab:fault': {{start: '{text}'}}}}")
    assert stack_config(tmp_path).fault.start == text
