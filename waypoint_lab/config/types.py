"""Types of single settings. Each has a text of its valid values, for errors and docs/configuration.md."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta

from waypoint_lab.config import weights
from waypoint_lab.masking import SECRET

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_METHOD = re.compile(r"[A-Z]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, field-name
# Source: Gateway API, HTTPPathMatch.value, without *: it would be compared as itself
_PATH = re.compile(r"(?=/.{0,1023}\Z)(?:[-A-Za-z0-9/._~!$&'()+,;=:@]|%[0-9a-fA-F]{2})+")
# Envoy compares a query parameter as it was sent. Source: RFC 3986, query, without the separator &
SENT_QUERY = re.compile(r"(?:[-A-Za-z0-9._~!$'()*+,;=:@/?]|%[0-9a-fA-F]{2}){1,1024}")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_QUANTITY = re.compile(r"(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?", re.ASCII)
_STATUSES = re.compile(r"(\d{3})(?:-(\d{3}))?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Ranges = tuple[tuple[int, int], ...]  # the first and the last HTTP status of each


def seconds(duration: str) -> float:
    """Return a duration such as `500ms` or `1m30s` in seconds; 0 for text that is not a duration above zero."""
    if not _DURATION.fullmatch(duration):
        return 0.0
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", duration))


def _range(text: str) -> tuple[int, int] | None:
    """Return the first and the last status of text such as 404 or 200-399; None for other text."""
    match = _STATUSES.fullmatch(text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    return (low, high) if 100 <= low <= high <= 599 else None


def ranges(statuses: tuple[str, ...]) -> Ranges:
    """Return the first and the last status of each item, such as 404 or 200-399."""
    return tuple(found for found in map(_range, statuses) if found)


def within(status: int, allowed: Ranges) -> bool:
    """Return True for a status in one of the ranges."""
    return any(low <= status <= high for low, high in allowed)


def _printable(text: str) -> bool:
    # A header's value with a line break would be a second header.
    return bool(text.strip()) and text.isprintable()


def is_address(text: str) -> bool:
    """Check that text is an http or https address; only Pulumi can read one that is secret."""
    if text == SECRET:
        return True
    try:
        url = urlsplit(text)
        plain = url.port != 0 and text.isprintable() and " " not in text
    except ValueError:
        return False
    return plain and url.scheme in ("http", "https") and bool(url.hostname)


def _checked(description: str, check: Callable[[Any], Any]) -> Meta:
    """Return the text of the valid values, and the check of a value."""
    return Meta(description=description, extra={"check": check})


def _optional(description: str, check: Callable[[Any], Any]) -> Meta:
    """Return the same for text that may also be empty."""
    return _checked(f"empty, or {description}", lambda text: not text or check(text))


Percent = Annotated[float, Meta(ge=0, le=100, description="a number from 0 to 100")]
PositivePercent = Annotated[float, Meta(gt=0, le=100, description="a number above 0, at most 100")]
WholePercent = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
Weight = Annotated[float, _checked(f"a number: {weights.WANTED}", weights.allowed)]
Steps = Annotated[
    tuple[float, ...],
    _checked(f"a list of rising percentages, {weights.WANTED}, such as [0.1, 1, 5, 20, 50, 100]", weights.rising),
]
EVIDENCE = ("probe", "traffic", "prometheus")
Evidence = Annotated[
    tuple[str, ...],
    _checked(
        f"{', '.join(EVIDENCE[:-1])} or {EVIDENCE[-1]}, or a list of them",
        lambda names: names and set(names) <= set(EVIDENCE) and len(set(names)) == len(names),
    ),
]
Name = Annotated[str, _checked("a Kubernetes name: lower-case letters, digits and -", _NAME.fullmatch)]
OptionalName = Annotated[str, _optional("a Kubernetes name: lower-case letters, digits and -", _NAME.fullmatch)]
Text = Annotated[str, _checked("printable text that is not empty", _printable)]
OptionalText = Annotated[str, _checked("printable text, or empty", lambda text: not text or _printable(text))]
# A kubeconfig's contents would be an argument of kubectl, and have a token.
OptionalFile = Annotated[
    str,
    Meta(
        description="the path of a file, not its contents; or empty",
        extra={
            "check": lambda text: not text or (_printable(text) and not text.lstrip().startswith("{")),
            "hidden": True,  # in errors
        },
    ),
]
HeaderName = Annotated[str, _checked("the name of an HTTP header, such as end-user", _HEADER.fullmatch)]
OptionalHeaderName = Annotated[str, _optional("a name such as end-user", _HEADER.fullmatch)]
Method = Annotated[str, _checked("an HTTP method in upper case, such as GET", _METHOD.fullmatch)]
OptionalMethod = Annotated[str, _optional("an HTTP method in upper case, such as GET", _METHOD.fullmatch)]
OptionalPath = Annotated[
    str,
    _optional("a path that begins with /, percent-encoded, without query and without *, { and }", _PATH.fullmatch),
]
RequestPath = Annotated[
    str,
    _checked(
        "a path that begins with /, percent-encoded, with the query if there is one",
        lambda text: text == SECRET or re.fullmatch(r"/[!-~]*", text),
    ),
]
Statuses = Annotated[
    tuple[str, ...],
    _checked(
        "a list of statuses and ranges of statuses, such as [200-399, 404]",
        lambda found: bool(found) and all(map(_range, found)),
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a whole number from 1 to 65535")]
Status = Annotated[int, Meta(ge=200, le=599, description="a whole number from 200 to 599")]
Attempts = Annotated[int, Meta(ge=1, le=20, description="a whole number from 1 to 20")]
Duration = Annotated[str, _checked("a duration above zero, such as 500ms or 1.5s", seconds)]
OptionalDuration = Annotated[str, _optional("a duration above zero, such as 500ms or 1.5s", seconds)]
Address = Annotated[str, _checked("an http or https address", is_address)]
OptionalAddress = Annotated[str, _optional("an http or https address", is_address)]
DelaySeconds = Annotated[float, Meta(ge=0.001, le=300, description="a number of seconds from 0.001 to 300")]
FaultSeconds = Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")]
WindowSeconds = Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")]
AffinitySeconds = Annotated[int, Meta(ge=1, le=31_536_000, description="whole seconds from 1 to 31536000, a year")]
P99Seconds = Annotated[float, Meta(gt=0, le=300, description="a number of seconds above 0, at most 300")]
LatencyMargin = Annotated[float, Meta(gt=0, le=50, description="a number above 0, at most 50")]
P99Ratio = Annotated[float, Meta(ge=1, le=1000, description="a number from 1 to 1000")]
GateSeconds = Annotated[float, Meta(ge=1, le=600, description="a number of seconds from 1 to 600")]
# The 99th percentile of fewer than a hundred requests is no more than the slowest of them.
GateRequests = Annotated[int, Meta(ge=100, le=100_000, description="a whole number from 100 to 100000")]
Replicas = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
CpuPercent = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
OptionalQuantity = Annotated[str, _optional("a quantity of Kubernetes, such as 500m or 256Mi", _QUANTITY.fullmatch)]
