"""Property values between the engine's wire form and plain Python, and the differences between two of them."""

import json
from typing import Any

from google.protobuf import json_format, struct_pb2

Object = dict[str, Any]
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _plain(value.get("value"))
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    # The wire knows only doubles; Kubernetes knows integers.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def decode(struct: struct_pb2.Struct) -> Object:
    """Plain Python of a Struct: whole numbers as int, nulls dropped, secrets opened."""
    plain: Object = _plain(json_format.MessageToDict(struct))
    return plain


def sealed(struct: struct_pb2.Struct) -> Object:
    """The same with its secrets still closed: a map of what `conceal` must close again."""
    found: Object = json_format.MessageToDict(struct)
    return found


def _secret(value: Any) -> Object:
    return value if isinstance(value, dict) and value.get(SIGNATURE) == SECRET else {SIGNATURE: SECRET, "value": value}


def conceal(value: Object, given: Object) -> Object:
    """`value` with everything closed that is a secret in `given`, and all data of a Secret.

    Lists are closed as a whole, as the official provider does: their items may have moved.
    """
    if value.get("kind") == "Secret":
        return {key: _secret(item) if key in ("data", "stringData") else item for key, item in value.items()}
    closed = dict(value)
    for key, item in given.items():
        if key not in closed:
            continue
        if isinstance(item, dict) and item.get(SIGNATURE) != SECRET and isinstance(closed[key], dict):
            closed[key] = conceal(closed[key], item)
        elif SECRET in json.dumps(item):
            closed[key] = _secret(closed[key])
    return closed


def encode(value: Object) -> struct_pb2.Struct:
    """A Struct of plain Python."""
    return json_format.ParseDict(value, struct_pb2.Struct())


def has_unknown(value: Any) -> bool:
    """True where a value is known only after another resource is made."""
    return UNKNOWN in json.dumps(value)


def differences(old: Any, new: Any, path: str = "") -> dict[str, str]:
    """`path: add | delete | update` for every leaf that differs, in the engine's property path syntax."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, str] = {}
        for key in sorted(old.keys() | new.keys()):
            name = f'["{key}"]' if any(mark in key for mark in '."[]') else key
            where = f"{path}{name}" if name.startswith("[") or not path else f"{path}.{name}"
            if key not in old:
                found[where] = "add"
            elif key not in new:
                found[where] = "delete"
            else:
                found |= differences(old[key], new[key], where)
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = {}
        for index in range(max(len(old), len(new))):
            where = f"{path}[{index}]"
            if index >= len(old):
                found[where] = "add"
            elif index >= len(new):
                found[where] = "delete"
            else:
                found |= differences(old[index], new[index], where)
        return found
    return {} if old == new and type(old) is type(new) else {path: "update"}


def project(live: Any, shape: Any) -> Any:
    """The part of `live` that `shape` speaks of: what a refresh compares with the program's inputs."""
    if isinstance(live, dict) and isinstance(shape, dict):
        return {key: project(live[key], item) for key, item in shape.items() if key in live}
    if isinstance(live, list) and isinstance(shape, list) and len(live) == len(shape):
        return [project(a, b) for a, b in zip(live, shape, strict=True)]
    return live
