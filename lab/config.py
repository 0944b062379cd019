"""The stack's configuration, read once into one frozen object."""

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab import stages as table
from lab.gate_settings import GateError, GateSettings
from lab.weights import MOST_DECIMALS, StepsError, parts, read_steps

PROJECT = "waypoint-lab"
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # Source: RFC 9110, field-name
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


def _weight(key: str, value: object) -> float:
    number = _number(key, value, 0, 100, whole=False)
    if round(number, MOST_DECIMALS) != number:
        raise _bad(key, value, f"a number from 0 to 100 with at most {MOST_DECIMALS} decimals")
    return number


def _promote_steps(key: str, value: object) -> tuple[float, ...]:
    try:
        return read_steps(str(value))
    except StepsError as error:
        raise _bad(key, value, str(error)) from None


def _header(key: str, value: object) -> str:
    text = _optional(key, value)
    name, _, wanted = text.partition("=")
    if text and (not _HEADER.fullmatch(name) or not wanted):
        raise _bad(key, value, "empty, or a header as NAME=VALUE")
    return text


def _gate(key: str, value: object) -> GateSettings | None:
    try:
        return GateSettings.read(value)
    except GateError as error:
        raise ConfigError(f"{PROJECT}:{key}{error}") from None


def _truth(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise _bad(key, value, "true or false")


def _truth_or_auto(key: str, value: object) -> bool | None:
    if value == "auto":
        return None
    if value in (True, False, "true", "false"):
        return _truth(key, value)
    raise _bad(key, value, "true, false or auto")


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


def _one_of(*words: str) -> Callable[[str, object], str]:
    def read(key: str, value: object) -> str:
        if value not in words:
            raise _bad(key, value, f"{', '.join(words[:-1])} or {words[-1]}")
        return str(value)

    return read


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
    on = frozenset(toggle for toggle, state in given.items() if _truth(f"stages.{toggle}", state))
    if why := table.problem(on):
        raise ConfigError(why)
    return on


# key in the stack's config -> (field, how it is read)
KEYS: dict[str, tuple[str, Callable[[str, object], Any]]] = {
    "stages": ("stages", _stages),
    "canaryWeight": ("canary_weight", _weight),
    "canaryCohort": ("canary_cohort", _header),
    "promoteSteps": ("promote_steps", _promote_steps),
    "gate": ("gate", _gate),
    "faultPercent": ("fault_percent", _decimal(0, 100)),
    "faultStatus": ("fault_status", _whole(200, 599)),
    "delaySeconds": ("delay_seconds", _decimal(0.001, 300)),
    "retryAttempts": ("retry_attempts", _whole(1, 20)),
    "perTryTimeout": ("per_try_timeout", _duration),
    "premiumUser": ("premium_user", _text),
    "faultAt": ("fault_at", _one_of("waypoint", "upstream")),
    "namespace": ("namespace", _name),
    "service": ("service", _name),
    "port": ("port", _whole(1, 65535)),
    "clientNamespace": ("client_namespace", _name),
    "clientWorkload": ("client_workload", _text),
    "deployBookinfo": ("deploy_bookinfo", _truth_or_auto),
    "target": ("target", _one_of("embedded", "kind", "existing")),
    "kubeconfig": ("kubeconfig", _optional),
    "context": ("context", _optional),
    "kindName": ("kind_name", _name),
    "kindConfig": ("kind_config", _optional),
    "istioHub": ("istio_hub", _text),
    "istioTag": ("istio_tag", _text),
}


@dataclass(frozen=True)
class LabConfig:
    """All that a stack may set. Percentages and weights are 0 to 100, `delay_seconds` seconds.

    `stages` are the toggles that are on. `canary_cohort` is a header as NAME=VALUE, or empty. Empty `kubeconfig` and
    `context` mean the ambient ones; a relative path is relative to the project.
    """

    stages: frozenset[str] = field(default_factory=frozenset)
    canary_weight: float = 20
    canary_cohort: str = ""
    promote_steps: tuple[float, ...] = (1, 5, 20, 50, 100)
    gate: GateSettings | None = None
    fault_percent: float = 50.0
    fault_status: int = 503
    delay_seconds: float = 2.0
    retry_attempts: int = 3
    per_try_timeout: str = "500ms"
    premium_user: str = "premium-user"
    fault_at: str = "waypoint"
    namespace: str = "bookinfo-backends"
    service: str = "reviews"
    port: int = 9080
    client_namespace: str = "bookinfo-frontends"
    client_workload: str = "deploy/productpage-v1"
    deploy_bookinfo: bool = False
    target: str = "embedded"
    kubeconfig: str = ""
    context: str = ""
    kind_name: str = "waypoint-lab"
    kind_config: str = ""
    istio_hub: str = "docker.io/istio"
    istio_tag: str = "1.31.0"

    def on(self, toggle: str) -> bool:
        """Whether a stage's toggle is on."""
        return toggle in self.stages

    @property
    def canary_parts(self) -> tuple[int, int]:
        """Whole weights of baseline and canary: of 100 together, or of a power of ten above for decimals."""
        return parts(self.canary_weight)

    @property
    def canary_header(self) -> tuple[str, str] | None:
        """Name and value of the header whose requests all go to the canary; None where there is none."""
        name, _, value = self.canary_cohort.partition("=")
        return (name, value) if name and self.on("canary") else None

    @property
    def per_try_seconds(self) -> float:
        """`per_try_timeout` in seconds."""
        return seconds(self.per_try_timeout)

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
        target = read.get("target", "embedded")
        for key in ("kubeconfig", "context"):
            if read.get(key) and target != "existing":
                raise ConfigError(f"{PROJECT}:{key} is for clusters of your own: set {PROJECT}:target to existing")
        if target == "kind":
            read["kubeconfig"] = f".lab/kind/{read.get('kind_name', cls.kind_name)}.kubeconfig"
        if read.get("deploy_bookinfo") is None:
            read["deploy_bookinfo"] = target == "kind"
        return cls(**read)

    @classmethod
    def from_stack(cls, config: Mapping[str, object]) -> "LabConfig":
        """Reads a stack's full config, whose keys carry their namespace; what is not the lab's is left alone."""
        prefix = f"{PROJECT}:"
        return cls.from_mapping({key[len(prefix) :]: value for key, value in config.items() if key.startswith(prefix)})
