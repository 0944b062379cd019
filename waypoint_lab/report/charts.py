"""Pictures of a report, as SVG inside the page. Every text is escaped."""

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from waypoint_lab.measure.changes import ConfigurationChange
from waypoint_lab.report.model import Curve, Row

COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")  # classes of the style sheet, for up to six series
BAR_WIDTH, BAR_HEIGHT = 180, 16
WIDTH, LEFT, RIGHT = 760, 46, 16
PLOT_HEIGHT = 150
BUCKETS = 120
LEAST_TEXTS = 160  # pixels of two texts side by side
MARGIN_SECONDS = 1.0  # shown before the update and after the sync
LEAST_SECONDS = 1e-4


def joined(parts: Sequence[Markup]) -> Markup:
    """Return pieces of markup, one after the other."""
    return Markup("").join(parts)


def bar(row: Row) -> Markup:
    """Return a bar of a share: its interval, the measured value as a point, and the declared one as a line."""
    if row.scale is None:
        return Markup("")
    declared, measured, low, high = (4 + (BAR_WIDTH - 8) * min(1.0, max(0.0, value)) for value in row.scale)
    text = f"declared {row.declared}, measured {row.measured}, interval {row.interval}"
    return Markup(
        '<svg class="bar" width="{0}" height="{1}" role="img" aria-label="{2}"><title>{2}</title>'
        '<line class="axis" x1="4" y1="8" x2="{3}" y2="8"/>'
        '<rect class="interval" x="{4:.1f}" y="5" width="{5:.1f}" height="6"/>'
        '<line class="declared" x1="{6:.1f}" y1="1" x2="{6:.1f}" y2="15"/>'
        '<circle class="measured" cx="{7:.1f}" cy="8" r="3"/></svg>'
    ).format(BAR_WIDTH, BAR_HEIGHT, text, BAR_WIDTH - 4, low, max(1.0, high - low), declared, measured)


def legend(names: Sequence[str]) -> Markup:
    """Return the legend of some series."""
    items = [
        Markup('<span class="key"><span class="box {}"></span>{}</span>').format(COLOURS[place % len(COLOURS)], name)
        for place, name in enumerate(names)
    ]
    return Markup('<div class="legend">{}</div>').format(joined(items))


