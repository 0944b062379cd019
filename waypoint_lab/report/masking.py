"""Replace secrets in the content of a report."""

import base64
import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import quote

from waypoint_lab.config.types import SECRET
from waypoint_lab.pulumi_cli import PulumiStack, pulumi

LEAST_LENGTH = 4  # shorter secrets occur in too many texts; they are only compared with whole values
Content = TypeVar("Content")


def secrets(stack: PulumiStack) -> frozenset[str]:
    """Return the values that are secret in the config of a stack.

    Raises:
        PulumiError: Pulumi cannot read the config.
    """
    config = json.loads(pulumi(stack.folder, "config", "--json", "--show-secrets", "--stack", stack.name))
    hidden = json.loads(pulumi(stack.folder, "config", "--json", "--stack", stack.name))
    return frozenset(
        text
        for key, entry in config.items()
        if entry.get("secret")
        for text in _differing(_value(entry), _value(hidden.get(key) or {}))
    )


def _value(entry: dict[str, Any]) -> Any:
    return entry.get("objectValue", entry.get("value"))


def _differing(plain: Any, hidden: Any) -> Iterable[str]:
    """Yield the texts of `plain` that `hidden` does not show."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from _differing(value, hidden.get(key) if isinstance(hidden, dict) else None)
    elif isinstance(plain, list):
        for place, value in enumerate(plain):
            shown = hidden[place] if isinstance(hidden, list) and place < len(hidden) else None
            yield from _differing(value, shown)
    elif plain is not None and plain != hidden:
        yield str(plain)


def _forms(text: str) -> set[str]:
    """Return the forms that a secret may have in an object: plain, in a regular expression, in an address."""
    return {
        text,
        re.escape(text),
        quote(text, safe=""),
        json.dumps(text)[1:-1],
        base64.b64encode(text.encode()).decode(),
    }


def masked(content: Content, texts: Iterable[str]) -> Content:
    """Return content with a placeholder for each secret.

    Args:
        content: Data classes, maps, sequences and texts.
        texts: The secrets.
    """
    whole = {form for text in texts if text for form in _forms(text)}
    parts = [text for text in sorted(whole, key=len, reverse=True) if len(text) >= LEAST_LENGTH]
    pattern = re.compile("|".join(map(re.escape, parts))) if parts else None

    def of(value: Any) -> Any:
        if isinstance(value, str):
            return SECRET if value in whole else pattern.sub(SECRET, value) if pattern else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found = {one.name: of(getattr(value, one.name)) for one in dataclasses.fields(value)}
            return dataclasses.replace(value, **found)
        if isinstance(value, dict):
            return {of(key): of(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(of, value))
        if isinstance(value, (list, tuple)):
            return type(value)(map(of, value))
        return value

    result: Content = of(content)
    return result
