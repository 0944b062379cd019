"""Text that reaches Envoy: names, values, regular expressions and durations. Each check raises RunError."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pulumi

from . import objects

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")  # Source: RFC 9110, 5.6.2; Gateway API, HTTPHeaderName
_MAX_VALUE = 4096  # Source: Gateway API, HTTPHeader.value
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # Source: RFC 1123
_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_PART}")  # of an object's label or annotation
LABEL_VALUE = re.compile(f"({_PART})?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")  # Source: SPIFFE-ID, 2.1
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_MAX_HOURS = 9999


def label(component: str, field: str, value: Any) -> Any:
    """Return `value` if it is an output, or a DNS label: the name of a namespace or a Service."""
    if isinstance(value, str) and not _LABEL.fullmatch(value):
        raise objects.refuse(component, field, value, "a DNS label: at most 63 of a-z, 0-9 and -")
    return value


def trust_domain(component: str, field: str, value: Any) -> Any:
    """Return `value` if it is an output, or a trust domain of SPIFFE."""
    if isinstance(value, str) and not _TRUST_DOMAIN.fullmatch(value):
        raise objects.refuse(component, field, value, "a trust domain: at most 255 of a-z, 0-9, point, - and _")
    return value


def object_labels(component: str, field: str, given: Mapping[str, Any]) -> None:
    """Raise RunError where a label of objects has a name, or a value that is text, that Kubernetes refuses."""
    for name, value in given.items():
        if not LABEL_KEY.fullmatch(name):
            raise objects.refuse(component, f"a name in {field}", name, "a name as Kubernetes allows it, such as team")
        if isinstance(value, str) and not LABEL_VALUE.fullmatch(value):
            want = "at most 63 letters, digits and ._-, with a letter or digit at both ends"
            raise objects.refuse(component, f"{field}.{name}", value, want)


def domain(component: str, field: str, value: str) -> str:
    """Return `value` if it is a DNS name of one or more labels."""
    if not all(_LABEL.fullmatch(part) for part in value.split(".")) or len(value) > 253:
        raise objects.refuse(component, field, value, "a DNS name: labels of a-z, 0-9 and -, with points between them")
    return value


def token(component: str, field: str, value: str, what: str = "name of a header") -> str:
    """Return `value` if it can be the name of a header or a cookie."""
    if not _TOKEN.fullmatch(value):
        raise objects.refuse(component, field, value, f"the {what}")
    return value


def header_value(component: str, field: str, value: str) -> str:
    """Return `value` if a header can have it. The error does not show the value, which may be a secret."""
    if reason := _value_problem(value):
        want = f"1 to {_MAX_VALUE} printable characters, without spaces at its ends"
        raise pulumi.RunError(f"{component}: {objects.shown(field)} {reason}: it must be {want}")
    return value


def _value_problem(value: Any) -> str:
    """Return the reason why no header has `value`; empty where one can have it."""
    if not isinstance(value, str):
        return "is no text"
    if not value or len(value) > _MAX_VALUE:
        return f"has {len(value)} characters"
    if value != value.strip():
        return "has a space or a line break at an end"
    odd = [position for position, character in enumerate(value, 1) if not character.isprintable()]
    return f"has a control character at position {odd[0]}" if odd else ""


def exact_headers(component: str, field: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return headers to match, with lower-case names."""
    names = [token(component, f"a name in {field}", name).lower() for name in given]
    objects.distinct(component, f"names of {field}", names)
    return {name.lower(): header_value(component, f"{field}.{name}", value) for name, value in given.items()}


def literal(text: str) -> str:
    """Return `text` as Envoy's format of header values has it, where a percent sign begins a command.

    Source: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers
    """
    return text.replace("%", "%%")


def regex(component: str, field: str, value: str) -> Any:
    """Return the compiled pattern `value` of RE2, Envoy's engine; one that it rejects stops all updates of a waypoint.

    Source: https://github.com/google/re2/wiki/Syntax
    """
    import re2  # only programs with a regular expression pay for this import

    header_value(component, field, value)
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(value, options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace")
        raise objects.refuse(component, field, value, f"a regular expression of RE2's syntax ({why})") from None


def milliseconds(component: str, field: str, value: str) -> int:
    """Return the duration `value`, such as `1.5s`, in milliseconds: 1 ms to 9999 h."""
    parts = _DURATION.findall(value)
    total = sum(Decimal(number) * _MILLISECONDS[unit] for number, unit in parts)
    whole = "".join(number + unit for number, unit in parts) == value and total == int(total)
    if not whole or not 1 <= total <= _MAX_HOURS * _MILLISECONDS["h"]:
        raise objects.refuse(component, field, value, f"a duration such as 500ms or 1.5s, from 1ms to {_MAX_HOURS}h")
    return int(total)


def duration(total: int) -> str:
    """Return a number of milliseconds as text, such as `1s500ms`.

    Source: https://gateway-api.sigs.k8s.io/geps/gep-2257/, which Istio's fields take as well.
    """
    text = ""
    for unit, size in _MILLISECONDS.items():
        count, total = divmod(total, size)
        text += f"{count}{unit}" if count else ""
    return text
