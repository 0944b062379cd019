"""Content of a report, without its form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from waypoint_lab.kubectl import Object
from waypoint_lab.measure.changes import ConfigurationChange
from waypoint_lab.measure.statistics import binomial_interval


@dataclass(frozen=True)
class Row:
    """One comparison of a declared with a measured value.

    `declared`, `measured` and `interval` are texts. `scale` has the declared value, the measured one and both ends of
    the interval as numbers from 0 to 1, for the bar; None where the row has none.
    """

    what: str
    declared: str
    measured: str
    interval: str
    requests: int
    verdict: str
    why: str = ""
    scale: tuple[float, float, float, float] | None = None


def share_row(
    what: str,
    hits: int,
    requests: int,
    confidence: float,
    verdict: str = "",
    declared: str = "",
    scale_at: float | None = None,
) -> Row:
    """Return the row of a measured share.

    Args:
        what: What is measured.
        hits: Requests that count.
        requests: All requests; 0 gives a row without a share.
        confidence: Confidence of the interval, 0 to 1.
        verdict: The verdict.
        declared: The declared value as text.
        scale_at: The declared share for the bar, 0 to 1; None means no bar.
    """
    if not requests:
        return Row(what, declared, "-", "-", 0, verdict)
    share, ends = hits / requests, binomial_interval(hits, requests, confidence)
    scale = None if scale_at is None else (scale_at, share, ends.low, ends.high)
    return Row(what, declared, f"{share:.2%}", f"{ends.low:.2%} - {ends.high:.2%}", requests, verdict, scale=scale)


class Curve(NamedTuple):
    """A distribution of latencies: quantiles in seconds, by name such as `p99`."""

    name: str
    quantiles: Mapping[str, float]


@dataclass(frozen=True)
class Section:
    """One stage, one step of a promotion, or one guarded command.

    Attributes:
        name: Its name.
        title: One sentence on it.
        verdict: Its verdict.
        rows: Comparisons of declared and measured values.
        problems: Reasons for a failure beside the rows.
        notes: Lines for a person.
        curves: Latency distributions.
        changes: Requests around its changes.
        manifests: Objects that are new or changed, by name.
        before: Objects as they were before, by name, where they are known.
    """

    name: str
    title: str
    verdict: str
    rows: Sequence[Row] = ()
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    curves: Sequence[Curve] = ()
    changes: Sequence[ConfigurationChange] = ()
    manifests: Mapping[str, Object] = field(default_factory=dict)
    before: Mapping[str, Object] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: Its title.
        verdict: The verdict on the whole.
        summary: One sentence.
        began: Start, in seconds since 1970.
        ended: End, in seconds since 1970.
        confidence: Confidence of the intervals, 0 to 1.
        sections: The stages or steps.
        versions: Versions by component.
        repeat: Commands that repeat it.
        config: Settings of the stack.
    """

    title: str
    verdict: str
    summary: str
    began: float
    ended: float
    confidence: float
    sections: Sequence[Section]
    versions: Mapping[str, str]
    repeat: Sequence[str]
    config: Mapping[str, Any]
