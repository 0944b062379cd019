"""Read a stack's file, and prepare the environment for its cluster."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from embedded import cluster, shell
from waypoint_lab import kubectl, masking
from waypoint_lab.config import free_text, stack_yaml
from waypoint_lab.config.paths import put
from waypoint_lab.config.settings import PROJECT, LabConfig, parsed
from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import SECRET


def stack_config(folder: Path, stack: str = "dev", secrets: Mapping[str, str] = MappingProxyType({})) -> LabConfig:
    """Read the configuration of a stack from its file, and the defaults of the project.

    Args:
        folder: The project.
        stack: Name of the stack.
        secrets: Secrets by their encrypted text; a placeholder takes the place of others. Of an object that is one
            secret, the free text is hidden in all output from then on.

    Raises:
        ConfigError: There is no such file, or a setting is not valid.
    """
    config = _declared(folder, stack, secrets)
    inner = [part for text in secrets.values() for part in masking.parts(text)]
    try:
        found = LabConfig.from_stack(config)
    except ConfigError as error:
        raise ConfigError(masking.masked(masking.hidden(str(error)), inner)) from None
    masking.remember({*inner}.intersection(free_text.texts(found)))
    return found


def target_kind(folder: Path, stack: str) -> str:
    """Return the kind of a stack's target. No other setting is read, so that they may be secret.

    Raises:
        ConfigError: There is no such file, or the kind is secret or not valid.
    """
    path = f"{PROJECT}:target"
    declared = parsed(_declared(folder, stack, {}).get(path, {}))
    if isinstance(declared, dict):
        declared = {"kind": declared["kind"]} if "kind" in declared else {}
    if declared in (SECRET, {"kind": SECRET}):
        raise ConfigError(f"{path}.kind: it is secret, but no secret is read before the target is known; set it plain")
    return LabConfig.from_mapping({"target": declared}).target.kind


def _declared(folder: Path, stack: str, secrets: Mapping[str, str]) -> dict[str, Any]:
    """Return the config of a stack's file, with its secrets and the defaults of the project. Raises ConfigError."""
    file = folder / f"Pulumi.{stack}.yaml"
    if not file.exists():
        raise ConfigError(f"{file.name}: there is no such file; choose a stack that exists")
    config: dict[str, Any] = _decrypted(_config(file), secrets)
    for path, value in project_defaults(folder).items():
        _add_default(config, path, value)
    return config


def project_defaults(folder: Path) -> dict[str, Any]:
    """Return the values of the project, by path with the project's name. Raises ConfigError."""
    return {path: _default(value) for path, value in sorted(_config(folder / "Pulumi.yaml").items())}


def _default(declared: Any) -> Any:
    if isinstance(declared, dict):
        return declared.get("value") if declared.get("default") is None else declared["default"]
    return declared


def encrypted(folder: Path, stack: str) -> dict[str, tuple[str | int, ...]]:
    """Return the places of the secrets in a stack's file, by their encrypted text. Raises ConfigError."""
    return dict(_encrypted(_config(folder / f"Pulumi.{stack}.yaml"), ()))


def read_secrets(shown: Mapping[str, Any], places: Mapping[str, tuple[str | int, ...]]) -> dict[str, str]:
    """Return the secrets by their encrypted text.

    Args:
        shown: The config as `pulumi config --json --show-secrets` prints it.
        places: The places by encrypted text.
    """
    found = {}
    for text, (name, *place) in places.items():
        value = shown[str(name)].get("objectValue", shown[str(name)].get("value"))
        for part in place:
            value = value[part]
        found[text] = str(value)
    return found


def _encrypted(value: Any, place: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if isinstance(value, dict) and set(value) == {"secure"}:
        yield str(value["secure"]), place
    elif isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _encrypted(item, (*place, name))


def _config(file: Path) -> dict[str, Any]:
    """Return the object `config` of a file, by names with their project; empty without one. Raises ConfigError."""
    try:
        document = stack_yaml.load(file.read_text(encoding="utf-8")) if file.exists() else None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"{file.name}: it is not valid YAML in UTF-8; fix it ({why})") from None
    found = (document or {}).get("config") or {} if isinstance(document or {}, dict) else None
    if not isinstance(found, dict):
        raise ConfigError(f"{file.name}: config is not a map of settings; fix it")
    if (document or {}).get("environment"):
        raise ConfigError(
            f"{file.name}: environment is read by Pulumi only, and the commands would use other settings; "
            "put its settings into config, and remove it"
        )
    keys: dict[str, str] = {}
    for key in map(str, found):
        if other := keys.get(name := stack_yaml.named(key)):
            wrong = key if key != name else other
            raise ConfigError(f"{file.name}: {other} and {key} are one setting; remove {wrong}")
        keys[name] = key
    return {stack_yaml.named(key): value for key, value in found.items()}


def _add_default(config: dict[str, Any], path: str, value: Any) -> None:
    """Add a value of the project that the stack's file does not set. Source: Pulumi, pkg/workspace, mergeConfig."""
    place: Any = config
    for name in path.split("."):
        if not isinstance(place, dict):
            return
        if name not in place:
            put(config, {path: value})
            return
        place = place[name]


def _decrypted(value: Any, secrets: Mapping[str, str]) -> Any:
    """Return a stack's config with its secrets, and a placeholder for each that only Pulumi can read."""
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            return secrets.get(str(value["secure"]), SECRET)
        return {key: _decrypted(item, secrets) for key, item in value.items()}
    return [_decrypted(item, secrets) for item in value] if isinstance(value, list) else value


def use_target(state: Path, kind: str) -> None:
    """Put the tools on PATH, and for the target `embedded` its kubeconfig into the environment.

    A kubeconfig of the environment never takes the place of the embedded cluster's own.

    Args:
        state: State folder of the embedded cluster.
        kind: The kind of the target.

    Raises:
        ClusterError: The target is `embedded`, and the cluster was never started.
        KubectlError: There is no kubectl.
    """
    variables = cluster.environment(state, embedded=kind == "embedded")
    toolchain, *_, plugins = variables["PATH"].split(os.pathsep)
    if {toolchain, plugins} <= {*os.environ.get("PATH", "").split(os.pathsep)}:
        del variables["PATH"]  # the shell has it already, in the order that its user chose
    shell.use_environment(variables)
    kubectl.require()
