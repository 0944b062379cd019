"""What the stages of a walk showed, for people and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from waypoint_lab.measure import verify
from waypoint_lab.measure.verify import Verdict


@dataclass
class Outcome:
    """What one stage of the walk showed."""

    name: str
    title: str
    verdicts: list[Verdict] = field(default_factory=list)
    own: list[Verdict] = field(default_factory=list)  # what the stage itself declares, under its last step
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    up_seconds: float = 0.0
    effective_seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Only with at least one verdict, and none against."""
        return bool(self.verdicts) and not self.problems and all(item.passed for item in self.verdicts)

    def document(self) -> dict[str, Any]:
        """For `--json`: `declared` and `interval` are of the first thing that the stage itself declares."""
        best = next(iter(self.own), None)
        observed = {value: count for item in self.own for value, count in item.observed.items()}
        return {
            "name": self.name,
            "passed": self.passed,
            "requests": sum(item.requests for item in self.verdicts),
            "observed": observed,
            "declared": best.declared if best else None,
            "interval": best.interval if best else None,
            "up_seconds": round(self.up_seconds, 2),
            "effective_seconds": round(self.effective_seconds, 2),
            "problems": self.problems,
            "notes": self.notes,
            "verdicts": [asdict(item) for item in self.verdicts],
        }


def table(outcomes: list[Outcome]) -> str:
    """Lines for people."""
    lines = [
        f"{'stage':<12}{'what':<26}{'declared':>10}{'measured':>10}{'99.9 % interval':>20}{'requests':>9}  verdict"
    ]
    for outcome in outcomes:
        for item in outcome.verdicts:
            low, high = (verify.scaled(item, end) for end in item.interval)
            verdict = "pass" if item.passed else f"MISS  {item.why}"
            lines.append(
                f"{outcome.name:<12}{item.what:<26}{verify.scaled(item, item.declared):>10}"
                f"{verify.scaled(item, item.measured):>10}{f'{low}-{high}':>20}{item.requests:>9}  {verdict}"
            )
        times = f"up {outcome.up_seconds:.1f} s, effective after {outcome.effective_seconds:.1f} s"
        lines += [f"{'':<12}{note}" for note in [times, *outcome.notes, *(f"MISS  {p}" for p in outcome.problems)]]
    return "\n".join(lines)
