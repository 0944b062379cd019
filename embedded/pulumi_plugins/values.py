"""Conversion of property values between the engine's Struct and plain Python, and their differences."""

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
    # A Struct has only doubles.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def decode(struct: struct_pb2.Struct) -> Object:
    """Return plain Python: whole numbers as int, without nulls, secrets decrypted."""
    plain: Object = _plain(json_format.MessageToDict(struct))
    return plain


def sealed(struct: struct_pb2.Struct) -> Object:
    """Return plain Python with secrets in their envelopes, so that they remain secret in the state."""
    found: Object = json_format.MessageToDict(struct)
    return found


def encode(value: Object) -> struct_pb2.Struct:
    """Return a Struct of plain Python."""
    return json_format.ParseDict(value, struct_pb2.Struct())


def differences(old: Any, new: Any, path: str = "") -> dict[str, str]:
    """Return `add`, `delete` or `update` for each leaf that differs, by its path in the engine's syntax."""
    if isinstance(old, list) and isinstance(new, list):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if not isinstance(old, dict) or not isinstance(new, dict):
        return {} if old == new and type(old) is type(new) else {path: "update"}
    found: dict[str, str] = {}
    for key in sorted(old.keys() | new.keys()):
        where = f"{path}[{key}]" if isinstance(key, int) else f'{path}["{key}"]'
        if isinstance(key, str) and not any(mark in key for mark in '."[]'):
            where = f"{path}.{key}" if path else key
        if key not in old:
            found[where] = "add"
        elif key not in new:
            found[where] = "delete"
        else:
            found |= differences(old[key], new[key], where)
    return found
