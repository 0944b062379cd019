"""Report of `lab run`: a section for each stage."""

from collections.abc import Sequence

from waypoint_lab.kubectl import Object
from waypoint_lab.measure.manifests import changed
from waypoint_lab.measure.stage_run import StageResult
from waypoint_lab.measure.verify import Measurement
from waypoint_lab.report.model import Curve, Row, Section


def row(item: Measurement) -> Row:
    """Return the row of one measurement."""
    low, high = item.interval
    is_share = not item.what.endswith(" later")
    return Row(
        item.what,
        item.shown(item.declared),
        item.shown(item.measured),
        f"{item.shown(low)} - {item.shown(high)}",
        item.requests,
        item.verdict.value,
        item.why,
        (item.declared, item.measured, low, high) if is_share else None,
    )


def _curves(verdicts: Sequence[Measurement]) -> list[Curve]:
    """Return the latencies of the requests; rows that judge the same requests have one curve."""
    found: list[Curve] = []
    for item in verdicts:
        if item.latency and item.latency not in [curve.quantiles for curve in found]:
            same = [other.what for other in verdicts if other.latency == item.latency]
            found.append(Curve(", ".join(dict.fromkeys(same)), item.latency))
    return found


def sections(results: Sequence[StageResult]) -> list[Section]:
    """Return a section for each stage, with the objects that differ from those of the stage before."""
    found: list[Section] = []
    known: dict[str, Object] = {}
    for result in results:
        notes = [f"update {result.up_seconds:.1f} s, in sync after {result.sync_seconds:.1f} s", *result.notes]
        found.append(
            Section(
                result.name,
                result.title,
                "passed" if result.passed else "failed",
                [row(item) for item in result.verdicts],
                result.problems,
                notes,
                _curves(result.verdicts),
                result.changes,
                changed(known, result.manifests),
                {name: item for name, item in known.items() if result.manifests.get(name) not in (None, item)},
            )
        )
        known = result.manifests or known  # a stage that failed has none
    return found


def proxy(results: Sequence[StageResult]) -> dict[str, str]:
    """Return the versions that a waypoint reported during the run."""
    return next((result.proxy for result in results if result.proxy), {})
