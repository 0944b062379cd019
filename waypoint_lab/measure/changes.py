"""Requests around a change, with their times: when the old configuration answered last, and the new one first."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import access_log
from waypoint_lab.measure.client import Answer, Endpoint
from waypoint_lab.measure.endpoint_counters import destination
from waypoint_lab.stages.expectations import WITH_COOKIE, Expect, Measure
from waypoint_lab.waiting import polls

AFTER_SECONDS = 1.0  # of requests after the new configuration is in force
EARLY = 0.9  # of an injected delay: Envoy's timers may fire some milliseconds early
SPARE_SECONDS = 2  # kubectl counts whole seconds, by the node's clock
OWN = "the client's requests"
LOG = "the access log"


class Seen(NamedTuple):
    """One request: its start in seconds since 1970, and its outcome as text."""

    at: float
    outcome: str


@dataclass(frozen=True)
class ConfigurationChange:
    """One change of the configuration, and the requests around it.

    Attributes:
        name: What was changed.
        began: Start of the update, in seconds since 1970.
        applied: End of the update; 0 where it failed.
        synced: Time from which the waypoint's Envoy had the configuration; 0 where it did not get it.
        seen: The requests.
        source: The origin of the requests.
    """

    name: str
    began: float
    applied: float = 0.0
    synced: float = 0.0
    seen: Sequence[Seen] = field(default_factory=list)
    source: str = OWN

    @property
    def before(self) -> set[str]:
        """The outcomes before the update."""
        return {one.outcome for one in self.seen if one.at < self.began}

    @property
    def after(self) -> set[str]:
        """The outcomes from the time on at which the waypoint had the configuration."""
        return {one.outcome for one in self.seen if self.synced and one.at >= self.synced}

    @property
    def last_old(self) -> float | None:
        """Start of the last request that only the old configuration answers so; None where both answer alike."""
        old = self.before - self.after
        return max((one.at for one in self.seen if one.outcome in old), default=None) if self.after else None

    @property
    def first_new(self) -> float | None:
        """Start of the first request that only the new configuration answers so; None where both answer alike."""
        new = {one.outcome for one in self.seen if one.at >= self.began} & self.after - self.before
        return min((one.at for one in self.seen if one.outcome in new), default=None) if self.before else None


def kinds(config: LabConfig, expects: Iterable[Expect]) -> dict[str, Endpoint]:
    """Return the requests that show a stage, by a text for each kind; the application's own request comes first.

    Args:
        config: The application.
        expects: The expectations of the stage.
    """
    found = {config.app.request.method: Endpoint()}
    for one in expects:
        if one.header == WITH_COOKIE or one.measure in (Measure.WAYPOINT, Measure.ANSWERED):
            continue
        own = ("", config.app.request.method, config.app.request.path)
        other = [part for part in (one.method, one.path) if part not in own]
        text = " ".join([*other, *([": ".join(one.header)] if one.header else [])]) or config.app.request.method
        found.setdefault(text, Endpoint("", dict([one.header] if one.header else []), one.method, one.path))
    return found


def outcome(config: LabConfig, answer: Answer, kind: str = "") -> str:
    """Return the outcome of a request as text: its backend or status, and what else distinguishes it.

    Args:
        config: The config with the roles of the backends, and the delay.
        answer: The answer.
        kind: Text of the kind of request; empty for the application's own.
    """
    roles = {config.app.identify.value(role): role for role in config.app.backends}
    parts = [answer.outcome if not answer.succeeded else roles.get(answer.identity, answer.outcome)]
    if answer.status and not answer.proxied:
        parts.append("past the waypoint")
    if config.stages.delay and answer.seconds >= EARLY * config.fault.delay.seconds:
        parts.append("late")
    return f"{f'{kind}: ' if kind else ''}{', '.join(parts)}"


def seen(config: LabConfig, answers: Sequence[Answer], names: Sequence[str] = ("",)) -> list[Seen]:
    """Return the outcomes of requests, by their start.

    Args:
        config: As in `outcome`.
        answers: The answers of rounds, each with one answer for each kind, in order.
        names: Texts of the kinds.
    """
    shown = ["", *names[1:]]
    found = [Seen(one.at, outcome(config, one, shown[place % len(shown)])) for place, one in enumerate(answers)]
    return sorted(found)


def logged(config: LabConfig, since: float, *, by_waypoint: bool = False) -> list[Seen]:
    """Return the requests to the Service in the access logs of its waypoints; none where the logs are off.

    Wait until the logs have a request of now, or of later, at most the limit of the access log.

    Args:
        config: The waypoints and the Service.
        since: Start of the first request, in seconds since 1970.
        by_waypoint: Name the waypoint in place of the backend.

    Raises:
        KubectlError: A log cannot be read.
    """
    if not config.stages.access_log:
        return []
    where, now = access_log.addresses(config), time.time()
    found: list[Seen] = []
    for _ in polls(access_log.LIMIT_SECONDS, access_log.POLL_SECONDS):
        window = int(time.time() - since) + SPARE_SECONDS
        found = sorted(
            Seen(datetime.fromisoformat(one["start"]).timestamp(), name if by_waypoint else _backend(config, one))
            for name in config.waypoints
            for one in access_log.requests(access_log.log(config, name, window), where)
        )
        if not found or found[-1].at >= now - AFTER_SECONDS or time.time() - now > AFTER_SECONDS * 2:
            break
    return [one for one in found if one.at >= since]


def _backend(config: LabConfig, one: dict[str, str]) -> str:
    """Return the role of the backend of a request in an access log, or its Service, or the waypoint's own answer."""
    roles = {backend.service: role for role, backend in config.app.backends.items()}
    to = destination(one["cluster"])
    if to is None or not config.app.request.succeeded(one["status"]):
        return one["status"]
    return roles.get(to.service, to.service)
