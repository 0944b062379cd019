"""The promotion that has not ended, from the journal and the progress of the command that runs it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from waypoint_lab.config.weights import shown
from waypoint_lab.live.model import Change, Evidence, PromotionProgress
from waypoint_lab.rollout.journal import Record
from waypoint_lab.rollout.migration_steps import KIND as MIGRATION
from waypoint_lab.rollout.state import CanaryStep, Phase, PromotionState, current_state

MOST_ODDS = 1e9


def promotion(records: Sequence[Record], progress: Mapping[str, Any]) -> PromotionProgress | None:
    """Return the promotion that has not ended.

    Args:
        records: The journal.
        progress: Progress of the command that runs now; empty without one.
    """
    state = current_state(records)
    if state is None or state.ended:
        if not progress:
            return None
        return PromotionProgress(name="", phase=Phase.PROGRESSING, **_running(progress))
    number = min(state.passed + 1, len(state.steps))
    step = state.last_healthy if state.phase is Phase.ROLLING_BACK else state.steps[number - 1]
    more = _running(progress) if progress else {"waits_for": _idle(state), "since": _last(records, state)}
    more |= {"step": str(step), "weight": step.weight, "cohort": step.cohort}
    return PromotionProgress(
        name=state.promotion,
        phase=state.phase,
        number=number,
        steps=tuple(one.weight for one in state.steps),
        passed=state.passed,
        why=state.why,
        **more,
    )


def _idle(state: PromotionState) -> str:
    if state.phase is Phase.ROLLING_BACK:
        return "lab canary promote, which rolls back"
    return "lab canary promote or lab canary rollback"


def _last(records: Sequence[Record], state: PromotionState) -> float:
    moments = [datetime.fromisoformat(one["at"]).timestamp() for one in records if one["promotion"] == state.promotion]
    return moments[-1] if moments else 0.0


def _running(progress: Mapping[str, Any]) -> dict[str, Any]:
    step = CanaryStep.read(progress["step"]) if progress.get("step") else None
    return {
        "running": True,
        "step": str(step or ""),
        "weight": step.weight if step else 0.0,
        "cohort": step.cohort if step else "",
        "waits_for": progress["waits_for"],
        "since": progress["since"],
        "thresholds": thresholds(progress.get("thresholds") or {}),
        "evidence": tuple(evidence(progress.get("evidence") or {})),
    }


def thresholds(limits: Mapping[str, Any]) -> dict[str, str]:
    """Return the limits of an analysis as text by name; those that are off are left out."""
    if not limits:
        return {}
    found = {
        "margin": f"{shown(100 * limits['margin'])} %",
        "least success": f"{shown(100 * limits['min_success'])} %",
        "limit": f"{limits['limit_seconds']:g} s",
    }
    if limits["latency_limit_seconds"]:
        found["p99"] = f"{limits['latency_limit_seconds']:g} s"
    if limits["p99_ratio"]:
        found["p99 ratio"] = f"{limits['p99_ratio']:g}"
    if limits["min_seconds"]:
        found["least time"] = f"{limits['min_seconds']:g} s"
    if limits["min_rounds"]:
        found["least requests"] = str(limits["min_rounds"])
    return found


def evidence(by_source: Mapping[str, Any]) -> Iterator[Evidence]:
    """Yield the evidence of each source, from the documents that the journal keeps."""
    for source, one in by_source.items():
        comparisons = list(_comparisons(one))
        requests, failed = one.get("requests") or {}, one.get("failed") or {}
        text = ", ".join(f"{role} {failed.get(role, 0)} of {count} failed" for role, count in requests.items())
        decisions = [item["decision"] for item, _ in comparisons]
        decision = "open"
        if decisions:
            decision = "bad" if "bad" in decisions else "healthy" if set(decisions) == {"healthy"} else "open"
        yield Evidence(
            source=source,
            requests=dict(requests),
            failed=dict(failed),
            decision=decision,
            against_healthy=max((_odds(item["against_healthy"]) for item, _ in comparisons), default=0.0),
            against_bad=min((_odds(item["against_bad"]) for item, _ in comparisons), default=0.0),
            needed_bad=max((among / one["healthy_rolled_back"] for _, among in comparisons), default=0.0),
            needed_healthy=1 / one["bad_promoted"] if comparisons else 0.0,
            text=text,
        )


def _comparisons(one: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield each comparison with the number of those that share the probability of a wrong rollback."""
    found = one.get("comparisons") or {key: one[key] for key in ("canary", "route") if key in one}
    for item in found.values():
        yield item, len(found)


def _odds(value: float) -> float:
    return min(value, MOST_ODDS) if math.isfinite(value) else MOST_ODDS


def changes(records: Sequence[Record]) -> Iterator[Change]:
    """Yield the steps and decisions of promotions and migrations."""
    for record in records:
        time = datetime.fromisoformat(record["at"]).timestamp()
        kind = record["kind"]
        if kind == "start":
            steps = ", ".join(str(CanaryStep.read(one)) for one in record["steps"])
            yield Change(time=time, kind="promotion", text=f"promotion started: {steps}")
        elif kind in ("apply", "decision", "end", "rollback"):
            step = f"{CanaryStep.read(record)}: " if "weight" in record else ""
            what = record.get("decision") or record.get("phase") or kind
            why = f": {record['why']}" if record.get("why") else ""
            yield Change(time=time, kind="promotion", text=f"{step}{what}{why}")
        elif kind == MIGRATION:
            step = record["step"]
            through = step["canary"] or step["name"]
            yield Change(time=time, kind="promotion", text=f"migration through {through}: {record['decision']}")
