"""Read settings into the models; each error is one line with the setting's path, its value and the valid values."""

import difflib
import json
import re
import types as python
from collections.abc import Iterable, Mapping
from datetime import date
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from waypoint_lab.errors import ConfigError
from waypoint_lab.masking import SECRET

PROJECT = "waypoint-lab"
_SURROGATE = re.compile("[\ud800-\udfff]")  # no text has these letters alone


def _printable(text: str) -> str:
    """Return a path in one line: names that a user gives can hold any character."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def bad(path: str, value: object, want: str, hint: str = "") -> ConfigError:
    """Return the error about a wrong value."""
    text = json.dumps(value, default=str)
    return ConfigError(f"{PROJECT}:{_printable(path)}: {text} is not valid; use {want}{hint}")


def unknown(path: str, name: str, known: Iterable[str]) -> ConfigError:
    """Return the error about an unknown setting `name` of the object `path`, with the nearest name."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
    return ConfigError(f"{PROJECT}:{_printable(f'{path}.{name}' if path else name)}: there is no such setting; {hint}")


@cache
def fields(model: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """Return the settings of a model: name in YAML -> name in Python and type."""
    hints = get_type_hints(model, include_extras=True)
    return {field.encode_name: (field.name, hints[field.name]) for field in msgspec.structs.fields(model)}


def expected(kind: Any) -> str:
    """Return the text of the valid values of a setting of type `kind`."""
    if get_origin(kind) is Annotated:
        return str(get_args(kind)[1].description)
    if get_origin(kind) is Literal:
        return " or ".join(get_args(kind))
    if get_origin(kind) in (Union, python.UnionType):
        return expected(get_args(kind)[0])
    if kind is bool:
        return "true or false"
    return "a map of settings" if is_model(kind) else f"a map of names to {expected(get_args(kind)[1])}"


def is_model(kind: Any) -> bool:
    """Check that `kind` is a model."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def read(kind: Any, value: object, path: str, base: object = None) -> Any:
    """Read one setting.

    Args:
        kind: Its type: a model, or one of the types of single settings.
        value: As YAML or Pulumi has it.
        path: Its path below the project, for errors.
        base: Default of a model, whose settings apply where `value` has none.

    Raises:
        ConfigError: The value is not valid.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, python.UnionType):
        models = [one for one in inner if is_model(one)]
        return _tagged(models, value, path, base) if len(models) > 1 else read(inner[0], value, path, base)
    if is_model(kind):
        return _object(kind, value, path, base)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise bad(path, value, expected(kind))
        return {read(inner[0], key, path): read(inner[1], item, f"{path}.{key}") for key, item in value.items()}
    return _single(kind, value, path)


def _tagged(models: list[Any], value: object, path: str, base: object) -> Any:
    by_tag = {model.__struct_config__.tag: model for model in models}
    if not isinstance(value, Mapping):
        raise bad(path, value, expected(models[0]))
    default = next((tag for tag, model in by_tag.items() if isinstance(base, model)), next(iter(by_tag)))
    tag = value.get("kind", default)
    if tag not in [*by_tag]:  # which may be no text
        raise bad(f"{path}.kind", tag, " or ".join(by_tag))
    rest = {key: item for key, item in value.items() if key != "kind"}
    for key in rest:
        owner = next((name for name, model in by_tag.items() if key in fields(model)), tag)
        if key not in fields(by_tag[tag]) and owner != tag:
            raise ConfigError(
                f"{PROJECT}:{path}.{key}: {path}.kind {tag} has no such setting; set {path}.kind to {owner}"
            )
    return _object(by_tag[tag], rest, path, base if isinstance(base, by_tag[tag]) else None)


def _object(model: type[msgspec.Struct], value: object, path: str, base: object) -> Any:
    if not isinstance(value, Mapping):
        raise bad(path, value, expected(model))
    known = fields(model)
    required = {field.name for field in msgspec.structs.fields(model) if field.required}
    if getattr(model, "whole", False):
        base = None  # a part of the default beside a part of the user's own would belong to two applications
    if base is None and not required:
        base = model()
    found = {name: getattr(base, name) for name, _ in known.values()} if base is not None else {}
    for key, item in value.items():
        if key not in known:
            raise unknown(path, str(key), known)
        name, kind = known[key]
        found[name] = read(kind, item, f"{path}.{key}" if path else key, found.get(name))
    for key, (name, kind) in known.items():
        if name not in found and name in required:
            raise ConfigError(f"{PROJECT}:{_printable(path)}.{key}: it is missing; use {expected(kind)}")
    return model(**found)


def _single(kind: Any, value: object, path: str) -> Any:
    """Read a value that is not a map. Pulumi keeps decimals, and all values set without --path, as text."""
    meta = get_args(kind)[1] if get_origin(kind) is Annotated else None
    plain = get_args(kind)[0] if meta else kind
    shown = SECRET if meta and meta.extra and "hidden" in meta.extra else value
    if isinstance(value, str) and _SURROGATE.search(value):
        raise bad(path, shown, expected(kind))
    given = value
    if isinstance(value, str) and plain == tuple[str, ...]:
        given = [value]
    elif isinstance(value, str) and plain is not str:
        given = _typed(plain, value)
    elif plain is str and type(value) is int:
        given = str(value)  # `pulumi config set --path` keeps text of digits as a number
    elif isinstance(value, list | tuple) and get_origin(plain) is tuple:
        given = [_item(get_args(plain)[0], item) for item in value]
    try:
        found = msgspec.convert(given, kind)
    except msgspec.ValidationError:
        raise bad(path, shown, expected(kind), _quoted(kind, value, path)) from None
    if meta and meta.extra and not meta.extra["check"](found):
        raise bad(path, shown, expected(kind))
    return found


def _quoted(kind: Any, value: object, path: str) -> str:
    """Return how to give a boolean or a date as text; empty where this text is not valid either."""
    if not isinstance(value, bool | date):
        return ""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    try:
        _single(kind, text, path)
    except ConfigError:
        return ""
    return f'; quote it as text: "{text}" (pulumi config set --type string)'


def _item(plain: Any, item: object) -> object:
    """Convert an item of a list: a number to text, or text to a number, as the list wants it."""
    if plain is str:
        return str(item) if type(item) is int else item
    return _typed(plain, item) if isinstance(item, str) else item


def _typed(plain: Any, text: str) -> object:
    """Convert text that is exactly a boolean or a number; return other text as it is."""
    if plain is bool:
        return {"true": True, "false": False}.get(text, text)
    if plain not in (int, float):
        return text
    try:
        return msgspec.json.decode(text.encode(), type=plain)
    except msgspec.MsgspecError:
        return text
