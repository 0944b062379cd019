"""Compare the rate of the requests to a destination before and after a change."""

import math
from collections.abc import Sequence

from waypoint_lab.guard import dispersion, significance
from waypoint_lab.guard.differences import SUSPICIOUS, Difference, Kind, judged
from waypoint_lab.measure.endpoint_counters import Destination
from waypoint_lab.measure.verify import Verdict

SILENT = 0.1  # part of the former rate at which a destination is taken for silent
HALF = 0.5  # part of the former rate that a silent destination must provably have fallen below


def rate(
    where: Destination,
    counts: tuple[Sequence[int], Sequence[int]],
    seconds: tuple[Sequence[float], Sequence[float]],
    part: float,
    tail: float,
    moved: float = 1.0,
) -> Difference:
    """Compare the rates: a destination that had requests before must not be silent.

    Silence is proven by the numbers of requests, or by intervals that all have less than half of any interval before.
    Each of the two tests gets half of the error rate. Much shorter intervals after the change may be empty by chance:
    they are joined until they are at least half as long as those before. Where the declared part is below 1, the
    second test is left out.

    Args:
        where: The destination.
        counts: Its requests in each interval before, at least one in all, and after.
        seconds: Lengths of the intervals before and after.
        part: Part of the former rate that is declared, above 0, at most 1.
        tail: Probability of a false alarm.
        moved: Part of the requests before whose loss is tested, above 0, at most 1; the others stay.
    """
    before, after = counts
    first, second = sum(before), sum(after)
    time, after_time = sum(seconds[0]), sum(seconds[1])
    factor = dispersion.of_rate(before, seconds[0]) * dispersion.allowance(tail / 2, len(seconds[0]))
    ratio = part * after_time / time
    least, half = (1 - moved * (1 - limit) for limit in (SILENT, HALF))
    silent = second <= least * ratio * first
    by_number = significance.fewer(first / factor, second / factor, half * ratio)
    old = _joined(before, seconds[0])
    new = _joined(after, seconds[1], HALF * time / len(old))
    below = half if part == 1 else 0.0
    proven = silent and min(by_number, significance.apart(old, new, below)) <= tail / 2
    needed = math.ceil(factor * significance.fewer_needed(tail / 2, half * ratio))
    enough = first >= needed or significance.apart(old, [0.0] * len(new), below) <= tail / 2
    suspicious = silent and not proven and significance.fewer(first / factor, second / factor, ratio) <= SUSPICIOUS
    verdict = judged(proven, suspicious, enough)
    text = f"{first / time:.3g} requests/s before, {second / after_time:.3g} after ({first} and {second} requests)"
    return Difference(
        str(where),
        Kind.RATE,
        verdict,
        f"went silent: {text}" if proven else text,
        needed if verdict is Verdict.INCONCLUSIVE else 0,
        suspicious,
    )


def _joined(counts: Sequence[int], seconds: Sequence[float], least: float = 0.0) -> list[float]:
    """Return the rates of intervals, joined until each is at least `least` seconds long; a shorter rest is left out."""
    rates, number, length = list[float](), 0, 0.0
    for count, span in zip(counts, seconds, strict=True):
        number, length = number + count, length + span
        if length >= least:
            rates.append(number / length)
            number, length = 0, 0.0
    return rates
