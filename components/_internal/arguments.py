"""Type check of a component's arguments against their TypedDict, before anything is registered."""

import difflib
import inspect
import math
import re
import typing
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import UnionType
from typing import Any

import pulumi

from . import objects

_SURROGATE = re.compile("[\ud800-\udfff]")  # no text of JSON or YAML has these letters alone
_NAMES = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def read(component: str, given: Any, shape: Any) -> Any:
    """Return a copy of `given` whose values have the types of the TypedDict `shape`.

    Args:
        component: Name for error messages.
        given: Arguments as a program or a component host gives them. None counts as not given.
        shape: TypedDict of the arguments. Only its fields of type `pulumi.Input` take outputs.

    Returns:
        A dictionary of plain values; whole numbers are int, words of an enum its members, awaitables outputs.

    Raises:
        pulumi.RunError: A field is unknown, missing or of another type; one line with its path.
    """
    return _fields(component, "", given, shape)


def _fields(component: str, path: str, given: Any, shape: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise objects.refuse(component, path or "args", given, f"an object with the fields of {shape.__name__}")
    kinds = shape.__annotations__
    inside = f"{path}." if path else ""
    for field in given:
        if field not in kinds:
            near = difflib.get_close_matches(str(field), kinds, 1) or [f"nothing, or one of {', '.join(kinds)}"]
            raise pulumi.RunError(f"{component}: {objects.shown(f'{inside}{field}')} is unknown: it must be {near[0]}")
    for field in sorted(shape.__required_keys__):
        if given.get(field) is None:
            raise pulumi.RunError(f"{component}: {inside}{field} is missing: it must be given")
    return {
        field: _value(component, inside + field, value, kinds[field])
        for field, value in given.items()
        if value is not None
    }


def _value(component: str, path: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.NotRequired, typing.Required):
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) in (typing.Union, UnionType):  # pulumi.Input[T]: T, Awaitable[T] or Output[T]
        if isinstance(value, pulumi.Output) or inspect.isawaitable(value):
            return pulumi.Output.from_input(value)
        kind = typing.get_args(kind)[0]
    if typing.is_typeddict(kind):
        return _fields(component, path, value, kind)
    inner = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            raise objects.refuse(component, path, value, f"a list of {_name(inner[0])}")
        return [_value(component, f"{path}[{number}]", item, inner[0]) for number, item in enumerate(value)]
    if typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping) or not all(
            isinstance(key, str) and not _SURROGATE.search(key) for key in value
        ):
            raise objects.refuse(component, path, value, f"an object whose values are {_name(inner[1])}")
        return {key: _value(component, f"{path}.{key}", item, inner[1]) for key, item in value.items()}
    if issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            raise objects.refuse(component, path, value, " or ".join(kind)) from None
    return _plain(component, path, value, kind)


def _plain(component: str, path: str, value: Any, kind: type) -> Any:
    if kind in (int, float):
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
        # A component host gives each whole number as a float.
        whole = number and value == int(value)
        if number and (whole or kind is float):
            return int(value) if whole else value
    elif isinstance(value, kind) and not (kind is str and _SURROGATE.search(str(value))):
        return value
    if isinstance(value, Mapping):  # there may be keys in it, as in a kubeconfig
        raise pulumi.RunError(f"{component}: {path} is an object: it must be {_name(kind)}")
    raise objects.refuse(component, path, value, _name(kind))


def _name(kind: Any) -> str:
    if typing.get_origin(kind) in (typing.Union, UnionType):
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is list:
        return f"lists of {_name(typing.get_args(kind)[0])}"
    return _NAMES.get(kind) or f"objects with the fields of {kind.__name__}"
