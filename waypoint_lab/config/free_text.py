"""The free text of settings, which may be secret; names and words that the settings know are not."""

from collections.abc import Mapping
from typing import Any, Literal, get_origin

import msgspec

from waypoint_lab.config import types
from waypoint_lab.config.decode import fields

# Types whose text is never secret: names of objects and headers, methods, lengths of time, amounts.
_PLAIN = (
    *(types.Name, types.OptionalName, types.HeaderName, types.OptionalHeaderName),
    *(types.Method, types.OptionalMethod, types.Duration, types.OptionalDuration, types.OptionalQuantity),
    *(types.Evidence, types.Statuses),
)


def texts(value: Any) -> list[str]:
    """Return the free text in a setting; labels that select Pods are names."""
    if isinstance(value, msgspec.Struct):
        own = [
            name for name, kind in fields(type(value)).values() if kind not in _PLAIN and get_origin(kind) != Literal
        ]
        return [text for name in own if name != "selector" for text in texts(getattr(value, name))]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in texts(item)]
    return [value] if isinstance(value, str) and value else []
