"""Tests of the rate of requests: of one destination, and of those between which requests move."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from waypoint_lab.guard import silence
from waypoint_lab.guard.differences import Difference, Tolerance
from waypoint_lab.guard.observation import Observation
from waypoint_lab.measure.endpoint_counters import Destination

Test = Callable[[Tolerance], Difference]
# Mirrored copies are at most half of the requests. From this share on, more than copies are lost.
MOST = 0.6


def alone(where: Destination, part: float, before: Observation, after: Observation) -> Test:
    """Return the test that a destination is not silent.

    Args:
        where: The destination; it had requests before.
        part: Part of its requests that declared shares leave to it, above 0, at most 1.
        before: The traffic before the change.
        after: The traffic after it.
    """
    counts, seconds = (before.of(where).requests, after.of(where).requests), (before.seconds, after.seconds)
    return lambda tolerance: silence.rate(where, counts, seconds, part, tolerance.tail)


def together(
    held: frozenset[Destination],
    members: frozenset[Destination],
    before: Observation,
    after: Observation,
    *,
    closed: bool,
) -> Test:
    """Return the test that the requests of silent destinations have moved to the others.

    It is for silent destinations that had MOST of the requests. Where there are none, it tests that all together are
    not silent.

    Args:
        held: The destinations whose requests must not be lost; they had some before.
        members: These, and those that may be silent, too, which may get their requests.
        before: The traffic before the change.
        after: The traffic after it.
        closed: True if no other destination may get their requests.
    """
    ratio = sum(after.seconds) / sum(before.seconds)
    numbers = {item: sum(before.of(item).requests) for item in sorted(held)}
    silent = [item for item in numbers if sum(after.of(item).requests) <= silence.SILENT * ratio * numbers[item]]
    share = sum(numbers[item] for item in silent) / sum(numbers.values())
    moved = share if closed and share >= MOST else 1.0
    where = max(silent or numbers, key=lambda item: numbers[item])
    counts, seconds = (before.total(held), after.total(members)), (before.seconds, after.seconds)

    def test(tolerance: Tolerance) -> Difference:
        found = silence.rate(where, counts, seconds, 1.0, tolerance.tail, moved)
        return replace(found, evidence=found.evidence + ", with the other backends of its routes")

    return test


def part(
    where: Destination,
    declared: Mapping[str, frozenset[Destination]],
    shares: Mapping[str, float],
    before: Observation,
) -> float:
    """Return the part of its requests before, 0 to 1, that declared shares leave to a destination; it had some.

    Args:
        where: The destination.
        declared: The destinations that share the requests with a Service, by its name.
        shares: The declared shares, 0 to 1, by the same names.
        before: The traffic before the change.
    """
    left = 1.0
    for members in {*declared.values()}:
        if where not in members:
            continue
        names = [name for name, others in declared.items() if others == members]
        own = [name for name in names if where.named(name)]
        side = frozenset(item for item in members if any(item.named(name) for name in own or names))
        share = sum(shares[name] for name in own or names)
        if not own:  # it shares the rest with the others that no name declares
            side, share = members - side, max(0.0, 1 - share)
        left *= round(share, 9) * sum(before.total(members)) / sum(before.total(side))
    return min(1.0, left)
