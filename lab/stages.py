"""The one table of stages: what each needs and excludes, how the lab walks through it, and what traffic must then show.

The program, the command line, the docs and the tests read these rows. How a stage is built is in `stack.py`,
by the same keys, so that the table can be read without importing Pulumi.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.config import LabConfig

SHARE_REQUESTS = 3000  # tells 20 % from 25 % at 99.9 % confidence in more than 99 of 100 runs
ALL_REQUESTS = 500  # for what every request must show
DELAY_REQUESTS = 60  # each takes seconds
DELAY_SLACK_SECONDS = 0.2  # what a request may take beyond its injected delay
COOKIE = "waypoint-lab-side"  # tells users that stay on the canary
NO_STARS, BLACK, RED = "none", "black", "red"


class Measure(StrEnum):
    """What of an answer is looked at."""

    STATUS = "status"  # the HTTP status; `value` is the number as text
    COLOUR = "colour"  # of the stars: red, black or none
    PROXIED = "proxied"  # whether a waypoint answered or passed it on: "yes" or "no"
    SECONDS = "seconds"  # how long it took: between `low` and `high`


@dataclass(frozen=True)
class Expect:
    """One thing that traffic must show.

    Of `requests` requests of this kind, the share `share` (0 to 1) must have `value`; for SECONDS the median must lie
    between `low` and `high`.
    """

    what: str
    measure: Measure
    value: str = ""
    share: float = 1.0
    method: str = "GET"
    header: tuple[str, str] | None = None
    requests: int = ALL_REQUESTS
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Step:
    """One `pulumi up` of the walk: these toggles on and all others off, and these settings."""

    on: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """A row. `key` is its toggle in `waypoint-lab:stages`, empty where the walk only turns settings of other stages.

    `needs` and `excludes` are toggles; `settings` the config keys that shape it; `steps` what `lab run` does, in order
    (empty: the walk passes it over). `expects` says what traffic must show under a config with this stage on.
    """

    name: str
    key: str
    title: str
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    expects: Callable[["LabConfig"], tuple[Expect, ...]] = lambda config: ()


_ROUTES, _FAULTS = ("canary", "premium"), ("delay", "abort", "retries")
_BASE = ("waypoint", "accessLog")
# A stack's own limits of a fault are not the walk's.
_WALKED = {"faultSeconds": "0", "faultHeader": "", "retryBudgetPercent": "", "requestTimeout": ""}


def _hit(config: "LabConfig", header: tuple[str, str] | None) -> bool:
    """Whether the fault touches requests with this header."""
    return config.fault_header is None or config.fault_header == header


def _never_in_time(config: "LabConfig") -> bool:
    """Every try ends at its own timeout: only a delay behind the router counts towards it."""
    slow = config.on("delay") and config.delay_seconds >= config.per_try_seconds
    return slow and config.on("retries") and config.fault_at == "upstream"


def _failing(config: "LabConfig", header: tuple[str, str] | None = None) -> float:
    """Share of failures (0 to 1) among the requests that the fault touches, and are GET."""
    if not config.on("abort") or not _hit(config, header):
        return 0.0
    share = config.fault_percent / 100
    if config.fault_at == "waypoint":
        return share
    if config.on("retries") and config.fault_status >= 500:
        share **= config.retry_attempts + 1  # `attempts` are retries: three of them make four tries
    # A failing workload stands in front of the baseline only; the canary's share does not pass it.
    return share * (1 - _canary_share(config))


def _canary_share(config: "LabConfig") -> float:
    return config.canary_weight / 100 if config.on("canary") else 0.0


def _waypoint(config: "LabConfig") -> tuple[Expect, ...]:
    # An injected abort is answered without an upstream, and a policy may refuse: both are judged by their own rows.
    if config.on("delay") or config.on("abort") or config.on("retries"):
        return ()
    return (
        Expect("answered", Measure.STATUS, "200"),
        Expect("through the waypoint", Measure.PROXIED, "yes"),
    )


def _l7_policy(config: "LabConfig") -> tuple[Expect, ...]:
    denied = Expect("DELETE refused", Measure.STATUS, "403", method="DELETE", requests=200)
    if config.on("abort") or config.on("delay"):
        return (denied,)
    return (Expect("GET allowed", Measure.STATUS, "200", requests=200), denied)


def _sample(config: "LabConfig", share: float) -> int:
    # With a delay on each answer a large sample would take minutes.
    return (400 if config.on("delay") else SHARE_REQUESTS) if 0 < share < 1 else ALL_REQUESTS


def _shares(config: "LabConfig", what: str) -> tuple[Expect, ...]:
    if _never_in_time(config):
        return ()
    canary = _canary_share(config)
    failing = _failing(config)
    # The waypoint's own abort takes its part of both sides, a failing workload all of it from the baseline.
    red = canary * (1 - failing) if config.fault_at == "waypoint" else canary
    white = 1 - failing - red
    return (
        Expect(f"{what} red", Measure.COLOUR, RED, red, requests=_sample(config, red)),
        Expect(f"{what} without stars", Measure.COLOUR, NO_STARS, white, requests=_sample(config, white)),
    )


def _no_failures(config: "LabConfig") -> tuple[Expect, ...]:
    faulty = config.on("abort") or _never_in_time(config)
    return () if faulty else (Expect("no failures", Measure.STATUS, "200"),)


def _canary(config: "LabConfig") -> tuple[Expect, ...]:
    return (*_shares(config, "everyone"), *_sticky(config), *_no_failures(config))


def _sticky(config: "LabConfig") -> tuple[Expect, ...]:
    if not config.sticky_seconds or not config.canary_weight or config.faulty:
        return ()
    return (Expect("with the cookie red", Measure.COLOUR, RED, header=("cookie", f"{COOKIE}={config.service}-stable")),)


def _premium(config: "LabConfig") -> tuple[Expect, ...]:
    header = ("end-user", config.premium_user)
    black = 1.0 if config.fault_at == "upstream" else 1 - _failing(config, header)
    requests = _sample(config, black)
    premium = Expect(f"{config.premium_user} black", Measure.COLOUR, BLACK, black, header=header, requests=requests)
    return (premium, *_shares(config, "others"), *_no_failures(config))


def _delay(config: "LabConfig") -> tuple[Expect, ...]:
    if _never_in_time(config) or (config.on("abort") and config.on("retries") and config.fault_at == "upstream"):
        return ()
    if config.fault_at == "upstream" and _canary_share(config):
        return ()  # some answers are late and some are not: a median would judge the weight
    low, header = config.delay_seconds, config.fault_header
    late = Expect(
        f"{low:g} s later",
        Measure.SECONDS,
        low=low,
        high=low + DELAY_SLACK_SECONDS,
        header=header,
        requests=DELAY_REQUESTS,
    )
    others = Expect("others 0 s later", Measure.SECONDS, high=DELAY_SLACK_SECONDS, requests=DELAY_REQUESTS)
    return (late, others) if header else (late,)


def _failures(config: "LabConfig") -> tuple[Expect, ...]:
    header = config.fault_header
    if _never_in_time(config):
        late = 1 - _canary_share(config)
        requests = DELAY_REQUESTS if late == 1 else 400
        return (Expect("each try out of time", Measure.STATUS, "504", late, header=header, requests=requests),)
    if not config.on("abort"):
        return (Expect("answered", Measure.STATUS, "200"),)
    share = _failing(config, header)
    status = str(config.fault_status)
    failures = Expect("failures", Measure.STATUS, status, share, header=header, requests=_sample(config, share))
    return (failures, Expect("no failures of others", Measure.STATUS, "200")) if header else (failures,)


def _cleanup(config: "LabConfig") -> tuple[Expect, ...]:
    return (
        Expect("answered", Measure.STATUS, "200"),
        Expect("not through a waypoint", Measure.PROXIED, "no"),
    )


STAGES: tuple[Stage, ...] = (
    Stage(
        "waypoint",
        "waypoint",
        "A waypoint takes over the namespace's traffic",
        settings=("namespace",),
        steps=(Step(_BASE),),
        expects=_waypoint,
    ),
    Stage("access-log", "accessLog", "The waypoint logs each request", needs=("waypoint",)),
    Stage(
        "l7-policy",
        "l7Policy",
        "Only GET is allowed",
        needs=("waypoint",),
        settings=("service",),
        steps=(Step((*_BASE, "l7Policy")),),
        expects=_l7_policy,
    ),
    Stage(
        "canary",
        "canary",
        "A share of requests goes to the red stars",
        needs=("waypoint",),
        excludes=_FAULTS,
        settings=("canaryWeight",),
        steps=(Step((*_BASE, "canary"), {"canaryWeight": "20"}),),
        expects=_canary,
    ),
    Stage(
        "stable",
        "",
        "Every request goes to the red stars",
        settings=("canaryWeight",),
        steps=(Step((*_BASE, "canary"), {"canaryWeight": "100"}),),
        expects=_canary,
    ),
    Stage(
        "premium",
        "premium",
        "One user group gets the black stars",
        needs=("waypoint",),
        excludes=_FAULTS,
        settings=("premiumUser",),
        steps=(Step((*_BASE, "premium")),),
        expects=_premium,
    ),
    Stage(
        "delay",
        "delay",
        "Every request is delayed",
        needs=("waypoint",),
        excludes=_ROUTES,
        settings=("delaySeconds", "faultAt", "faultSeconds", "faultHeader"),
        steps=(Step((*_BASE, "delay"), {"delaySeconds": "2", "faultAt": "waypoint", **_WALKED}),),
        expects=_delay,
    ),
    Stage(
        "abort",
        "abort",
        "A share of requests fails",
        needs=("waypoint",),
        excludes=_ROUTES,
        settings=("faultPercent", "faultStatus", "faultAt", "faultSeconds", "faultHeader"),
        steps=(Step((*_BASE, "abort"), {"faultPercent": "50", "faultAt": "waypoint", **_WALKED}),),
        expects=_failures,
    ),
    Stage(
        "retries",
        "retries",
        "Retries take failures of the upstream away",
        needs=("waypoint",),
        excludes=_ROUTES,
        settings=("retryAttempts", "perTryTimeout", "faultAt", "retryWrites", "retryBackoff", "retryBudgetPercent"),
        steps=(
            Step(
                (*_BASE, "abort", "retries"),
                {"faultPercent": "50", "retryAttempts": "3", "faultAt": "waypoint", **_WALKED},
                # Source: Istio issue 13705: the fault filter answers before the router, and retries are the router's.
                "an abort of the same rule is never retried",
            ),
            Step(
                (*_BASE, "abort", "retries"),
                {"faultPercent": "50", "retryAttempts": "3", "faultAt": "upstream", **_WALKED},
                "failures of the upstream are",
            ),
        ),
        expects=_failures,
    ),
    Stage("cleanup", "", "All is as it was before", steps=(Step(()),), expects=_cleanup),
)
TOGGLES: tuple[str, ...] = tuple(row.key for row in STAGES if row.key)
BY_NAME: dict[str, Stage] = {row.name: row for row in STAGES}
BY_KEY: dict[str, Stage] = {row.key: row for row in STAGES if row.key}


def problem(on: frozenset[str], *, exclusive: bool = True) -> str:
    """One line that says why these toggles cannot be on together; empty where they can.

    `exclusive`: routes and faults have owners of their own, and shut each other out.
    """
    for row in STAGES:
        if row.key not in on:
            continue
        for need in row.needs:
            if need not in on:
                return f"stages.{row.key} needs stages.{need}, which is off: turn {need} on or {row.key} off"
        for other in row.excludes if exclusive else ():
            if other in on:
                first, second = sorted((row.key, other), key=TOGGLES.index)
                return (
                    f"stages.{first} and stages.{second} exclude each other: on one Service an HTTPRoute hides a "
                    f"VirtualService, so the fault would never fire; turn one of the two off, or set owner to combined"
                )
    return ""


def expectations(config: "LabConfig") -> tuple[Expect, ...]:
    """What traffic must show under `config`; where nothing is on, that no waypoint is in the way."""
    if not config.stages:
        return _cleanup(config)
    found = [item for row in STAGES if row.key in config.stages for item in row.expects(config)]
    return tuple(dict.fromkeys(found))
