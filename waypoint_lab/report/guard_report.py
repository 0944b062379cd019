"""Report of `lab guard`: the comparisons of the command, its traffic before and after, and the changed objects."""

from collections.abc import Callable, Mapping, Sequence

from waypoint_lab.errors import LabError
from waypoint_lab.guard import access_logs
from waypoint_lab.guard.differences import Difference
from waypoint_lab.guard.guarded_change import GuardResult
from waypoint_lab.guard.observation import Observation
from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import changes, manifests
from waypoint_lab.measure.changes import ConfigurationChange, Seen
from waypoint_lab.measure.statistics import quantiles
from waypoint_lab.report.context import without_secrets
from waypoint_lab.report.model import Curve, Row, Section, share_row

CONFIDENCE = 0.99
WINDOW_SECONDS = 10.0  # of the access log around the command


def _rows(found: Sequence[Difference]) -> list[Row]:
    return [
        Row(
            f"{item.where}: {item.kind.value}",
            "",
            "",
            "",
            item.needed,
            item.verdict.value,
            f"{item.evidence}{'; needs this number of requests' if item.needed else ''}",
        )
        for item in found
    ]


def _shares(name: str, seen: Observation | None) -> list[Row]:
    """Return a row for the share of each destination in all requests."""
    total = sum(sum(series.requests) for series in seen.series.values()) if seen else 0
    rows = []
    for where, series in (seen.series if seen and total else {}).items():
        hits = sum(series.requests)
        rows.append(share_row(f"{where}, {name}: share", hits, total, CONFIDENCE, scale_at=hits / total))
    return rows


def _curves(name: str, seen: Observation | None) -> list[Curve]:
    found = []
    for where, series in (seen.series if seen else {}).items():
        values = [value for part in series.latencies or () for value in part]
        found.append(Curve(f"{where}, {name}", quantiles(values)))
    return found


def objects(waypoints: Waypoints, report: Callable[[str], None]) -> dict[str, Object]:
    """Return the objects of the namespace that decide on its requests; a failure is only reported."""
    try:
        return manifests.live(waypoints.target, waypoints.namespace)
    except LabError as error:
        report(f"the objects are not in the report: {error}")
        return {}


def sections(
    result: GuardResult, waypoints: Waypoints, before: Mapping[str, Object], report: Callable[[str], None]
) -> list[Section]:
    """Return the section of the command, and one of its rollback.

    Args:
        result: The outcome.
        waypoints: The waypoints that were watched.
        before: The objects before the command.
        report: Shows one line.
    """
    after = objects(waypoints, report)
    changed = manifests.changed(before, after)
    gone = [f"{name} was deleted" for name in before if after and name not in after]
    seen: list[Seen] = []
    try:
        if result.began:
            seen = [Seen(*one) for one in access_logs.outcomes(waypoints, result.began - WINDOW_SECONDS)]
    except LabError as error:
        report(f"the access log is not in the report: {error}")
    end = max(result.began + result.command.seconds, result.settled) + WINDOW_SECONDS
    seen = [one for one in seen if one.at <= end]
    change = ConfigurationChange(
        "1", result.began, result.began + result.command.seconds, result.settled, seen, changes.LOG
    )
    found = [
        Section(
            "command",
            f"{without_secrets(' '.join(result.command.command))}: exit status {result.command.exit_code}, "
            f"{result.command.seconds:.1f} s",
            result.verdict.value,
            [*_rows(result.differences), *_shares("before", result.before), *_shares("after", result.after)],
            [result.command.problem] if result.command.problem else [],
            [*gone, *(f"{kind.value} is not measured: no access log could be read" for kind in result.not_measured)],
            [*_curves("before", result.before), *_curves("after", result.after)],
            [change] if result.began else [],
            changed,
            {name: before[name] for name in changed if name in before},
        )
    ]
    if result.rollback:
        title = f"{without_secrets(' '.join(result.rollback.command))} (exit status {result.rollback.exit_code})"
        restored = "passed" if result.restored else "failed"
        found.append(Section("rollback", title, restored, _rows(result.after_rollback)))
    return found
