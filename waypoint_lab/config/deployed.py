"""Read the configuration that a stack was deployed with, from its outputs."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from waypoint_lab import masking
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError

# Mark of a secret in a stack's state. Source: Pulumi, sdk/go/common/resource, SigKey and SecretSig.
_MARK, _IS_SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"


def of_state(state: Mapping[str, Any], stack: str, plain: Iterable[str]) -> LabConfig:
    """Return the configuration that a stack was deployed with; its secrets are hidden in all output from then on.

    Args:
        state: The state as `pulumi stack export --show-secrets` prints it. All text beside a secret is secret in it.
        stack: Name of the stack, for the error.
        plain: Texts that are not hidden.

    Raises:
        ConfigError: Nothing is deployed.
    """
    resources = (state.get("deployment") or {}).get("resources") or []
    roots = [item.get("outputs") or {} for item in resources if item.get("type") == "pulumi:pulumi:Stack"]
    secrets: set[str] = set()

    def decrypted(secret: Mapping[str, Any]) -> Any:
        found = json.loads(secret["plaintext"])
        secrets.add(str(found))
        return found

    outputs = replaced(roots[0] if roots else {}, decrypted)
    masking.remember(secrets.difference(plain))
    return read(outputs, stack)


def replaced(value: Any, secret: Callable[[Mapping[str, Any]], Any]) -> Any:
    """Return a part of a stack's state in which the result of `secret` replaces each secret."""
    if isinstance(value, dict):
        if value.get(_MARK) == _IS_SECRET:
            return secret(value)
        return {key: replaced(item, secret) for key, item in value.items()}
    return [replaced(item, secret) for item in value] if isinstance(value, list) else value


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
