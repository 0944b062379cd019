import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

import components
from components import package
from tests.documented import documented
from tools import component_tables

CLONE = Path(components.__file__).parents[1]
FOLDER = CLONE / "components"
SCHEMA = json.loads((FOLDER / "schema.json").read_text())
OF_THE_CLONE = {"waypoint_lab", "embedded", "policies", "tests", "tools"}


# The schema.


@pytest.mark.timeout(60)
def test_command_of_the_document_writes_the_reviewed_schema(tmp_path: Path) -> None:
    """The command has a process of its own. Python 3.11 can fail in `ast.parse` where it collects garbage meanwhile.

    Pulumi's analyzer ignores the failure, and leaves a description out.
    """
    command = documented(
        "docs/components.md",
        ".venv/bin/python -m components.package > components/schema.json",
        {".venv/bin/python": sys.executable, "components/schema.json": str(tmp_path / "schema.json")},
    )
    subprocess.run(["sh", "-c", command], cwd=CLONE, check=True, timeout=50)
    assert (FOLDER / "schema.json").read_text() == (tmp_path / "schema.json").read_text(), f"write it again: {command}"


@pytest.fixture
def _reviewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the reviewed schema in place of another analysis of the components."""
    monkeypatch.setattr(package, "schema", lambda: json.dumps(SCHEMA))


@pytest.mark.usefixtures("_reviewed")
def test_command_of_the_document_writes_its_tables(tmp_path: Path) -> None:
    assert documented("docs/components.md", ".venv/bin/python -m tools.component_tables")
    document, program = tmp_path / "docs" / "components.md", tmp_path / "tools" / "component_tables.py"
    for file, source in ((document, component_tables.DOCUMENT), (program, Path(component_tables.__file__))):
        file.parent.mkdir()
        file.write_text(source.read_text().replace("| input |", "| other |"))
    runpy.run_path(str(program), run_name="__main__")
    assert component_tables.DOCUMENT.read_text() == document.read_text()


def undescribed(path: str, item: dict[str, Any]) -> list[str]:
    """The paths of all that has no description, of a component, a type or a property and of all inside them."""
    found = [] if item.get("description", "").strip() else [path]
    for inside in ("inputProperties", "properties"):
        for name, prop in item.get(inside, {}).items():
            found += undescribed(f"{path}.{name}", prop)
    for inside in ("items", "additionalProperties"):
        if inside in item:
            found += undescribed(f"{path}.{inside}", item[inside])
    for word in item.get("enum", []):
        found += undescribed(f"{path}.{word['name']}", word)
    return found


def test_schema_has_a_description_of_everything() -> None:
    everything = {**SCHEMA["resources"], **SCHEMA["types"]}
    assert [path for name, item in everything.items() for path in undescribed(name, item)] == []


def test_undescribed_finds_nested_items() -> None:
    given = {
        "description": "d",
        "properties": {"a": {"type": "array", "description": "d", "items": {"description": " "}}},
        "enum": [{"name": "B"}],
    }
    assert undescribed("t", given) == ["t.a.items", "t.B"]


def test_schema_has_all_components_with_their_required_inputs() -> None:
    required = {token: item["requiredInputs"] for token, item in SCHEMA["resources"].items()}
    assert required == {
        "waypoint-lab:index:Waypoint": ["namespace"],
        "waypoint-lab:index:L7Policy": ["namespace", "rules", "services"],
        "waypoint-lab:index:CanaryRoute": ["namespace", "port", "service"],
        "waypoint-lab:index:ChaosRule": ["namespace", "port", "service"],
        "waypoint-lab:index:ServiceTraffic": ["namespace", "port", "service"],
        "waypoint-lab:index:FailClosed": ["labels", "namespace"],
        "waypoint-lab:index:OutcomeObservation": ["namespace", "triggers"],
        "waypoint-lab:index:OutcomeGate": ["observation"],
    }


def test_versions_equal_those_of_the_project() -> None:
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["version"]) == (package.NAME, package.VERSION)
    pinned = set(re.findall(r"^[a-z0-9-]+==[^ \\]+", (CLONE / "requirements.txt").read_text(), re.MULTILINE))
    for folder in ("components", "examples/greeter"):
        assert set((CLONE / folder / "requirements.txt").read_text().split()) <= pinned, folder


# The document.


@pytest.mark.usefixtures("_reviewed")
def test_document_has_the_tables_of_the_schema() -> None:
    text = component_tables.DOCUMENT.read_text()
    assert sorted(component_tables.tables()) == sorted(component_tables.names(text))
    again = "write them again with: python -m tools.component_tables"
    assert component_tables.filled(text) == text, again


def problems(value: Any, prop: dict[str, Any]) -> list[str]:
    """Names in `value` that the schema's `prop` does not have."""
    if "$ref" in prop:
        fields = SCHEMA["types"][prop["$ref"].removeprefix("#/types/")].get("properties", {})
        return [name for name in value if name not in fields] if fields else []
    return [name for item in value for name in problems(item, prop["items"])] if "items" in prop else []


