"""The live view as lines of a terminal: Services, faults, policies, the promotion, and the last changes."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Group
from rich.text import Text

from waypoint_lab.cli.output import printable, printable_cell
from waypoint_lab.config.weights import shown
from waypoint_lab.live.model import (
    BackendTraffic,
    Change,
    Estimate,
    Evidence,
    Fault,
    PromotionProgress,
    Service,
    TrafficSnapshot,
)

WIDTH, HEIGHT = 80, 24
NAME, FIXED = 18, 68  # columns of a backend's name, and of all of its line but the bar
LEAST_BAR = 10
LEAST_CHANGES = 3
MOST_LISTED = 2  # faults, policies and own lines
LABEL = 11
STYLES = {"live": "green", "object": "cyan", "update": "magenta", "promotion": "yellow"}
TITLES = ("backend", "weight", "share", "99 % int.", "", "req/s", "ok %", "p50", "p99")


def moment(time: float) -> str:
    """Return the time of day in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%H:%M:%S")


def percent(value: float | None) -> str:
    """Return a share, 0 to 1, in percent with one decimal; a dash for None."""
    return "-" if value is None else "100" if value == 1 else f"{100 * value:.1f}"


def interval(estimate: Estimate | None) -> str:
    """Return an interval in percent."""
    if estimate is None:
        return "-"
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{low:.1f}-{high:.1f}" if high < 100 else f"{low:.1f}-100"


def seconds(value: float | None) -> str:
    """Return a latency in milliseconds or seconds."""
    if value is None:
        return "-"
    return f"{1000 * value:.0f}ms" if value < 1 else f"{value:.1f}s" if value < 100 else f"{value:.0f}s"


def bar(backend: BackendTraffic, width: int) -> Text:
    """Return the measured share as a bar: up to the interval, the interval, and a mark at the declared weight."""
    if backend.share is None:
        cells = ["·"] * width
    else:
        low, high = math.floor(backend.share.low * width), math.ceil(backend.share.high * width)
        cells = ["█" if cell < low else "▒" if cell < high else "·" for cell in range(width)]
    found = Text("".join(cells), "dim" if backend.share is None else _agreement(backend))
    if backend.weight is not None:
        mark = min(width - 1, int(backend.weight / 100 * width))
        found = found[:mark] + Text("│", "bold white") + found[mark + 1 :]
    return found


def _agreement(backend: BackendTraffic) -> str:
    """Return the style of a share: another one where the declared weight is outside of its interval."""
    share, weight = backend.share, backend.weight
    if share is None or weight is None:
        return "blue"
    return "green" if share.low <= weight / 100 <= share.high else "yellow"


def _cells(cells: Sequence[str | Text], bar_width: int) -> Text:
    widths = (NAME, 6, 5, 9, bar_width, 6, 5, 6, 6)
    line = Text()
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = cell if isinstance(cell, Text) else Text(cell)
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        pad = " " * (width - text.cell_len)
        line.append(" " if number else "")
        line.append_text(text + Text(pad) if number in (0, 4) else Text(pad) + text)
    return line


def _backend(one: BackendTraffic, bar_width: int) -> Text:
    weight = "-" if one.weight is None else f"{shown(round(one.weight, 1))} %"
    if one.weight is not None and one.live_weight is not None and abs(one.weight - one.live_weight) > 0.05:
        weight = f"{shown(round(one.live_weight))}→{shown(round(one.weight))}"  # declared, and not in Envoy yet
    success = Text(percent(one.success.value if one.success else None))
    if one.success:
        success.stylize("red" if one.success.high < 0.99 else "green" if one.success.value == 1 else "yellow")
    cells = (one.name, weight, percent(one.share.value if one.share else None), interval(one.share))
    measured = (f"{one.rate:.1f}", success, seconds(one.p50_seconds), seconds(one.p99_seconds))
    return _cells((*cells, bar(one, bar_width), *measured), bar_width)


def service_lines(service: Service, width: int) -> list[Text]:
    """Return the lines of a Service and of its backends; one line where it has no other backend than itself."""
    bar_width = max(LEAST_BAR, width - FIXED - 1)
    backends = [_backend(one, bar_width) for one in service.backends]
    if _alone(service) and not service.own_answers:
        return backends
    head = Text(f"{service.name}:{service.port}", "bold")
    head.append(f"  {service.rate:.1f} req/s, {service.requests} requests by {service.source}", "not bold dim")
    if service.own_answers:
        answers = ", ".join(f"{count} x {name}" for name, count in service.own_answers.items())
        head.append(f"  waypoint: {answers}", "not bold red")
    return [head, *backends]


def _alone(service: Service) -> bool:
    return [one.name for one in service.backends] == [service.name]


def busy(snapshot: TrafficSnapshot) -> list[Service]:
    """Return the Services that are worth a line: the first, those with a split, and those with requests."""
    return [one for number, one in enumerate(snapshot.services) if not number or not _alone(one) or one.requests]


