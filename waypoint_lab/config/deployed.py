"""Read the configuration that a stack was deployed with, from its outputs."""

from collections.abc import Mapping
from typing import Any

import msgspec

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError


def read(outputs: Mapping[str, Any], stack: str) -> LabConfig:
    """Return the configuration that a stack was deployed with.

    Args:
        outputs: The stack's outputs, with the secret ones in plain text.
        stack: Name of the stack, for the error.

    Raises:
        ConfigError: Nothing is deployed.
    """
    if "declared" not in outputs:
        raise ConfigError(f"stack {stack}: nothing is deployed; run `pulumi up`")
    return LabConfig.from_mapping(_set(outputs["declared"]))


def _set(document: Any) -> Any:
    """Return the settings without those that are not set."""
    if isinstance(document, dict):
        return {key: _set(value) for key, value in document.items() if value is not None}
    return document


def ahead(file: LabConfig, deployed: LabConfig, stack: str) -> str:
    """Return one line on the differences of the stack's file from the deployment; empty without any.

    It shows no text of either, because nothing says which text of the deployment was secret.
    """
    before, now = _paths(msgspec.to_builtins(deployed)), _paths(msgspec.to_builtins(file))
    changed = [
        path
        for path in {**before, **now}
        if not path.startswith("notify.") and now.get(path) != before.get(path)  # notify is not deployed
    ]
    if not changed:
        return ""
    first = changed[0]
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    new, old = now.get(first), before.get(first)
    what = "differs" if str in (type(new), type(old)) else f"is {new} and was deployed as {old}"
    return f"Pulumi.{stack}.yaml: it is ahead of the deployment, {first} {what}{more}; run `pulumi up`"


def _paths(document: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _paths(value, f"{path}{key}.") if isinstance(value, Mapping) and value else {f"{path}{key}": value}
    return found
