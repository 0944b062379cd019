"""The steps of a waypoint migration, and the state of one that was interrupted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.journal import Record

KIND = "migration"  # of a journal record


@dataclass(frozen=True)
class MigrationStep:
    """The waypoints that the stack declares.

    Attributes:
        name: The primary waypoint.
        canary: The canary waypoint; empty means none.
        weight: Whole percent of new connections to the canary, 0 to 100.
        revision: Istio revision of the primary; empty means the namespace's.
        canary_revision: Istio revision of the canary; empty means the namespace's.
    """

    name: str
    canary: str = ""
    weight: int = 0
    revision: str = ""
    canary_revision: str = ""

    @classmethod
    def declared(cls, config: LabConfig) -> "MigrationStep":
        """Return the step that a stack's config declares."""
        waypoint, canary = config.waypoint, config.waypoint.canary
        if canary is None:
            return cls(waypoint.name, revision=waypoint.revision)
        return cls(waypoint.name, canary.name, canary.weight, waypoint.revision, canary.revision)

    def settings(self) -> dict[str, object]:
        """Return the step as settings by path; None removes one."""
        found: dict[str, object] = {"waypoint.name": self.name, "waypoint.revision": self.revision or None}
        if not self.canary:
            return {**found, "waypoint.canary": None}
        return {
            **found,
            "waypoint.canary.name": self.canary,
            "waypoint.canary.weight": self.weight,
            "waypoint.canary.revision": self.canary_revision or None,
        }

    def __str__(self) -> str:
        """Return the step as a person reads it."""
        return f"{self.weight} % through {self.canary}" if self.canary else f"all through {self.name}"


def plan(current: MigrationStep, to: str, revision: str, weights: Sequence[int]) -> list[MigrationStep]:
    """Return the steps of a migration.

    The first step is 0 %, so that the canary has its configuration before it gets connections. After 100 % the canary
    becomes the primary. An interrupted migration applies and measures its current step again.

    Args:
        current: The step that the stack declares.
        to: Name of the waypoint that becomes the primary.
        revision: Its Istio revision; empty means the namespace's.
        weights: Rising whole percentages of new connections.
    """
    if to == current.name:
        return [current]
    start = current.weight if current.canary else 0
    levels = [start, *(weight for weight in weights if weight > start)]
    found = [MigrationStep(current.name, to, weight, current.revision, revision) for weight in levels]
    return [*found, MigrationStep(to, revision=revision)] if levels[-1] == 100 else found


def rollback_steps(current: MigrationStep, *, resumed: bool = False) -> Iterator[MigrationStep]:
    """Yield the steps back to the primary: 0 % for the canary, then its removal.

    Args:
        current: The step that the stack declares.
        resumed: The rollback was interrupted, so a declared 0 % may not be applied yet.
    """
    if current.canary and (current.weight or resumed):
        yield MigrationStep(current.name, current.canary, 0, current.revision, current.canary_revision)
    yield MigrationStep(current.name, revision=current.revision)


@dataclass(frozen=True)
class MigrationState:
    """State of an interrupted migration.

    Attributes:
        rollback: Reason of a rollback that has not ended; empty means none.
        switched: The canary is the primary already; only its measurement is missing.
    """

    rollback: str = ""
    switched: bool = False

    @classmethod
    def read(cls, records: Sequence[Record], current: MigrationStep) -> "MigrationState":
        """Return the state.

        Args:
            records: The journal.
            current: The step that the stack declares.
        """
        last = next((record for record in reversed(records) if record["kind"] == KIND), None)
        if last is None:
            return cls()
        decision, name, canary = StepDecision(last["decision"]), last["step"]["name"], last["step"]["canary"]
        if decision is StepDecision.PAUSE:
            return cls(switched=name == current.name)
        if decision is StepDecision.PROMOTE:
            return cls(switched=canary == current.name)
        # The record that ends a rollback has no canary. The file loses it before the update that removes it has ended.
        is_open = canary and name == current.name and current.canary in ("", canary)
        return cls(rollback=last["why"] if is_open else "")
