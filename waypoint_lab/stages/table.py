"""The one table of stages: what each needs and excludes, how the lab walks through it, and what traffic must then show.

The program, the command line, the docs and the tests read these rows. How a stage is built is in `stack.py`,
by the same keys, so that the table can be read without importing Pulumi.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from waypoint_lab.stages import expectations as expects
from waypoint_lab.stages.expectations import Expect as Expect
from waypoint_lab.stages.expectations import Measure as Measure

if TYPE_CHECKING:
    from waypoint_lab.config.settings import LabConfig


@dataclass(frozen=True)
class Step:
    """One `pulumi up` of the walk: these toggles on and all others off, and these settings.

    `before`: it only takes away what the stages before have left, so that what comes next is measured alone.
    """

    on: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    before: bool = False


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
_ONE = {"waypointName": "waypoint", "waypointCanary": "", "waypointCanaryWeight": "0"}
_TWO = {**_ONE, "waypointCanary": "waypoint-next"}
_WALKED = {"faultSeconds": "0", "faultHeader": "", "retryBudgetPercent": "", "requestTimeout": ""}


STAGES: tuple[Stage, ...] = (
    Stage(
        "waypoint",
        "waypoint",
        "A waypoint takes over the namespace's traffic",
        settings=("namespace", "waypointName", "waypointRevision"),
        steps=(Step(_BASE, _ONE),),
        expects=expects.waypoint,
    ),
    Stage("access-log", "accessLog", "The waypoint logs each request", needs=("waypoint",)),
    Stage(
        "l7-policy",
        "l7Policy",
        "Only GET is allowed",
        needs=("waypoint",),
        settings=("service",),
        steps=(Step((*_BASE, "l7Policy")),),
        expects=expects.l7_policy,
    ),
    Stage(
        "canary",
        "canary",
        "A share of requests goes to the red stars",
        needs=("waypoint",),
        excludes=_FAULTS,
        settings=("canaryWeight",),
        steps=(Step((*_BASE, "canary"), {"canaryWeight": "20"}),),
        expects=expects.canary,
    ),
    Stage(
        "stable",
        "",
        "Every request goes to the red stars",
        settings=("canaryWeight",),
        steps=(Step((*_BASE, "canary"), {"canaryWeight": "100"}),),
        expects=expects.canary,
    ),
    Stage(
        "premium",
        "premium",
        "One user group gets the black stars",
        needs=("waypoint",),
        excludes=_FAULTS,
        settings=("premiumUser",),
        steps=(Step((*_BASE, "premium")),),
        expects=expects.premium,
    ),
    Stage(
        "delay",
        "delay",
        "Every request is delayed",
        needs=("waypoint",),
        excludes=_ROUTES,
        settings=("delaySeconds", "faultAt", "faultSeconds", "faultHeader"),
        steps=(Step((*_BASE, "delay"), {"delaySeconds": "2", "faultAt": "waypoint", **_WALKED}),),
        expects=expects.delay,
    ),
    Stage(
        "abort",
        "abort",
        "A share of requests fails",
        needs=("waypoint",),
        excludes=_ROUTES,
        settings=("faultPercent", "faultStatus", "faultAt", "faultSeconds", "faultHeader"),
        steps=(Step((*_BASE, "abort"), {"faultPercent": "50", "faultAt": "waypoint", **_WALKED}),),
        expects=expects.failures,
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
        expects=expects.failures,
    ),
    Stage(
        "roll",
        "",
        "A second waypoint takes over from the first",
        settings=("waypointCanary", "waypointCanaryWeight", "waypointCanaryRevision"),
        steps=(
            Step(_BASE, _ONE, before=True),
            Step(_BASE, _TWO, "told of the Services before it gets any connection"),
            Step(_BASE, {**_TWO, "waypointCanaryWeight": "20"}, "a share of new connections; open ones stay"),
            Step(_BASE, {**_TWO, "waypointCanaryWeight": "100"}),
            Step(_BASE, {**_ONE, "waypointName": "waypoint-next"}, "open connections of the first ended in order"),
        ),
        expects=expects.roll,
    ),
    Stage("cleanup", "", "All is as it was before", steps=(Step(()),), expects=expects.cleanup),
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
        return expects.cleanup(config)
    found = [item for row in STAGES if row.key in config.stages for item in row.expects(config)]
    return tuple(dict.fromkeys(found))
