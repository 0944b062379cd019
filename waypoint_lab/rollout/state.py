"""The state of a promotion, derived from its journal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.weights import shown
from waypoint_lab.rollout.analysis import StepDecision

Record = dict[str, Any]


class Phase(StrEnum):
    """Phase of a promotion."""

    PROGRESSING = "Progressing"
    PAUSED = "Paused"
    ROLLING_BACK = "RollingBack"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


ENDED = (Phase.PROMOTED, Phase.ROLLED_BACK)


@dataclass(frozen=True)
class CanaryStep:
    """One step of a promotion.

    Attributes:
        weight: Percent of requests to the canary, 0 to 100.
        cohort: Text of the cohort whose requests all go to the canary; empty means none.
    """

    weight: float
    cohort: str = ""

    def lowered(self, declared: "CanaryStep") -> "CanaryStep":
        """Return this step with the declared weight, and with its cohort only where that is declared, too."""
        return CanaryStep(declared.weight, self.cohort if declared.cohort == self.cohort else "")

    def __str__(self) -> str:
        """Return the step as a person reads it: `5 %`, or `5 % and end-user=tester`."""
        return f"{shown(self.weight)} %" + (f" and {self.cohort}" if self.cohort else "")

    @classmethod
    def declared(cls, config: LabConfig) -> "CanaryStep":
        """Return the step that a stack's config declares."""
        return cls(config.canary.weight, str(config.canary.cohort or ""))

    def settings(self) -> dict[str, object]:
        """Return the step as settings by path; None removes one."""
        weight = int(self.weight) if self.weight == int(self.weight) else self.weight
        return {
            "canary.weight": weight,
            "canary.cohort": CohortSettings.parse(self.cohort).settings if self.cohort else None,
        }

    def changes(self, config: LabConfig) -> dict[str, object]:
        """Return the settings by path that a config does not have yet; None removes one."""
        before = CanaryStep.declared(config).settings()
        return {path: value for path, value in self.settings().items() if value != before[path]}

    def document(self) -> Record:
        """Return the step as the journal keeps it."""
        return {"weight": self.weight, "cohort": self.cohort}

    @classmethod
    def read(cls, record: Record) -> "CanaryStep":
        """Return the step of a journal record."""
        return cls(float(record["weight"]), str(record["cohort"]))


def plan(start: CanaryStep, weights: Sequence[float], cohort: str) -> list[CanaryStep]:
    """Return the steps that a promotion applies.

    Args:
        start: The step that is applied now.
        weights: Rising weights in percent; weights up to the start are left out.
        cohort: Text of a cohort that is sent to the canary before the first weight and removed after the last.
    """
    rising = [weight for weight in weights if weight > start.weight]
    if not cohort:
        return [CanaryStep(weight, start.cohort) for weight in rising]
    first = [] if start.cohort == cohort else [CanaryStep(start.weight, cohort)]
    last = [CanaryStep(rising[-1])] if rising else []
    return [*first, *(CanaryStep(weight, cohort) for weight in rising), *last]


@dataclass(frozen=True)
class PromotionState:
    """State of a promotion.

    Attributes:
        promotion: Name of the promotion: its start in UTC.
        start: The step that was applied before.
        steps: All steps, in order.
        passed: Number of steps that were measured healthy.
        applying: True while the next step may be applied already.
        phase: Phase of the promotion.
        why: Reason of the last pause or rollback.
        ended_at: The step at the end; None before it.
    """

    promotion: str
    start: CanaryStep
    steps: tuple[CanaryStep, ...]
    passed: int = 0
    applying: bool = False
    phase: Phase = Phase.PROGRESSING
    why: str = ""
    ended_at: CanaryStep | None = None

    @property
    def ended(self) -> bool:
        """True once the promotion is promoted or rolled back."""
        return self.phase in ENDED

    @property
    def last_healthy(self) -> CanaryStep:
        """The last step that was measured healthy, the start before the first; once ended, the step at the end."""
        if self.ended_at:
            return self.ended_at
        return self.steps[self.passed - 1] if self.passed else self.start

    @property
    def current(self) -> CanaryStep:
        """The step that the stack's config may declare now."""
        return self.steps[self.passed] if self.applying and self.passed < len(self.steps) else self.last_healthy

    def __str__(self) -> str:
        """Return the state in one line."""
        line = f"{self.promotion}: {self.phase}"
        if self.ended:
            return f"{line}; at {self.last_healthy}"
        if self.phase is Phase.ROLLING_BACK:
            return f"{line} to {self.last_healthy} ({self.why})"
        passed = f"{', '.join(str(step) for step in self.steps[: self.passed]) or 'no step'} passed"
        if self.passed == len(self.steps):
            return f"{line}; all steps passed"
        if self.phase is Phase.PAUSED:
            return f"{line} at {self.steps[self.passed]}; {passed}"
        doing = "applying" if self.applying else "next is"
        return f"{line}; {passed}, {doing} {self.steps[self.passed]}"


def current_state(records: Sequence[Record]) -> PromotionState | None:
    """Return the state of the newest promotion in the journal; None where there is none."""
    found: PromotionState | None = None
    for record in records:
        if record["kind"] == "start":
            steps = tuple(CanaryStep.read(step) for step in record["steps"])
            found = PromotionState(record["promotion"], CanaryStep.read(record["from"]), steps)
        elif found is not None and record["promotion"] == found.promotion:
            found = _apply(found, record)
    return found


def _apply(state: PromotionState, record: Record) -> PromotionState:
    kind = record["kind"]
    if kind == "apply":
        return replace(state, applying=True, phase=Phase.PROGRESSING)
    if kind == "end":
        ended_at = CanaryStep.read(record) if "weight" in record else None
        return replace(state, phase=Phase(record["phase"]), applying=False, ended_at=ended_at)
    if kind == "rollback":  # by hand, also after the end: the record says how many steps remain passed
        passed = record.get("passed", state.passed)
        return replace(state, phase=Phase.ROLLING_BACK, why=record["why"], passed=passed, ended_at=None)
    if kind != "decision":
        return state
    match StepDecision(record["decision"]):
        case StepDecision.PROMOTE:
            return replace(state, passed=state.passed + 1, applying=False)
        case StepDecision.ROLL_BACK:
            return replace(state, phase=Phase.ROLLING_BACK, why=record["why"])
        case StepDecision.PAUSE:
            return replace(state, phase=Phase.PAUSED, why=record["why"])
