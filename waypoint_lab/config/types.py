"""Types of single settings. Each has a text of its valid values, for errors and docs/configuration.md."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import Meta

from waypoint_lab.config import weights
from waypoint_lab.masking import SECRET

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
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


def _checked(check: Callable[[Any], bool]) -> dict[str, Any]:
    return {"check": check}


Percent = Annotated[float, Meta(ge=0, le=100, description="a number from 0 to 100")]
PositivePercent = Annotated[float, Meta(gt=0, le=100, description="a number above 0, at most 100")]
WholePercent = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
Weight = Annotated[float, Meta(description=f"a number: {weights.WANTED}", extra=_checked(weights.allowed))]
Steps = Annotated[
    tuple[float, ...],
    Meta(
        description=f"a list of rising percentages, {weights.WANTED}, such as [0.1, 1, 5, 20, 50, 100]",
        extra=_checked(weights.rising),
    ),
]
EVIDENCE = ("probe", "traffic", "prometheus")
Evidence = Annotated[
    tuple[str, ...],
    Meta(
        description=f"{', '.join(EVIDENCE[:-1])} or {EVIDENCE[-1]}, or a list of them",
        extra=_checked(lambda names: names and set(names) <= set(EVIDENCE) and len(set(names)) == len(names)),
    ),
]
Name = Annotated[
    str, Meta(description="a Kubernetes name: lower-case letters, digits and -", extra=_checked(_NAME.fullmatch))
]
OptionalName = Annotated[
    str,
    Meta(
        description="empty, or a Kubernetes name: lower-case letters, digits and -",
        extra=_checked(lambda text: not text or _NAME.fullmatch(text)),
    ),
]
Text = Annotated[str, Meta(description="printable text that is not empty", extra=_checked(_printable))]
OptionalText = Annotated[
    str, Meta(description="printable text, or empty", extra=_checked(lambda text: not text or _printable(text)))
]
HeaderName = Annotated[
    str, Meta(description="the name of an HTTP header, such as end-user", extra=_checked(_HEADER.fullmatch))
]
OptionalHeaderName = Annotated[
    str,
    Meta(
        description="empty, or a name such as end-user",
        extra=_checked(lambda text: not text or _HEADER.fullmatch(text)),
    ),
]
OptionalMethod = Annotated[
    str,
    Meta(
        description="empty, or an HTTP method in upper case, such as GET",
        extra=_checked(lambda text: not text or re.fullmatch(r"[A-Z]+", text)),
    ),
]
OptionalPath = Annotated[
    str,
    Meta(
        description="empty, or a path that begins with /, percent-encoded, without query and without *, { and }",
        extra=_checked(lambda text: not text or _PATH.fullmatch(text)),
    ),
]
RequestPath = Annotated[
    str,
    Meta(
        description="a path that begins with /, percent-encoded, with the query if there is one",
        extra=_checked(lambda text: text == SECRET or re.fullmatch(r"/[!-~]*", text)),
    ),
]
Method = Annotated[
    str, Meta(description="an HTTP method in upper case, such as GET", extra=_checked(re.compile(r"[A-Z]+").fullmatch))
]
Statuses = Annotated[
    tuple[str, ...],
    Meta(
        description="a list of statuses and ranges of statuses, such as [200-399, 404]",
        extra=_checked(lambda found: bool(found) and all(map(_range, found))),
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a whole number from 1 to 65535")]
Status = Annotated[int, Meta(ge=200, le=599, description="a whole number from 200 to 599")]
Attempts = Annotated[int, Meta(ge=1, le=20, description="a whole number from 1 to 20")]
Duration = Annotated[str, Meta(description="a duration above zero, such as 500ms or 1.5s", extra=_checked(seconds))]
OptionalDuration = Annotated[
    str,
    Meta(
        description="empty, or a duration above zero, such as 500ms or 1.5s",
        extra=_checked(lambda text: not text or seconds(text)),
    ),
]
Address = Annotated[str, Meta(description="an http or https address", extra=_checked(is_address))]
OptionalAddress = Annotated[
    str,
    Meta(
        description="empty, or an http or https address",
        extra=_checked(lambda text: not text or is_address(text)),
    ),
]
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
OptionalQuantity = Annotated[
    str,
    Meta(
        description="empty, or a quantity of Kubernetes, such as 500m or 256Mi",
        extra=_checked(lambda text: not text or _QUANTITY.fullmatch(text)),
    ),
]
