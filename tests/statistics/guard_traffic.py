"""Simulated traffic of a guard: bursts of users' requests to destinations that share a route."""

import math
import random
from collections.abc import Mapping

from waypoint_lab.guard.observation import Observation, Series, WaypointState
from waypoint_lab.measure.endpoint_counters import Destination

INTERVALS = 30


def destination(name: str) -> Destination:
    """Return a port of a Service of the simulated namespace."""
    return Destination(f"{name}.shop.svc.cluster.local", 80)


def poisson(random_: random.Random, mean: float) -> int:
    """Return a Poisson number; a rounded normal one where the mean is large."""
    if mean > 50:
        return max(0, round(random_.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, random_.random()
    while product > limit:
        count, product = count + 1, product * random_.random()
    return count


def binomial(random_: random.Random, trials: int, share: float) -> int:
    """Return a binomial number."""
    if share <= 0 or share >= 1:
        return trials if share >= 1 else 0
    if trials * min(share, 1 - share) > 50:
        spread = math.sqrt(trials * share * (1 - share))
        return min(trials, max(0, round(random_.gauss(trials * share, spread))))
    return sum(random_.random() < share for _ in range(trials))


class Traffic:
    """A model of traffic, from which each observation is drawn.

    Args:
        shares: Share of the requests to each destination.
        rate: Requests a second.
        dispersion: Variance of the requests of an interval, in parts of the Poisson one; at least 1.
        memory: Correlation of the rates of two neighbouring intervals, 0 to 1.
        failures: Share of failures by destination.
        mixed: Standard deviation of the logarithm of a destination's weight from interval to interval.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        rate: float,
        *,
        dispersion: float = 1.0,
        memory: float = 0.0,
        failures: Mapping[str, float] | None = None,
        mixed: float = 0.0,
    ) -> None:
        self.shares, self.rate, self.memory, self.mixed = dict(shares), rate, memory, mixed
        self.failures = failures or {}
        # A lognormal rate whose variance gives the dispersion.
        self._spread = math.sqrt(math.log1p((dispersion - 1) / rate))

    def observe(self, random_: random.Random) -> Observation:
        """Return one observation of 30 seconds."""
        counts: dict[str, tuple[list[int], list[int]]] = {name: ([], []) for name in self.shares}
        level = random_.gauss(0, 1)
        for _ in range(INTERVALS):
            level = self.memory * level + math.sqrt(1 - self.memory**2) * random_.gauss(0, 1)
            rate = self.rate * math.exp(self._spread * level - self._spread**2 / 2)
            for name, share in self.shares.items():
                factor = math.exp(random_.gauss(0, self.mixed)) if self.mixed else 1.0
                requests = poisson(random_, rate * share * factor)
                counts[name][0].append(requests)
                counts[name][1].append(binomial(random_, requests, self.failures.get(name, 0.0)))
        series = {
            destination(name): Series(requests, [a - b for a, b in zip(requests, errors, strict=True)], errors)
            for name, (requests, errors) in counts.items()
        }
        group = frozenset(series)
        return Observation([1.0] * INTERVALS, series, WaypointState(groups=[group]))
