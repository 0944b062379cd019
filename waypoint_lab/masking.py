"""Keep secrets out of what the commands print and write."""

import base64
import dataclasses
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, TextIO, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import structs

SECRET = "[secret]"  # as Pulumi shows it, in place of the value
LEAST_LENGTH = 4  # shorter secrets occur in too many texts; they are only compared with whole values
Content = TypeVar("Content")
_known: set[str] = set()


def remember(texts: Iterable[str]) -> None:
    """Hide these texts from now on, in this process."""
    _known.update(texts)


def parts(text: str) -> list[str]:
    """Return the texts in an object as JSON; none for another text."""
    with suppress(ValueError):
        return _texts(json.loads(text)) if text.startswith("{") else []
    return []


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def hidden(content: Content) -> Content:
    """Return content with a placeholder for each secret that this process has read."""
    return masked(content, _known) if _known else content


def json_text(document: object, indent: int | None = 1) -> str:
    """Return a document as JSON without the secrets that this process has read.

    Keys and texts are masked before the JSON is written, so that numbers stay numbers and the text stays JSON.
    """
    return json.dumps(hidden(document), indent=indent, default=lambda value: hidden(str(value)))


class MaskedStream:
    """A text stream that hides the secrets which this process has read."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream

    @property
    def unmasked(self) -> TextIO:
        """The stream itself, for a text without secrets."""
        return self._stream

    def write(self, text: str) -> int:
        """Write the text without secrets."""
        return self._stream.write(hidden(text))

    def __getattr__(self, name: str) -> Any:
        """Return everything else of the stream itself."""
        return getattr(self._stream, name)


def _forms(text: str) -> set[str]:
    """Return the forms that a secret may have in an object: plain, in a regular expression, in an address."""
    return {
        text,
        re.escape(text),
        quote(text, safe=""),
        json.dumps(text)[1:-1],
        base64.b64encode(text.encode()).decode(),
    }


@lru_cache(maxsize=4)
def _patterns(texts: frozenset[str]) -> tuple[set[str], re.Pattern[str] | None]:
    """Return all forms of the secrets, and a pattern of those that are long enough to be found in other texts."""
    whole = {form for text in texts if text for form in _forms(text)}
    parts = [text for text in sorted(whole, key=len, reverse=True) if len(text) >= LEAST_LENGTH]
    return whole, re.compile("|".join(map(re.escape, parts))) if parts else None


def masked(content: Content, texts: Iterable[str]) -> Content:
    """Return content with a placeholder for each secret.

    Args:
        content: Data classes, structs, maps, sequences and texts.
        texts: The secrets.
    """
    whole, pattern = _patterns(frozenset(texts))

    def of(value: Any) -> Any:
        if isinstance(value, str):
            return SECRET if value in whole else pattern.sub(SECRET, value) if pattern else value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found = {one.name: of(getattr(value, one.name)) for one in dataclasses.fields(value)}
            return dataclasses.replace(value, **found)
        if isinstance(value, msgspec.Struct):
            return structs.replace(value, **{name: of(getattr(value, name)) for name in value.__struct_fields__})
        if isinstance(value, dict):
            return {of(key): of(item) for key, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(of, value))
        if isinstance(value, (list, tuple)):
            return type(value)(map(of, value))
        return value

    result: Content = of(content)
    return result
