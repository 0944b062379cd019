"""Where a promotion stands, read from its journal: pure, so that every place it can be killed at can be tested."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.weights import shown
from waypoint_lab.rollout.analysis import Verdict

Record = dict[str, Any]


class Result(StrEnum):
    """How a promotion ends."""

    PROMOTED = "promoted"
    BACK = "rolled back"


@dataclass(frozen=True)
class Target:
    """What the route is to be: `weight` percent to the canary, and all of a `cohort` (a header's NAME=VALUE)."""

    weight: float
    cohort: str = ""

    def __str__(self) -> str:
        """As people read it."""
        return f"{shown(self.weight)} %" + (f" and {self.cohort}" if self.cohort else "")

    @classmethod
    def of(cls, config: LabConfig) -> "Target":
        """Return what a stack declares."""
        return cls(config.canary.weight, str(config.canary.cohort or ""))

    def settings(self) -> dict[str, object]:
        """Return the settings by path; None removes one."""
        header, _, value = self.cohort.partition("=")
        weight = int(self.weight) if self.weight == int(self.weight) else self.weight
        return {"canary.weight": weight, "canary.cohort": {"header": header, "value": value} if header else None}

    def document(self) -> Record:
        """For the journal."""
        return {"weight": self.weight, "cohort": self.cohort}

    @classmethod
    def read(cls, record: Record) -> "Target":
        """From a line of the journal."""
        return cls(float(record["weight"]), str(record["cohort"]))


def plan(start: Target, steps: Sequence[float], cohort: str) -> list[Target]:
    """What is applied one after the other: those of `steps` above the start; a cohort first, and taken away last."""
    weights = [step for step in steps if step > start.weight]
    if not cohort:
        return [Target(weight, start.cohort) for weight in weights]
    first = [] if start.cohort == cohort else [Target(start.weight, cohort)]
    last = [Target(weights[-1])] if weights else []
    return [*first, *(Target(weight, cohort) for weight in weights), *last]


@dataclass(frozen=True)
class Standing:
    """A promotion that was begun. `passed` of its targets are measured healthy.

    `trying`: the next one may be applied already. `going_back`: a way back was begun and not ended; `why` says why.
    `result` is None while it has not ended.
    """

    promotion: str
    start: Target
    targets: tuple[Target, ...]
    passed: int = 0
    trying: bool = False
    held: bool = False
    going_back: bool = False
    why: str = ""
    result: Result | None = None

    @property
    def good(self) -> Target:
        """The last target that was measured healthy; the start before the first."""
        return self.targets[self.passed - 1] if self.passed else self.start

    @property
    def now(self) -> Target:
        """What the stack's file may say now, beside `good`."""
        return self.targets[self.passed] if self.trying and self.passed < len(self.targets) else self.good

    def __str__(self) -> str:
        """One line for people."""
        done = ", ".join(str(target) for target in self.targets[: self.passed]) or "no step"
        if self.result:
            return f"{self.promotion}: {self.result}; at {self.good}"
        if self.going_back:
            return f"{self.promotion}: on its way back to {self.good} ({self.why})"
        if self.passed == len(self.targets):
            return f"{self.promotion}: all steps passed"
        doing = "held at" if self.held else "was killed while trying" if self.trying else "stopped before"
        return f"{self.promotion}: {done} passed, {doing} {self.targets[self.passed]}"


def standing(records: Sequence[Record]) -> Standing | None:
    """Where the newest promotion stands; None where there was none."""
    found: Standing | None = None
    for record in records:
        kind = record["kind"]
        if kind == "start":
            targets = tuple(Target.read(target) for target in record["targets"])
            found = Standing(record["promotion"], Target.read(record["from"]), targets)
        elif found is None or record["promotion"] != found.promotion:
            continue
        else:
            found = _after(found, record)
    return found


def _after(before: Standing, record: Record) -> Standing:
    kind, state = record["kind"], dict(vars(before))
    if kind == "try":
        state |= {"trying": True, "held": False}
    elif kind == "decision" and record["verdict"] == Verdict.GO:
        state |= {"passed": before.passed + 1, "trying": False}
    elif kind == "decision" and record["verdict"] == Verdict.BACK:
        state |= {"going_back": True, "held": False, "why": record["why"]}
    elif kind == "decision":
        state |= {"held": True, "why": record["why"]}
    elif kind == "back":  # by hand
        # Also after the end, and further than to the last target: the line says how many are left.
        passed = record.get("passed", before.passed)
        state |= {"going_back": True, "why": record["why"], "passed": passed, "result": None}
    elif kind == "end":
        state |= {"result": Result(record["result"]), "trying": False, "held": False, "going_back": False}
    return Standing(**state)
