"""The table of stages: the steps of `lab run`, and the expected traffic of each stage.

The program, the command line, the docs and the tests read these rows. `program/build.py` builds the stages by the same
keys, so that this table needs no Pulumi.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.stages import expectations as expects
from waypoint_lab.stages.expectations import Expect as Expect
from waypoint_lab.stages.expectations import Measure as Measure


@dataclass(frozen=True)
class Step:
    """One `pulumi up` of `lab run`: the toggles that are on, all others off, and settings by path.

    A step with `before` removes what earlier stages left, and is not measured.
    """

    on: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    note: str = ""
    before: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage. `key` is its toggle in `waypoint-lab:stages`; empty if it only changes settings of other stages.

    `lab run` applies `steps` in order, and omits a stage without steps. `expects` returns the expectations of the
    traffic under a config with this stage on.
    """

    name: str
    key: str
    title: str
    steps: tuple[Step, ...] = ()
    expects: Callable[[LabConfig], tuple[Expect, ...]] = lambda config: ()


_BASE = ("waypoint", "accessLog")
_ONE: dict[str, object] = {"waypoint.name": "waypoint", "waypoint.canary": None}


def _two(weight: int) -> dict[str, object]:
    return {"waypoint.name": "waypoint", "waypoint.canary": {"name": "waypoint-next", "weight": weight}}


_RESET: dict[str, object] = {
    "fault.durationSeconds": None,
    "fault.header": None,
    "retries.budgetPercent": None,
    "app.requestTimeout": None,
}


STAGES: tuple[Stage, ...] = (
    Stage(
        "waypoint",
        "waypoint",
        "A waypoint carries the namespace's traffic",
        steps=(Step(_BASE, _ONE),),
        expects=expects.waypoint,
    ),
    Stage("access-log", "accessLog", "The waypoint logs each request"),
    Stage(
        "l7-policy",
        "l7Policy",
        "Only the method of the application's request is allowed",
        steps=(Step((*_BASE, "l7Policy")),),
        expects=expects.l7_policy,
    ),
    Stage(
        "canary",
        "canary",
        "A share of requests goes to the canary",
        steps=(Step((*_BASE, "canary"), {"canary.weight": 20}),),
        expects=expects.canary,
    ),
    Stage(
        "promoted",
        "",
        "Every request goes to the canary",
        steps=(Step((*_BASE, "canary"), {"canary.weight": 100}),),
        expects=expects.canary,
    ),
    Stage(
        "premium",
        "premium",
        "Each cohort gets a backend of its own",
        steps=(Step((*_BASE, "premium")),),
        expects=expects.premium,
    ),
    Stage(
        "delay",
        "delay",
        "Every request is delayed",
        steps=(Step((*_BASE, "delay"), {"fault.delay.seconds": 2, "fault.at": "waypoint", **_RESET}),),
        expects=expects.delay,
    ),
    Stage(
        "abort",
        "abort",
        "A share of requests fails",
        steps=(Step((*_BASE, "abort"), {"fault.abort.percent": 50, "fault.at": "waypoint", **_RESET}),),
        expects=expects.failures,
    ),
    Stage(
        "retries",
        "retries",
        "Retries hide failures of the upstream",
        steps=(
            Step(
                (*_BASE, "abort", "retries"),
                {"fault.abort.percent": 50, "retries.attempts": 3, "fault.at": "waypoint", **_RESET},
                # Source: Istio issue 13705: the fault filter answers before the router, which retries.
                "an abort of the same rule is never retried",
            ),
            Step(
                (*_BASE, "abort", "retries"),
                {"fault.abort.percent": 50, "retries.attempts": 3, "fault.at": "upstream", **_RESET},
                "failures of the upstream are",
            ),
        ),
        expects=expects.failures,
    ),
    Stage(
        "migration",
        "",
        "The traffic migrates to a second waypoint",
        steps=(
            Step(_BASE, _ONE, before=True),
            Step(_BASE, _two(0), "it is synced before it gets any connection"),
            Step(
                _BASE,
                _two(20),
                "a share of new connections; open ones are kept",
            ),
            Step(_BASE, _two(100)),
            Step(_BASE, {**_ONE, "waypoint.name": "waypoint-next"}, "the first drains its open connections"),
        ),
        expects=expects.migration,
    ),
    Stage("cleanup", "", "All is as it was before", steps=(Step(()),), expects=expects.cleanup),
)
BY_NAME: dict[str, Stage] = {row.name: row for row in STAGES}


def expectations(config: LabConfig) -> tuple[Expect, ...]:
    """Return all expectations under a configuration; with no stage on, that no waypoint carries the traffic."""
    if not config.stages.on:
        return expects.cleanup(config)
    found = [item for row in STAGES if row.key in config.stages.on for item in row.expects(config)]
    return tuple(dict.fromkeys(found))
