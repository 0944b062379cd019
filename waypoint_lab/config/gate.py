"""What the gate of a canary is to hold it to, read from the stack's config."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MINIMUM_REQUESTS, SECONDS = 500, 30.0
MOST_REQUESTS, MOST_SECONDS = 100_000, 600.0


class GateError(Exception):
    """The rest of one line that begins with the key: what is wrong, and what would be right."""


@dataclass(frozen=True)
class Prometheus:
    """Queries that answer with one number each: `requests` a count, `success_rate` percent, `p99` seconds."""

    url: str
    requests: str
    success_rate: str = ""
    p99: str = ""


@dataclass(frozen=True)
class GateSettings:
    """Thresholds; at least one is set. `success_rate` is percent, `p99_seconds` and `seconds` are seconds.

    `share`: the canary's share must lie within its interval. `minimum_requests`: fewer are no pass. `seconds`: how long
    to wait for them at most.
    """

    success_rate: float | None = None
    p99_seconds: float | None = None
    share: bool = False
    minimum_requests: int = MINIMUM_REQUESTS
    seconds: float = SECONDS
    prometheus: Prometheus | None = None

    @classmethod
    def read(cls, value: object) -> "GateSettings | None":
        """From a map, or its JSON as a stack keeps it; None where it is empty, which turns the gate off.

        Raises GateError.
        """
        given = _map("", value)
        if not given:
            return None
        _known("", given, ("successRate", "p99Seconds", "share", "minimumRequests", "seconds", "prometheus"))
        source = _prometheus(given["prometheus"]) if "prometheus" in given else None
        gate = cls(
            success_rate=_number(given, "successRate", 0, 100, above=True),
            p99_seconds=_number(given, "p99Seconds", 0, 300, above=True),
            share=_truth(given, "share"),
            # The 99th percentile of fewer than a hundred requests is no more than the slowest of them.
            minimum_requests=int(_number(given, "minimumRequests", 100, MOST_REQUESTS) or MINIMUM_REQUESTS),
            seconds=_number(given, "seconds", 1, MOST_SECONDS) or SECONDS,
            prometheus=source,
        )
        if gate.success_rate is None and gate.p99_seconds is None and not gate.share:
            raise GateError(" sets no threshold: it must have successRate, p99Seconds or share")
        if source:
            if gate.share:
                raise GateError(".share cannot be taken from Prometheus: leave share or prometheus out")
            for threshold, query, name in (
                (gate.success_rate, source.success_rate, "successRate"),
                (gate.p99_seconds, source.p99, "p99"),
            ):
                if (threshold is None) != (not query):
                    raise GateError(
                        f".prometheus.{name} is a query, and must be set where its threshold is, and only there"
                    )
        return gate

    def document(self) -> dict[str, Any]:
        """All that decides, for the record of what passed."""
        return {
            key: vars(value) if isinstance(value, Prometheus) else value
            for key, value in vars(self).items()
            if value is not None and value is not False
        }


def _map(where: str, value: object) -> Mapping[str, object]:
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise GateError(f"{where} must be a map, as `pulumi config set --path gate.successRate 99` writes it")
    return value


def _known(where: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in given:
        if key not in known:
            raise GateError(f"{where} has no setting {key}; known are {', '.join(known)}")


def _number(given: Mapping[str, object], key: str, low: float, high: float, *, above: bool = False) -> float | None:
    if key not in given:
        return None
    value = given[key]
    try:
        number = float("nan" if isinstance(value, bool) else str(value))
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (above and number == low) or (key == "minimumRequests" and number != int(number)):
        least = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise GateError(f".{key} is {json.dumps(value, default=str)}: it must be a number {least}")
    return number


def _truth(given: Mapping[str, object], key: str) -> bool:
    value = given.get(key, False)
    if value not in (True, False, "true", "false"):
        raise GateError(f".{key} is {json.dumps(value, default=str)}: it must be true or false")
    return value in (True, "true")


def _prometheus(value: object) -> Prometheus:
    given = _map(".prometheus", value)
    _known(".prometheus", given, ("url", "requests", "successRate", "p99"))
    texts = {key: str(text).strip() for key, text in given.items()}
    url = urlsplit(texts.get("url", ""))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise GateError(f".prometheus.url is {json.dumps(texts.get('url', ''))}: it must be an http or https address")
    if not texts.get("requests"):
        raise GateError(".prometheus.requests is missing: it must be a query of how many requests the rest rests on")
    return Prometheus(texts["url"].rstrip("/"), texts["requests"], texts.get("successRate", ""), texts.get("p99", ""))
