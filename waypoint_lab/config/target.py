"""Read a stack's file, and prepare the environment for its cluster."""

import os
from pathlib import Path
from typing import Any

import yaml

from embedded import cluster, shell
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError

SECRET = "[secret]"  # as Pulumi shows it


def stack_config(folder: Path, stack: str = "dev") -> LabConfig:
    """Read the configuration of a stack from its file. Secrets are placeholders.

    Args:
        folder: The project.
        stack: Name of the stack.

    Raises:
        ConfigError: There is no such file, or a setting is not valid.
    """
    try:
        given = yaml.safe_load((folder / f"Pulumi.{stack}.yaml").read_text()) or {}
    except FileNotFoundError:
        raise ConfigError(f"Pulumi.{stack}.yaml: there is no such file; choose a stack that exists") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"Pulumi.{stack}.yaml: it is not valid YAML; fix it ({str(error).splitlines()[0]})") from None
    return LabConfig.from_stack(_masked(given.get("config") or {}))


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
