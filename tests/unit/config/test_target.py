"""The configuration of a stack, from its file and the defaults of its project."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.configs import lab_config
from waypoint_lab.config.target import encrypted, read_secrets, stack_config, target_kind
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


@pytest.mark.parametrize("key", ["canary", "waypoint-lab:config:canary"])
def test_stack_config_has_keys_in_each_form_that_pulumi_reads(tmp_path: Path, key: str) -> None:
    written(tmp_path, {"config": {key: {"weight": 30, "cohort": {"path": SECURE}}}}, {})
    assert stack_config(tmp_path, secrets={"v1:abc": "/a"}).canary.weight == 30
    shown = {"waypoint-lab:canary": {"objectValue": {"cohort": {"path": "/a"}}}}
    assert read_secrets(shown, encrypted(tmp_path, "dev")) == {"v1:abc": "/a"}


@pytest.mark.parametrize("file", ["stack", "project"])
@pytest.mark.parametrize("keys", [("canary", "waypoint-lab:canary"), ("waypoint-lab:canary", "canary")])
def test_stack_config_key_in_two_forms_is_refused(tmp_path: Path, file: str, keys: tuple[str, ...]) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("")
    name = {"stack": "Pulumi.dev.yaml", "project": "Pulumi.yaml"}[file]
    (tmp_path / name).write_text("config:\n" + "".join(f"  {key}: {{weight: 5}}\n" for key in keys))
    with pytest.raises(ConfigError, match=rf"^{name}: {keys[0]} and {keys[1]} are one setting; remove canary$"):
        stack_config(tmp_path)


def test_stack_config_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config:\n  a:b: 1\n  a:b: 2\n")
    with pytest.raises(
        ConfigError, match=r"^Pulumi.dev.yaml: it is not valid YAML .*\(key a:b is there twice in the map"
    ):
        stack_config(tmp_path)


@pytest.mark.parametrize("environment", [["mesh"], {"imports": ["mesh"]}])
def test_stack_config_with_an_environment_of_pulumi_is_refused(tmp_path: Path, environment: Any) -> None:
    written(tmp_path, {"environment": environment, "config": {}}, {})
    with pytest.raises(ConfigError, match=r"^Pulumi.dev.yaml: environment is read by Pulumi only"):
        stack_config(tmp_path)
    written(tmp_path, {"environment": []}, {})
    assert stack_config(tmp_path) == lab_config()


KUBECONFIG = {"apiVersion": "v1", "users": [{"user": {"token": "T0KEN"}}]}


@pytest.mark.parametrize("contents", [KUBECONFIG, json.dumps(KUBECONFIG), yaml.safe_dump(KUBECONFIG), ["T0KEN"]])
def test_stack_config_with_the_contents_of_a_kubeconfig_is_refused_without_them(tmp_path: Path, contents: Any) -> None:
    written(tmp_path, {"config": {"target": {"kind": "existing", "kubeconfig": contents}}}, {})
    why = r'^waypoint-lab:target.kubeconfig: "\[secret\]" is not valid; use the path of a file, not its contents'
    with pytest.raises(ConfigError, match=why):
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