def test_document_names_only_inputs_of_the_schema() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", component_tables.DOCUMENT.read_text(), re.DOTALL)
    for resource in yaml.safe_load(text)["resources"].values():
        item = SCHEMA["resources"][resource["type"].replace(":", ":index:")]
        assert set(item["requiredInputs"]) <= set(resource["properties"]) <= set(item["inputProperties"])
        for name, value in resource["properties"].items():
            assert problems(value, item["inputProperties"][name]) == []


# The folder alone.


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """A copy of the folder in a place where nothing else is, under a name that is no module's."""
    copy = tmp_path / "plugin-1.0"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__", "venv"))
    return copy


@pytest.fixture
def hosted(alone: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """The copy as the engine starts it: with an address without a listener, without this project on PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = alone.parent / "imports"
    with said.open("w") as errors:
        command = [sys.executable, "-u", "-X", "importtime", str(alone), "127.0.0.1:1"]
        process = subprocess.Popen(
            command, cwd=alone.parent, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout
    with process.stdout:
        yield process, said
        process.terminate()
        process.wait(20)


@pytest.mark.timeout(60)
def test_folder_alone_serves_the_reviewed_schema(hosted: tuple["subprocess.Popen[str]", Path]) -> None:
    process, said = hosted
    assert process.stdout
    port = process.stdout.readline().strip()
    assert port.isdecimal(), said.read_text()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        answer = stub.GetSchema(provider_pb2.GetSchemaRequest(), timeout=20)
        assert json.loads(answer.schema) == SCHEMA
        assert stub.GetPluginInfo(provider_pb2.google_dot_protobuf_dot_empty__pb2.Empty()).version == package.VERSION
    imported = {line.rsplit("|", 1)[-1].strip() for line in said.read_text().splitlines() if "|" in line}
    assert {"components.package", "components.waypoint", "pulumi"} <= imported
    assert {name for name in imported if name.split(".")[0] in OF_THE_CLONE} == set()


IMPORTING = """
import json
import sys

import mesh_traffic
import recording

given = {"namespace": "n", "service": "s", "port": 80, "baseline": "a", "canary": "b", "weight": 0.1}
record = recording.run(lambda: mesh_traffic.CanaryRoute("r", given))
files = {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}
print(json.dumps([record.inputs("r-route")["spec"]["rules"], files]))
"""


@pytest.mark.timeout(60)
def test_folder_alone_is_a_package_under_any_name(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "venv")
    shutil.copytree(FOLDER, tmp_path / "mesh_traffic", ignore=ignored)
    shutil.copy(CLONE / "tests" / "unit" / "components" / "recording.py", tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", IMPORTING]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rules, files = json.loads(done.stdout)
    assert [ref["weight"] for ref in rules[0]["backendRefs"]] == [999, 1]
    assert {name for name in files if name.split(".")[0] in {*OF_THE_CLONE, "components"}} == set()
    installed = Path(sys.prefix).resolve()
    ours = {name for name, file in files.items() if file and Path(file).is_relative_to(CLONE)}
    assert {name for name in ours if not Path(files[name]).is_relative_to(installed)} == set()
