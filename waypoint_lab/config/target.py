"""Read a stack's file, and prepare the environment for its cluster."""

import os
from pathlib import Path
from typing import Any

import yaml

from embedded import cluster, shell
from waypoint_lab import kubectl
from waypoint_lab.config.paths import put
from waypoint_lab.config.settings import PROJECT, LabConfig
from waypoint_lab.config.types import SECRET
from waypoint_lab.errors import ConfigError


def stack_config(folder: Path, stack: str = "dev") -> LabConfig:
    """Read the configuration of a stack from its file, and the defaults of the project. Secrets are placeholders.

    Args:
        folder: The project.
        stack: Name of the stack.

    Raises:
        ConfigError: There is no such file, or a setting is not valid.
    """
    file = folder / f"Pulumi.{stack}.yaml"
    if not file.exists():
        raise ConfigError(f"{file.name}: there is no such file; choose a stack that exists")
    config = _masked(_config(file))
    project = _config(folder / "Pulumi.yaml")
    for key in sorted(map(str, project)):
        _add_default(config, key if ":" in key else f"{PROJECT}:{key}", project[key])
    return LabConfig.from_stack(config)


def _config(file: Path) -> dict[str, Any]:
    """Return the object `config` of a file; empty without one."""
    try:
        document = yaml.safe_load(file.read_text()) if file.exists() else None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file.name}: it is not valid YAML; fix it ({str(error).splitlines()[0]})") from None
    found = (document or {}).get("config") or {} if isinstance(document or {}, dict) else None
    if not isinstance(found, dict):
        raise ConfigError(f"{file.name}: config is not a map of settings; fix it")
    return found


def _add_default(config: dict[str, Any], path: str, declared: Any) -> None:
    """Add a value of the project that the stack's file does not set. Source: Pulumi, pkg/workspace, mergeConfig."""
    value = declared
    if isinstance(declared, dict):
        value = declared.get("value") if declared.get("default") is None else declared["default"]
    place: Any = config
    for name in path.split("."):
        if not isinstance(place, dict):
            return
        if name not in place:
            put(config, {path: value})
            return
        place = place[name]


def _masked(value: Any) -> Any:
    """Return a stack's config with a placeholder for each secret, which only Pulumi can read."""
    if isinstance(value, dict):
        return SECRET if set(value) == {"secure"} else {key: _masked(item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def use_target(state: Path, config: LabConfig) -> None:
    """Put the tools on PATH, and for the target `embedded` its kubeconfig into the environment.

    A kubeconfig of the environment never takes the place of the embedded cluster's own.

    Raises:
        ClusterError: The target is `embedded`, and the cluster was never started.
        KubectlError: There is no kubectl.
    """
    variables = cluster.environment(state, embedded=config.target.kind == "embedded")
    toolchain = variables["PATH"].split(os.pathsep)[0]
    if toolchain in os.environ.get("PATH", "").split(os.pathsep):
        del variables["PATH"]  # the shell has it already, in the order that its user chose
    shell.use_environment(variables)
    kubectl.require()
