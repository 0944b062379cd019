"""Typed access to JSON of any shape. A value of another type counts as absent: the API server refuses it anyway.

Values are read one by one, because Pulumi raises an error where a rule reads a value that is unknown in a preview.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Fields = Mapping[str, Any]


def value_at(value: object, *path: str) -> Any:
    """Return the value at `path`, or None."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def fields(value: object, *path: str) -> Fields:
    """Return the mapping at `path`, or an empty one."""
    found = value_at(value, *path)
    return found if isinstance(found, Mapping) else {}


def sequence(value: object, *path: str) -> list[Any]:
    """Return the list at `path`, or an empty one."""
    found = value_at(value, *path)
    return list(found) if isinstance(found, Sequence) and not isinstance(found, str) else []


def items(value: object, *path: str) -> list[Fields]:
    """Return the mappings in the list at `path`."""
    return [item for item in sequence(value, *path) if isinstance(item, Mapping)]


def texts(value: object, *path: str) -> list[str]:
    """Return the strings in the list at `path`."""
    return [item for item in sequence(value, *path) if isinstance(item, str)]


def text(value: object, *path: str, default: str = "") -> str:
    """Return the string at `path`, or `default` where it is empty or absent."""
    found = value_at(value, *path)
    return found if isinstance(found, str) and found else default


def number(value: object, *path: str, default: float = 0) -> float:
    """Return the finite number at `path`, or `default`."""
    found = value_at(value, *path)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return default
    try:
        return found if math.isfinite(found) else default
    except OverflowError:  # an integer beyond the range of a float
        return default


def plain(value: Any) -> Any:
    """Return `value` as Kubernetes writes it: without Pulumi's own fields, and with whole numbers as integers."""
    if isinstance(value, Mapping):
        kept = {name: value[name] for name in value if not name.startswith("__")}
        return {name: plain(item) for name, item in kept.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
