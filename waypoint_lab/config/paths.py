"""Settings by their path, such as `canary.weight`, as `pulumi config set --path` takes it."""

from collections.abc import Mapping, MutableMapping
from typing import Any

Settings = Mapping[str, object]


def put(document: MutableMapping[str, Any], settings: Settings) -> None:
    """Write settings into nested maps, in place.

    Args:
        document: The maps.
        settings: Values by path; None removes the setting, and the maps that are empty without it.
    """
    for path, value in settings.items():
        *parents, last = path.split(".")
        _put(document, parents, last, value)


def _put(document: MutableMapping[str, Any], parents: list[str], last: str, value: object) -> None:
    if not parents:
        if value is None:
            document.pop(last, None)
        else:
            document[last] = value
        return
    first, *rest = parents
    if not isinstance(document.get(first), MutableMapping):
        if value is None:
            return
        document[first] = {}
    _put(document[first], rest, last, value)
    if not document[first]:
        del document[first]