def _labelled(label: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{label:<{LABEL}}", "bold"), (text, style))


def promotion_lines(one: PromotionProgress, now: float) -> Iterator[Text]:
    """Yield the lines of a promotion: its step, its action, and the evidence so far against the thresholds."""
    place = f"step {one.number} of {len(one.steps)}, {one.step}; " if one.number else ""
    since = f", {max(0.0, now - one.since):.0f} s" if one.since else ""
    yield _labelled("promotion", f"{place}{one.phase}; waits for {one.waits_for}{since}", "yellow")
    if one.steps:
        signs = ("✓" if step < one.passed else "▶" if step == one.passed else "" for step in range(len(one.steps)))
        marks = [f"{sign}{shown(weight)}" for sign, weight in zip(signs, one.steps, strict=True)]
        yield _labelled("steps", "  ".join(marks) + " %")
    if one.why and not one.running:
        yield _labelled("because", one.why)
    for item in one.evidence:
        yield from _evidence(item)
    if one.thresholds:
        yield _labelled("limits", ", ".join(f"{name} {text}" for name, text in one.thresholds.items()), "dim")


def _evidence(one: Evidence) -> Iterator[Text]:
    yield _labelled(one.source, one.text or "no requests yet")
    if one.needed_healthy:
        good = f"promote {odds(one.against_bad)} of {odds(one.needed_healthy)} to 1 "
        bad = f"  roll back {odds(one.against_healthy)} of {odds(one.needed_bad)} to 1 "
        line = _labelled("", good)
        line.append_text(_progress(one.against_bad, one.needed_healthy, "green"))
        line.append(bad)
        line.append_text(_progress(one.against_healthy, one.needed_bad, "red"))
        yield line


def odds(value: float) -> str:
    """Return odds in a few characters."""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}" if value < 1e5 else f"{value:.0e}"


def _progress(value: float, needed: float, style: str) -> Text:
    """Return the evidence as a bar; evidence is multiplied, so its logarithm grows with the requests."""
    part = math.log(max(1.0, value)) / math.log(needed) if needed > 1 else 1.0
    full = min(8, int(8 * part))
    return Text("█" * full + "·" * (8 - full), style)


def change_line(one: Change) -> Text:
    """Return one change with its moment."""
    return Text.assemble((moment(one.time), "dim"), " ", (f"{one.kind:<10}", STYLES.get(one.kind, "")), one.text)


def _listed(label: str, texts: Sequence[str], style: str) -> list[Text]:
    texts = [*dict.fromkeys(texts)]  # a fault may be of several Services
    found = [_labelled(label if not number else "", text, style) for number, text in enumerate(texts[:MOST_LISTED])]
    if len(texts) > MOST_LISTED:
        found[-1].append(f" and {len(texts) - MOST_LISTED} more", "dim")
    return found


def _left(fault: Fault, now: float) -> str:
    return f", {max(0.0, fault.until - now):.0f} s left" if fault.until else ""


def lines(snapshot: TrafficSnapshot, width: int = WIDTH, height: int = HEIGHT, own: Sequence[str] = ()) -> list[Text]:
    """Return the view of a snapshot, at most `height` lines of at most `width` columns.

    Args:
        snapshot: The snapshot.
        width: Columns of the terminal, at least 80 for whole columns.
        height: Lines of the terminal.
        own: Lines of the command itself, the newest last.
    """
    title = f"stack {snapshot.stack}  namespace {snapshot.namespace}  last {snapshot.window_seconds:.1f} s"
    head = [Text(f"{title}  {moment(snapshot.time)} UTC", "reverse")]
    bar_width = max(LEAST_BAR, width - FIXED - 1)
    table = [_cells(TITLES, bar_width)]
    table[0].stylize("bold")
    faults = [f"{one.text} at the {one.at}, by {one.object}{_left(one, snapshot.time)}" for one in snapshot.faults]
    tail = _listed("fault", faults, "red") + _listed("policy", [one.text for one in snapshot.policies], "cyan")
    if snapshot.promotion:
        tail += promotion_lines(snapshot.promotion, snapshot.time)
    tail += [Text(text) for text in own[-MOST_LISTED:]]
    if snapshot.problem:
        tail.append(_labelled("problem", snapshot.problem, "bold red"))
    changes = [change_line(one) for one in snapshot.changes]
    spare = height - len(head) - len(table) - len(tail) - 1
    first, *others = [service_lines(one, width) for one in busy(snapshot)] or [[Text("no Service yet", "dim")]]
    table += first[: max(1, spare - LEAST_CHANGES)]
    spare -= len(table) - 1
    for more in others:
        if len(more) <= spare - LEAST_CHANGES:
            table += more
            spare -= len(more)
    if changes and spare > 0:
        tail += [Text("changes", "bold"), *changes[-spare:]] if spare > 1 else changes[-1:]
    found = [printable_cell(line) for line in [*head, *table, *tail][:height]]
    for line in found:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return found


def view(snapshot: TrafficSnapshot, width: int = WIDTH, height: int = HEIGHT, own: Sequence[str] = ()) -> Group:
    """Return the view of a snapshot for a console; arguments as in `lines`."""
    return Group(*lines(snapshot, width, height, own))


def plain_lines(snapshot: TrafficSnapshot) -> Iterator[str]:
    """Yield one line for each backend, for a pipe."""
    for service in busy(snapshot):
        for one in service.backends:
            weight = "-" if one.weight is None else f"{shown(round(one.weight, 2))}%"
            share = f"{percent(one.share.value if one.share else None)}% [{interval(one.share)}]" if one.share else "-"
            success = f"{percent(one.success.value)}% [{interval(one.success)}]" if one.success else "-"
            yield printable(
                f"{moment(snapshot.time)} {service.name}:{service.port} {one.name} weight {weight} share {share} "
                f"rate {one.rate:.1f}/s success {success} p50 {seconds(one.p50_seconds)} p99 {seconds(one.p99_seconds)}"
            )


def plain_change(one: Change) -> str:
    """Return one line for a change, for a pipe."""
    return printable(f"{moment(one.time)} change {one.kind} {one.text}")