def seconds(value: float) -> str:
    """Return a latency as text with three digits."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"


def distribution(curves: Sequence[Curve]) -> Markup:
    """Return the distributions of latencies: the share of the requests that was answered within a time."""
    drawn = [curve for curve in curves if curve.quantiles]
    if not drawn:
        return Markup("")
    values = [max(LEAST_SECONDS, value) for curve in drawn for value in curve.quantiles.values()]
    low, high = math.log10(min(values)) - 0.05, math.log10(max(values)) + 0.05

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(max(LEAST_SECONDS, value)) - low) / (high - low)

    def y(share: float) -> float:
        return 10 + PLOT_HEIGHT * (1 - share)

    parts = [
        Markup(
            '<line class="grid" x1="{0}" y1="{2:.1f}" x2="{1}" y2="{2:.1f}"/><text x="{3}" y="{4:.1f}"'
            ' text-anchor="end">{5:g} %</text>'
        ).format(LEFT, WIDTH - RIGHT, y(one), LEFT - 6, y(one) + 4, 100 * one)
        for one in (0.0, 0.5, 0.9, 1.0)
    ]
    ticks = [base * 10.0**power for power in range(-4, 4) for base in (1, 2, 5)]
    parts += [
        Markup(
            '<line class="grid" x1="{0:.1f}" y1="10" x2="{0:.1f}" y2="{1}"/><text x="{0:.1f}" y="{2}"'
            ' text-anchor="middle">{3}</text>'
        ).format(x(tick), 10 + PLOT_HEIGHT, 26 + PLOT_HEIGHT, seconds(tick))
        for tick in ticks
        if low <= math.log10(tick) <= high
    ]
    for place, curve in enumerate(drawn):
        points = sorted((float(name[1:]) / 100, value) for name, value in curve.quantiles.items())
        path = " ".join(f"{x(value):.1f},{y(share):.1f}" for share, value in points)
        parts.append(Markup('<polyline class="line {}" points="{}"/>').format(COLOURS[place % len(COLOURS)], path))
    picture = Markup(
        '<svg class="plot" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="latencies">{2}</svg>'
    ).format(WIDTH, PLOT_HEIGHT + 36, joined(parts))
    names = [
        f"{curve.name}: p50 {seconds(curve.quantiles['p50'])}, p99 {seconds(curve.quantiles['p99'])}" for curve in drawn
    ]
    return joined([picture, legend(names)])


def timeline(change: ConfigurationChange) -> Markup:
    """Return the requests around a change, by outcome, with the moments of the update."""
    first = min(one.at for one in change.seen)
    last = max(one.at for one in change.seen)
    ends = [value for value in (change.synced, change.last_old, change.first_new, change.applied) if value]
    start = max(first, change.began - MARGIN_SECONDS)
    end = max(start + 0.1, min(last, max(ends, default=last) + MARGIN_SECONDS))
    width = (end - start) / BUCKETS
    names = list(dict.fromkeys(one.outcome for one in sorted(change.seen)))
    counts = [[0] * len(names) for _ in range(BUCKETS)]
    for one in change.seen:
        if start <= one.at <= end:
            counts[min(BUCKETS - 1, int((one.at - start) / width))][names.index(one.outcome)] += 1
    most = max(1, *(sum(bucket) for bucket in counts))

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - start) / (end - start)

    parts: list[Markup] = []
    for number, bucket in enumerate(counts):
        top = 24.0 + PLOT_HEIGHT
        for place, count in enumerate(bucket):
            height = PLOT_HEIGHT * count / most
            top -= height
            if count:
                parts.append(
                    Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                        COLOURS[place % len(COLOURS)],
                        x(start + number * width),
                        top,
                        (WIDTH - LEFT - RIGHT) / BUCKETS,
                        height,
                    )
                )
    parts += _marks(change, x, start, end)
    step = next(one for one in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000, 1e6) if (end - start) / one <= 12)
    for number in range(math.ceil((start - change.began) / step), math.floor((end - change.began) / step) + 1):
        at = change.began + number * step
        parts.append(
            Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:g} s</text>').format(
                x(at), PLOT_HEIGHT + 40, round(number * step, 1)
            )
        )
    picture = Markup(
        '<svg class="plot" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="requests over time">'
        '{2}<line class="axis" x1="{3}" y1="{4}" x2="{5}" y2="{4}"/></svg>'
    ).format(WIDTH, PLOT_HEIGHT + 46, joined(parts), LEFT, PLOT_HEIGHT + 24, WIDTH - RIGHT)
    return joined([picture, legend(names)])


def _marks(change: ConfigurationChange, x: Callable[[float], float], start: float, end: float) -> list[Markup]:
    """Return a line for each moment of the update, with its text where it covers no other one."""
    short = x(change.applied) - x(change.began) < LEAST_TEXTS  # the two texts would cover each other
    applied = ("update ends", change.applied, "start" if short else "end", 22 if short else 10)
    marks = [("update begins", change.began, "start", 10), applied]
    late = x(change.synced) > WIDTH - RIGHT - 50
    marks.append(("in sync", change.synced, "end" if late else "start", 22 if late else 10))
    return [
        Markup(
            '<line class="mark" x1="{0:.1f}" y1="4" x2="{0:.1f}" y2="{1}"/>'
            '<text x="{2:.1f}" y="{3}" text-anchor="{4}">{5}</text>'
        ).format(x(at), PLOT_HEIGHT + 24, x(at) + (4 if anchor == "start" else -4), y, anchor, text)
        for text, at, anchor, y in marks
        if at and start <= at <= end
    ]


def moments(change: ConfigurationChange) -> list[str]:
    """Return one line for each: the last answer of the old configuration, and the first answer of the new one."""
    if not change.seen:
        return [f"change {change.name}: no request was seen"]
    number = f"{len(change.seen)} requests, from {change.source}; times count from the start of the update"

    def text(what: str, at: float | None, nothing: str) -> str:
        return f"{what}: {at - change.began:.2f} s" if at is not None else f"{what}: {nothing}"

    alike = "unknown, because both configurations give these answers"
    none = "not seen"
    return [
        number,
        text("old configuration last seen", change.last_old, alike if change.before and change.after else none),
        text("new configuration first seen", change.first_new, alike if change.before and change.after else none),
        text("in sync", change.synced or None, "never"),
    ]
