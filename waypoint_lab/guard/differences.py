"""Differences of the traffic to one destination before and after a change, each with a verdict."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from waypoint_lab.guard import dispersion, significance
from waypoint_lab.guard.observation import Series
from waypoint_lab.measure.endpoint_counters import Destination
from waypoint_lab.measure.statistics import quantile, quantile_interval
from waypoint_lab.measure.verify import Verdict

SUSPICIOUS = 0.05  # error rate of one test alone, from which an unproven change is inconclusive
P99 = 0.99


class Kind(StrEnum):
    """The quantity that is compared."""

    COMMAND = "command"
    CONFIGURATION = "configuration"
    ROUTE = "route"
    RATE = "rate"
    SUCCESS = "success"
    SHARE = "share"
    LATENCY = "latency"


@dataclass(frozen=True)
class Difference:
    """One comparison.

    Attributes:
        where: The destination, or a Pod of a waypoint.
        kind: The quantity.
        verdict: Inconclusive where a change cannot be proven, or where there are too few requests to prove any.
        evidence: The figures before and after, as text.
        needed: Requests that would be needed, where inconclusive.
        suspicious: True if the change would be significant in a single test.
    """

    where: str
    kind: Kind
    verdict: Verdict
    evidence: str
    needed: int = 0
    suspicious: bool = False

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Tolerance:
    """Changes that are accepted, and the error rate.

    Attributes:
        share: Change of a share, 0 to 1.
        failures: Rise of the share of failures, 0 to 1.
        p99_factor: Factor of the 99th percentile, at least 1.
        tail: Probability of a false alarm of one test, 0 to 0.5.
    """

    share: float
    failures: float
    p99_factor: float
    tail: float


def judged(proven: bool, suspicious: bool, enough: bool) -> Verdict:
    """Return the verdict of a comparison.

    Args:
        proven: A change is proven.
        suspicious: A change would be significant in a single test.
        enough: There are enough requests to prove the worst change.
    """
    if proven:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE if suspicious or not enough else Verdict.PASSED


@dataclass(frozen=True)
class Hits:
    """Requests that count for a share, and all requests, by interval."""

    hits: Sequence[int]
    trials: Sequence[int]

    @property
    def total(self) -> int:
        """Number of all requests."""
        return sum(self.trials)

    @property
    def share(self) -> float:
        """The share, 0 without requests."""
        return sum(self.hits) / max(1, self.total)

    @property
    def dispersion(self) -> float:
        """The dispersion of the share."""
        return dispersion.of_share(self.hits, self.trials)

    def reduced(self, factor: float) -> tuple[float, float]:
        """Return hits and requests, divided by a dispersion."""
        return sum(self.hits) / factor, self.total / factor

    def __str__(self) -> str:
        """Return the share and the count."""
        return f"{self.share:.1%} of {self.total}"


def _change(
    where: str, kind: Kind, before: Hits, after: Hits, tolerance: tuple[float, float], text: str, *, rises: bool
) -> Difference:
    """Compare two shares; `tolerance` has the accepted change, and the probability of a false alarm."""
    beyond, tail = tolerance
    tail = tail if rises else tail / 2
    intervals = max(2, len(after.trials))
    factor = max(before.dispersion, after.dispersion) * dispersion.allowance(tail, intervals)

    def rise(level: float) -> float:
        one, other = (old, new) if upwards else (new, old)
        return significance.least_rise(one, other, level)

    old, new = before.reduced(factor), after.reduced(factor)
    moved = after.share - before.share
    upwards = moved > 0
    differs = moved > beyond or (not rises and moved < -beyond)
    proven = differs and rise(tail) > beyond
    suspicious = differs and not proven and rise(SUSPICIOUS if rises else SUSPICIOUS / 2) > beyond
    worst = 1.0 if rises or before.share <= 0.5 else 0.0
    upwards, new = worst > 0, (worst * new[1], new[1])
    sure = abs(worst - before.share) - significance.most_distance(old[1], new[1], tail) > beyond
    enough = proven or sure or rise(tail) > beyond
    verdict = judged(proven, suspicious, enough)
    needed = 0
    if verdict is Verdict.INCONCLUSIVE:
        change = moved if suspicious else worst - before.share
        needed = math.ceil(factor * significance.trials_needed(before.share, change, tail, beyond))
    return Difference(where, kind, verdict, text, needed, suspicious)


def success(where: Destination, before: Hits, after: Hits, tolerance: Tolerance) -> Difference:
    """Compare the shares of failures: `after` must not fail more often, beyond the tolerance.

    Args:
        where: The destination.
        before: Failures before; of the whole group of destinations where this one had no requests.
        after: Failures after, of at least one request.
        tolerance: The accepted change.
    """
    text = f"failures were {before}, are {after}" if before.total else f"failures are {after}, with none before"
    return _change(str(where), Kind.SUCCESS, before, after, (tolerance.failures, tolerance.tail), text, rises=True)


def share(where: Destination, before: Hits, after: Hits, tolerance: Tolerance) -> Difference:
    """Compare the shares of the requests to a group of destinations that this one gets.

    Args:
        where: The destination.
        before: Its requests before, and those of its group, which has at least one.
        after: The same after.
        tolerance: The accepted change.
    """
    text = f"share was {before}, is {after}"
    return _change(str(where), Kind.SHARE, before, after, (tolerance.share, tolerance.tail), text, rises=False)


def expected_share(where: str, expected: float, after: Hits, tolerance: Tolerance) -> Difference:
    """Compare a share with its declared value.

    Args:
        where: The Service.
        expected: The declared share, 0 to 1.
        after: Its requests after, and those of its group.
        tolerance: The accepted change.
    """
    text = f"expected {100 * expected:.4g} % of the requests, measured {after}"
    if not after.total:
        needed = significance.trials_needed(expected, _farthest(expected) - expected, tolerance.tail, tolerance.share)
        return Difference(where, Kind.SHARE, Verdict.INCONCLUSIVE, text, needed, suspicious=True)
    certain = Hits([round(expected * 10**9)], [10**9])
    return _change(where, Kind.SHARE, certain, after, (tolerance.share, tolerance.tail), text, rises=False)


def _farthest(share: float) -> float:
    return 1.0 if share <= 0.5 else 0.0


def latency(where: Destination, before: Series, after: Series, tolerance: Tolerance) -> Difference | None:
    """Compare the 99th percentiles; None where there are no latencies.

    More than one percent of the requests must not be slower than the former percentile's upper limit, times the factor.

    Args:
        where: The destination.
        before: Its requests before.
        after: Its requests after.
        tolerance: The accepted change.
    """
    old = [value for values in before.latencies or () for value in values]
    new = [value for values in after.latencies or () for value in values]
    if not old or not new:
        return None
    text = f"p99 was {quantile(old, P99):.3f} s of {len(old)}, is {quantile(new, P99):.3f} s of {len(new)}"
    limit = quantile_interval(old, P99, 1 - 2 * tolerance.tail).high * tolerance.p99_factor
    if math.isinf(limit):
        needed = math.ceil(math.log(tolerance.tail) / math.log(P99))
        return Difference(str(where), Kind.LATENCY, Verdict.INCONCLUSIVE, text, needed)
    values = after.latencies or ()
    slow = Hits([sum(item > limit for item in found) for found in values], [len(found) for found in values])
    certain = Hits([], [])  # the share that is exceeded is 1 - P99
    limits = (1 - P99, tolerance.tail)
    return _change(str(where), Kind.LATENCY, certain, slow, limits, text, rises=True)
