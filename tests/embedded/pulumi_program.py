"""Small Pulumi programs for tests: what they register is data, run by the real engine on the real API server."""

import json
import subprocess
from pathlib import Path
from typing import Any

from embedded.project import PROJECT_FOLDER

Object = dict[str, Any]
SECONDS = 300
PROGRAM = """
import json
import pathlib

import pulumi
import pulumi_kubernetes

from components import KubernetesObject

document = json.loads(pathlib.Path("resources.json").read_text())
config = pulumi.Config()
provider = pulumi_kubernetes.Provider("cluster", **document["provider"]) if document["provider"] else None


def opened(value):
    if isinstance(value, dict):
        return {key: opened(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("config:"):
        return config.require_secret(value.removeprefix("config:"))
    return value


made = {}
for row in document["resources"]:
    options = dict(row.get("options", {}))
    options["depends_on"] = [made[name] for name in options.get("depends_on", [])]
    if "custom_timeouts" in options:
        options["custom_timeouts"] = pulumi.CustomTimeouts(**options["custom_timeouts"])
    given = pulumi.ResourceOptions(provider=provider, **options)
    name = row["name"]
    if "type" in row:
        made[name] = pulumi.CustomResource(row["type"], name, opened(row["properties"]), given)
    else:
        made[name] = KubernetesObject(name, opened(row["document"]), given, patch=row.get("patch", False))
        pulumi.export(name, made[name].metadata)
"""


class Program:
    """One project with one stack in a file backend of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Writes the project and creates the stack."""
        self.folder = folder / "program"
        self.folder.mkdir()
        backend = folder / "backend"
        backend.mkdir()
        self.environment = {
            **environment,
            "PYTHONPATH": str(PROJECT_FOLDER),
            "PULUMI_BACKEND_URL": backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "a test's own",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.environment.pop("PULUMI_CONFIG_PASSPHRASE_FILE", None)
        (self.folder / "Pulumi.yaml").write_text("name: plugin-test\nruntime: python\n")
        (self.folder / "__main__.py").write_text(PROGRAM)
        self.write()
        self.pulumi("stack", "init", "test")

    def write(self, *resources: Object, provider: Object | None = None) -> None:
        """Set the resources that the program registers."""
        document = {"provider": provider or {}, "resources": resources}
        (self.folder / "resources.json").write_text(json.dumps(document))

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a pulumi command in the background."""
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs pulumi and returns all that it said; it must succeed, or fail where `fails`."""
        process = self.start(*arguments)
        try:
            said, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # Pulumi writes its state and releases its lock
            process.communicate(timeout=60)
            raise
        assert (process.returncode != 0) is fails, said
        return said

    def up(self, *more: str, fails: bool = False) -> str:
        """`pulumi up`."""
        return self.pulumi("up", "--yes", "--skip-preview", "--suppress-progress", *more, fails=fails)

    def destroy(self) -> str:
        """`pulumi destroy`."""
        return self.pulumi("destroy", "--yes", "--skip-preview", "--suppress-progress")

    def preview(self) -> list[Object]:
        """The steps of `pulumi preview`, without those of the stack itself and of providers."""
        said = self.pulumi("preview", "--json")
        steps: list[Object] = json.loads(said[said.index("{") :])["steps"]
        return [step for step in steps if "pulumi:" not in step["urn"].split("::")[2]]

    def state(self) -> dict[str, Object]:
        """The Kubernetes resources of the stack, by their Pulumi names."""
        return self.resources("kubernetes:")

    def resources(self, kind: str) -> dict[str, Object]:
        """The resources of the stack whose type begins with `kind`, by their Pulumi names."""
        said = self.pulumi("stack", "export")
        found = json.loads(said[said.index("{") :])["deployment"].get("resources", [])
        return {item["urn"].split("::")[-1]: item for item in found if item["type"].startswith(kind)}
