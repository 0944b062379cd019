"""Configuration of the stack from Pulumi, its secrets, and its outputs."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from waypoint_lab import masking
from waypoint_lab.config import free_text
from waypoint_lab.config.decode import PROJECT, fields
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, LabError
from waypoint_lab.masking import LEAST_LENGTH

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
Transformation = Callable[[pulumi.ResourceTransformationArgs], pulumi.ResourceTransformationResult | None]


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Raise an error of the lab as one that Pulumi prints without a traceback, and without the secrets in it."""
    try:
        yield
    except LabError as error:
        raise pulumi.RunError(masking.hidden(str(error))) from None


def load() -> LabConfig:
    """Return the stack's configuration.

    Raises:
        ConfigError: A setting is unknown or not valid, or settings exclude each other.
    """
    config, prefix = pulumi.Config(PROJECT), f"{PROJECT}:"
    names = [key.removeprefix(prefix) for key in CONFIG.get() if key.startswith(prefix)]
    values = {f"{prefix}{name}": config.get(name) for name in names}
    try:
        return LabConfig.from_stack(values)
    except ConfigError as error:
        held = [value for key, value in values.items() if value and is_config_secret(key)]
        texts = [text for value in held for text in masking.parts(value) or [value]]
        # An error has values in quotes only; a plain word of such an object may also be in a path.
        shown = _QUOTED.sub(lambda found: f'"{masking.masked(found[1], texts)}"', str(error))
        raise ConfigError(shown) from None


def secrets(config: LabConfig) -> frozenset[str]:
    """Return the texts that are secret.

    Pulumi reports only the object that holds a secret, so all free text in such an object counts as secret.
    """
    return frozenset(
        text
        for name, (attribute, _) in fields(LabConfig).items()
        if is_config_secret(f"{PROJECT}:{name}")
        for text in free_text.texts(getattr(config, attribute))
    )


def hidden(value: Any, texts: frozenset[str]) -> Any:
    """Return `value` with each text that has one of `texts` in it as a secret output."""
    if isinstance(value, dict):
        return {key: hidden(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [hidden(item, texts) for item in value]
    if not isinstance(value, str):
        return value
    found = any(value in forms or _holds(value, forms) for forms in map(_forms, texts))
    return pulumi.Output.secret(value) if found else value


def _forms(text: str) -> tuple[str, ...]:
    """Return a text as it is, and as Envoy's formats, regular expressions and JSON have it."""
    return text, text.replace("%", "%%"), re.escape(text), json.dumps(text)[1:-1]


def _holds(value: str, forms: tuple[str, ...]) -> bool:
    return len(forms[0]) >= LEAST_LENGTH and any(form in value for form in forms)


def hiding(texts: frozenset[str]) -> Transformation:
    """Return a transformation that hides `texts` in the inputs of every resource."""

    def transform(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        return pulumi.ResourceTransformationResult(hidden(dict(args.props), texts), args.opts)

    return transform


def outputs(config: LabConfig, texts: frozenset[str]) -> dict[str, Any]:
    """Return the stack's outputs: the configuration of what is deployed, and the stages that are on."""
    declared = {name: value for name, value in msgspec.to_builtins(config).items() if name != "notify"}
    return {"declared": hidden(declared, texts), "stages": sorted(config.stages.on)}
