"""The stack's configuration, read once into one frozen object."""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import stages as table

PROJECT = "waypoint-lab"
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ConfigError(Exception):
    """One line: the key, its value, and what would be right."""


def _bad(key: str, value: object, want: str) -> ConfigError:
    return ConfigError(f"{PROJECT}:{key} is {json.dumps(value, default=str)}: it must be {want}")


def _did_you_mean(name: str, known: list[str]) -> str:
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


def _number(key: str, value: object, low: float, high: float, *, whole: bool) -> float:
    want = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _bad(key, value, want)
    try:
        number = float(value)
    except ValueError:
        raise _bad(key, value, want) from None
    if not low <= number <= high or (whole and number != int(number)):  # a NaN fails the range as well
        raise _bad(key, value, want)
    return number


def _whole(low: int, high: int) -> Callable[[str, object], int]:
    return lambda key, value: int(_number(key, value, low, high, whole=True))


def _decimal(low: float, high: float) -> Callable[[str, object], float]:
    return lambda key, value: _number(key, value, low, high, whole=False)


def _truth(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise _bad(key, value, "true or false")


def _name(key: str, value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _bad(key, value, "a Kubernetes name: lower-case letters, digits and -")
    return value


def _text(key: str, value: object) -> str:
    # A header's value with a line break would be a second header.
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _bad(key, value, "printable text that is not empty")
    return value


def _optional(key: str, value: object) -> str:
    return "" if value in ("", None) else _text(key, value)


def _duration(key: str, value: object) -> str:
    try:
        seconds(str(value))
    except ValueError:
        raise _bad(key, value, "a duration above zero such as 500ms or 1.5s") from None
    return str(value)


def _optional_duration(key: str, value: object) -> str:
    return "" if value in ("", None) else _duration(key, value)


def _optional_decimal(low: float, high: float) -> Callable[[str, object], float | None]:
    read = _decimal(low, high)
    return lambda key, value: None if value in ("", None) else read(key, value)


def _one_of(*words: str) -> Callable[[str, object], str]:
    def read(key: str, value: object) -> str:
        if value not in words:
            raise _bad(key, value, " or ".join(words))
        return str(value)

    return read


def _header(key: str, value: object) -> tuple[str, str] | None:
    if value in ("", None):
        return None
    name, _, content = _text(key, value).partition("=")
    if not _HEADER.fullmatch(name) or not content.strip():
        raise _bad(key, value, "a header and its exact value, such as end-user=jane")
    return name.lower(), content


def _source(key: str, value: object) -> str:
    if value not in ("", None):
        want = "empty: a waypoint does not tell its clients apart in routes (Istio issue 51565); use faultHeader"
        raise _bad(key, value, want)
    return ""


def _stages(key: str, value: object) -> frozenset[str]:
    given = value
    if isinstance(value, str):
        try:
            given = json.loads(value)
        except ValueError:
            given = None
    if not isinstance(given, Mapping):
        raise _bad(key, value, "a map of toggles, as `pulumi config set --path stages.canary true` writes it")
    for toggle in given:
        if toggle not in table.TOGGLES:
            known = list(table.TOGGLES)
            raise ConfigError(f"{PROJECT}:stages has no toggle {toggle}{_did_you_mean(str(toggle), known)}")
    return frozenset(toggle for toggle, state in given.items() if _truth(f"stages.{toggle}", state))


# key in the stack's config -> (field, how it is read)
KEYS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "stages": ("stages", _stages),
    "canaryWeight": ("canary_weight", _whole(0, 100)),
    "faultPercent": ("fault_percent", _decimal(0, 100)),
    "faultStatus": ("fault_status", _whole(200, 599)),
    "delaySeconds": ("delay_seconds", _decimal(0.001, 300)),
    "retryAttempts": ("retry_attempts", _whole(1, 20)),
    "perTryTimeout": ("per_try_timeout", _duration),
    "premiumUser": ("premium_user", _text),
    "faultAt": ("fault_at", _one_of("waypoint", "upstream")),
    "owner": ("owner", _one_of("separate", "combined")),
    "faultSeconds": ("fault_seconds", _decimal(0, 3600)),
    "faultStart": ("fault_start", _optional),
    "faultHeader": ("fault_header", _header),
    "faultSource": ("fault_source", _source),
    "retryWrites": ("retry_writes", _truth),
    "retryBackoff": ("retry_backoff", _optional_duration),
    "retryBudgetPercent": ("retry_budget_percent", _optional_decimal(0, 100)),
    "requestTimeout": ("request_timeout", _optional_duration),
    "mirrorPercent": ("mirror_percent", _decimal(0, 100)),
    "requestHeader": ("request_header", _header),
    "responseHeader": ("response_header", _header),
    "stickySeconds": ("sticky_seconds", _whole(0, 31_536_000)),
    "failClosed": ("fail_closed", _truth),
    "namespace": ("namespace", _name),
    "service": ("service", _name),
    "port": ("port", _whole(1, 65535)),
    "clientNamespace": ("client_namespace", _name),
    "clientWorkload": ("client_workload", _text),
    "deployBookinfo": ("deploy_bookinfo", _truth),
    "kubeconfig": ("kubeconfig", _optional),
    "context": ("context", _optional),
}


@dataclass(frozen=True)
class LabConfig:
    """All that a stack may set. Percentages and weights are 0 to 100, `delay_seconds` seconds.

    `stages` are the toggles that are on. `fault_seconds` of 0 means until the next update. Empty `kubeconfig` and
    `context` mean the ambient ones.
    """

    stages: frozenset[str] = field(default_factory=frozenset)
    canary_weight: int = 20
    fault_percent: float = 50.0
    fault_status: int = 503
    delay_seconds: float = 2.0
    retry_attempts: int = 3
    per_try_timeout: str = "500ms"
    premium_user: str = "premium-user"
    fault_at: str = "waypoint"
    owner: str = "separate"
    fault_seconds: float = 0.0
    fault_start: str = ""
    fault_header: tuple[str, str] | None = None
    fault_source: str = ""
    retry_writes: bool = False
    retry_backoff: str = ""
    retry_budget_percent: float | None = None
    request_timeout: str = ""
    mirror_percent: float = 0.0
    request_header: tuple[str, str] | None = None
    response_header: tuple[str, str] | None = None
    sticky_seconds: int = 0
    fail_closed: bool = False
    namespace: str = "bookinfo-backends"
    service: str = "reviews"
    port: int = 9080
    client_namespace: str = "bookinfo-frontends"
    client_workload: str = "deploy/productpage-v1"
    deploy_bookinfo: bool = False
    kubeconfig: str = ""
    context: str = ""

    def on(self, toggle: str) -> bool:
        """Whether a stage's toggle is on."""
        return toggle in self.stages

    @property
    def per_try_seconds(self) -> float:
        """`per_try_timeout` in seconds."""
        return seconds(self.per_try_timeout)

    @property
    def combined(self) -> bool:
        """Whether one component owns all of the Service's traffic."""
        return self.owner == "combined"

    @property
    def faulty(self) -> bool:
        """Whether a delay or an abort is on."""
        return self.on("delay") or self.on("abort")

    @property
    def rule_name(self) -> str:
        """Name of the VirtualService that carries the fault."""
        return f"{self.service}-{'traffic' if self.combined else 'fault'}"

    @classmethod
    def from_mapping(cls, given: Mapping[str, object]) -> "LabConfig":
        """Reads keys as a stack has them, without the project's name; raw strings and typed values both do.

        Raises ConfigError with one line for an unknown key, a value of a wrong type or range, and toggles that cannot
        be on together.
        """
        for key in given:
            if key not in KEYS:
                raise ConfigError(f"{PROJECT}:{key} is not a setting{_did_you_mean(key, list(KEYS))}")
        read = {KEYS[key][0]: KEYS[key][1](key, value) for key, value in given.items()}
        config = cls(**read)
        if why := table.problem(config.stages, exclusive=not config.combined):
            raise ConfigError(why)
        extra = config.mirror_percent or config.request_header or config.response_header or config.sticky_seconds
        if extra and not config.on("canary"):
            names = "mirrorPercent, requestHeader, responseHeader and stickySeconds"
            raise ConfigError(f"{PROJECT}: {names} need stages.canary, which is off")
        return config

    @classmethod
    def from_stack(cls, config: Mapping[str, object]) -> "LabConfig":
        """Reads a stack's full config, whose keys carry their namespace; what is not the lab's is left alone."""
        prefix = f"{PROJECT}:"
        return cls.from_mapping({key[len(prefix) :]: value for key, value in config.items() if key.startswith(prefix)})
