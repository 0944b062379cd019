"""Readers of single values of a stack's config: each returns the value in its own type, or raises ConfigError."""

import difflib
import json
import re
from collections.abc import Callable, Mapping

from waypoint_lab.config.gate import GateError, GateSettings
from waypoint_lab.config.weights import WANTED, StepsError, allowed, read_steps
from waypoint_lab.errors import ConfigError
from waypoint_lab.stages import table

PROJECT = "waypoint-lab"
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, field-name
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def bad(key: str, value: object, want: str) -> ConfigError:
    """The error: one line with key, value and what would be right."""
    return ConfigError(f"{PROJECT}:{key} is {json.dumps(value, default=str)}: it must be {want}")


def did_you_mean(name: str, known: list[str]) -> str:
    """The end of an error about an unknown name: the nearest of `known`, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def seconds(text: str) -> float:
    """A Go duration such as `500ms` or `1m30s` in seconds. Raises ValueError for anything else, and for zero."""
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    total = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", text))
    if total <= 0:
        raise ValueError(text)
    return total


def number(key: str, value: object, low: float, high: float, *, whole: bool) -> float:
    """A number from `low` to `high`."""
    want = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise bad(key, value, want)
    try:
        number = float(value)
    except ValueError:
        raise bad(key, value, want) from None
    if not low <= number <= high or (whole and number != int(number)):  # a NaN fails the range as well
        raise bad(key, value, want)
    return number


def whole(low: int, high: int) -> Callable[[str, object], int]:
    """A reader of whole numbers from `low` to `high`."""
    return lambda key, value: int(number(key, value, low, high, whole=True))


def decimal(low: float, high: float) -> Callable[[str, object], float]:
    """A reader of numbers from `low` to `high`."""
    return lambda key, value: number(key, value, low, high, whole=False)


def weight(key: str, value: object) -> float:
    """Percent of requests: whole, or decimals below 1, where steps are that small."""
    want = f"a number: {WANTED}"
    try:
        given = number(key, value, 0, 100, whole=False)
    except ConfigError:
        raise bad(key, value, want) from None
    if not allowed(given):
        raise bad(key, value, want)
    return given


def promote_steps(key: str, value: object) -> tuple[float, ...]:
    """Rising weights, separated by commas."""
    try:
        return read_steps(str(value))
    except StepsError as error:
        raise bad(key, value, str(error)) from None


def gate(key: str, value: object) -> GateSettings | None:
    """The thresholds of a gate; None where it is off."""
    try:
        return GateSettings.read(value)
    except GateError as error:
        raise ConfigError(f"{PROJECT}:{key}{error}") from None


def truth(key: str, value: object) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise bad(key, value, "true or false")


def truth_or_auto(key: str, value: object) -> bool | None:
    """true, false, or None for auto."""
    if value == "auto":
        return None
    if value in (True, False, "true", "false"):
        return truth(key, value)
    raise bad(key, value, "true, false or auto")


def name(key: str, value: object) -> str:
    """A name of Kubernetes."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad(key, value, "a Kubernetes name: lower-case letters, digits and -")
    return value


def optional_name(key: str, value: object) -> str:
    """A name of Kubernetes, or nothing."""
    return "" if value in ("", None) else name(key, value)


def text(key: str, value: object) -> str:
    """Printable text that is not empty."""
    # A header's value with a line break would be a second header.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise bad(key, value, "printable text that is not empty")
    return value


def optional(key: str, value: object) -> str:
    """Printable text, or nothing."""
    return "" if value in ("", None) else text(key, value)


def duration(key: str, value: object) -> str:
    """A duration above zero, as Go writes it."""
    try:
        seconds(str(value))
    except ValueError:
        raise bad(key, value, "a duration above zero such as 500ms or 1.5s") from None
    return str(value)


def one_of(*words: str) -> Callable[[str, object], str]:
    """A reader of some fixed words."""

    def read(key: str, value: object) -> str:
        if value not in words:
            raise bad(key, value, f"{', '.join(words[:-1])} or {words[-1]}")
        return str(value)

    return read


def optional_duration(key: str, value: object) -> str:
    """A duration above zero, or nothing."""
    return "" if value in ("", None) else duration(key, value)


def optional_decimal(low: float, high: float) -> Callable[[str, object], float | None]:
    """A reader of numbers from `low` to `high`, or None for nothing."""
    read = decimal(low, high)
    return lambda key, value: None if value in ("", None) else read(key, value)


def header(key: str, value: object) -> tuple[str, str] | None:
    """Name, in lower case, and value of NAME=VALUE; None for nothing."""
    text = optional(key, value)
    name, _, content = text.partition("=")
    if text and (not _HEADER.fullmatch(name) or not content.strip()):
        raise bad(key, value, "empty, or a header and its exact value, such as end-user=jane")
    return (name.lower(), content) if text else None


def header_text(key: str, value: object) -> str:
    """NAME=VALUE as it was written, or nothing."""
    header(key, value)
    return str(value or "")


def source(key: str, value: object) -> str:
    """Refused: see the message."""
    if value not in ("", None):
        want = "empty: a waypoint does not tell its clients apart in routes (Istio issue 51565); use faultHeader"
        raise bad(key, value, want)
    return ""


def stages(key: str, value: object) -> frozenset[str]:
    """The toggles that are on."""
    given = value
    if isinstance(value, str):
        try:
            given = json.loads(value)
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise bad(key, value, "a map of toggles, as `pulumi config set --path stages.canary true` writes it")
    for toggle in given:
        if toggle not in table.TOGGLES:
            known = list(table.TOGGLES)
            raise ConfigError(f"{PROJECT}:stages has no toggle {toggle}{did_you_mean(str(toggle), known)}")
    return frozenset(toggle for toggle, state in given.items() if truth(f"stages.{toggle}", state))
