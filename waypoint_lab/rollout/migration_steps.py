"""The steps of a waypoint's roll, and where one stands: pure, so that each place to be cut off at can be tested."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.rollout.analysis import Verdict as Decision
from waypoint_lab.rollout.journal import Record


@dataclass(frozen=True)
class Step:
    """What the stack's file says of its waypoints: `weight` percent of new connections for `canary`."""

    name: str
    canary: str = ""
    weight: int = 0
    revision: str = ""
    canary_revision: str = ""

    @classmethod
    def of(cls, config: LabConfig) -> "Step":
        """Where a stack stands."""
        waypoint, canary = config.waypoint, config.waypoint.canary
        if canary is None:
            return cls(waypoint.name, revision=waypoint.revision)
        return cls(waypoint.name, canary.name, canary.weight, waypoint.revision, canary.revision)

    def settings(self) -> dict[str, object]:
        """Return the settings by path; None removes one."""
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
        """As people read it."""
        return f"{self.weight} % through {self.canary}" if self.canary else f"all through {self.name}"


def plan(now: Step, to: str, revision: str, weights: Sequence[int]) -> list[Step]:
    """What is applied one after the other: first 0 %, so that the canary is told; after 100 % it is the primary.

    Where a roll was cut off, the step that it stands on is applied and measured once more.
    """
    if to == now.name:
        return [now]
    start = now.weight if now.canary else 0
    levels = [start, *(weight for weight in weights if weight > start)]
    found = [Step(now.name, to, weight, now.revision, revision) for weight in levels]
    return [*found, Step(to, revision=revision)] if levels[-1] == 100 else found


def ways_back(now: Step, *, resumed: bool = False) -> Iterator[Step]:
    """No new connection for the canary first; then it is let go.

    Where it is `resumed`, the 0 % that the file says may not be applied yet.
    """
    if now.canary and (now.weight or resumed):
        yield Step(now.name, now.canary, 0, now.revision, now.canary_revision)
    yield Step(now.name, revision=now.revision)


@dataclass(frozen=True)
class Standing:
    """What is left of a roll that was cut off: going `back`, or only the primary to be measured (`ended`)."""

    back: str = ""
    ended: bool = False

    @classmethod
    def of(cls, records: Sequence[Record], now: Step) -> "Standing":
        """From the journal, and what the stack's file says."""
        last = next((record for record in reversed(records) if record["kind"] == "roll"), None)
        if last is None:
            return cls()
        verdict, canary = last["verdict"], last["step"]["canary"]
        if verdict == Decision.HOLD:
            return cls(ended=last["step"]["name"] == now.name)
        if verdict == Decision.GO:
            return cls(ended=canary == now.name)
        return cls(back=last["why"] if canary and canary == now.canary else "")
