"""Compare the latencies of canary and baseline: slow requests are failures of a sequential comparison."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from waypoint_lab.measure.statistics import quantile
from waypoint_lab.measure.traffic import LoggedRequest
from waypoint_lab.measure.unpaired import Outcomes, UnpairedComparison

P99 = 0.99
LEAST_BASELINE = 200  # latencies before the ratio of two p99 is judged
Latencies = Mapping[float, int]  # number of requests by latency in milliseconds


def answered(requests: Iterable[LoggedRequest]) -> Counter[float]:
    """Return the latencies of requests; one without an answer is infinitely slow."""
    return Counter(one.milliseconds if one.status else math.inf for one in requests)


def finite(latencies: Latencies) -> Counter[float]:
    """Return the latencies of the requests with an answer."""
    return Counter({latency: count for latency, count in latencies.items() if math.isfinite(latency)})


def slower(latencies: Latencies, milliseconds: float) -> Outcomes:
    """Return the requests, and those of them that took longer."""
    return Outcomes(
        sum(latencies.values()), sum(count for latency, count in latencies.items() if latency > milliseconds)
    )


class P99Ratio:
    """The comparison of a canary's p99 with a multiple of the baseline's.

    A canary's request is slow if it takes longer than `ratio` times the baseline's p99, a baseline's if it takes longer
    than that p99, which earlier blocks give, or an earlier step.
    """

    def __init__(self, comparison: UnpairedComparison, ratio: float, before: float | None = None) -> None:
        """Start the comparison.

        Args:
            comparison: The comparison of the shares of slow requests.
            ratio: Most times of the baseline's p99 that the canary's may have.
            before: The baseline's p99 of an earlier step in milliseconds; None means that its requests give it.
        """
        self.comparison, self._ratio, self._before = comparison, ratio, before
        self._known: Counter[float] = Counter()

    @property
    def p99(self) -> float | None:
        """The baseline's p99 in milliseconds; None where it is not known yet."""
        if self._before is None and self._known.total() >= LEAST_BASELINE:
            return quantile(self._known, P99)
        return self._before

    def add(self, canary: Latencies, baseline: Latencies) -> None:
        """Add the requests of a block; those before the baseline's p99 is known are not compared."""
        if (p99 := self.p99) is not None:
            # Logs round down, so a canary's request is slow only if it is for every p99 that the baseline may have.
            self.comparison.add(slower(canary, round(self._ratio * (p99 + 1), 6)), slower(baseline, p99))
        self._known.update(finite(baseline))
