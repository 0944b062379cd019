"""Compare the rate of the requests to a destination before and after a change."""

import math
from collections.abc import Sequence

from waypoint_lab.guard import dispersion, significance
from waypoint_lab.guard.differences import SUSPICIOUS, Difference, Kind, judged
from waypoint_lab.guard.observation import Series
from waypoint_lab.measure.endpoint_counters import Destination
from waypoint_lab.measure.verify import Verdict

SILENT = 0.1  # part of the former rate at which a destination is taken for silent
HALF = 0.5  # part of the former rate that a silent destination must provably have fallen below


def rate(
    where: Destination, before: Series, after: Series, seconds: tuple[Sequence[float], Sequence[float]], tail: float
) -> Difference:
    """Compare the rates: a destination that had requests before must not be silent.

    Silence is proven by the numbers of requests, or by intervals that all have less than half of any interval before.
    Each of the two tests gets half of the error rate.

    Args:
        where: The destination.
        before: Its requests before, at least one.
        after: Its requests after.
        seconds: Lengths of the intervals before and after.
        tail: Probability of a false alarm.
    """
    first, second = sum(before.requests), sum(after.requests)
    time, after_time = sum(seconds[0]), sum(seconds[1])
    factor = dispersion.of_rate(before.requests, seconds[0]) * dispersion.allowance(tail / 2, len(seconds[0]))
    ratio = after_time / time
    silent = second <= SILENT * ratio * first
    by_number = significance.fewer(first / factor, second / factor, HALF * ratio)
    old, new = (
        [count / span for count, span in zip(counts, spans, strict=True)]
        for counts, spans in zip((before.requests, after.requests), seconds, strict=True)
    )
    proven = silent and min(by_number, significance.apart(old, new, HALF)) <= tail / 2
    needed = math.ceil(factor * significance.fewer_needed(tail / 2, HALF * ratio))
    enough = first >= needed or significance.apart(old, [0.0] * len(new), HALF) <= tail / 2
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
