"""Rules on a second, canary waypoint beside the primary one.

Source: istiod 1.31, pilot/pkg/serviceregistry/ambient/waypoints.go (getUseWaypointCanary, getCanaryWeight,
buildWeightedWaypoints): where anything is wrong with the canary, all connections go to the primary.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from ..mesh import (
    CANARY_WEIGHT,
    FOR_SERVICES,
    USE_CANARY,
    USE_WAYPOINT,
    WAYPOINT_FOR,
    Enrollment,
    GatewayName,
    enrollment,
    traffic_of,
)
from ..resources import ClusterSnapshot, Key, Parameters, Resource, Violations

_KINDS = ("Namespace", "Service", "ServiceEntry")


def canary_waypoint_valid(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check a canary waypoint: a primary beside it that is another Gateway, traffic to Services, a weight of 0 to 100.

    A weight needs a canary. A label that may be on a resource that could not be read is not reported as missing.
    """
    weighted = {item.key for item in snapshot.own(*_KINDS) if CANARY_WEIGHT in item.annotations}
    for item in snapshot.own(*_KINDS):
        found = enrollment(snapshot, item.key)
        if USE_CANARY in item.labels and found.canary:
            yield from ((item, problem) for problem in _of_names(snapshot, item, found))
            said = weighted & {item.key, ("Namespace", "", item.namespace)}
            if not said and _share(found.weight) is None:
                yield item, _bad_weight(found)
        if CANARY_WEIGHT in item.annotations and _share(found.weight) is None:
            yield item, _bad_weight(found)
        elif (
            CANARY_WEIGHT in item.annotations
            and _known(snapshot, item)
            and not (found.canary or _named_by_heirs(snapshot, item))
        ):
            what = f"has a weight for a canary waypoint, but names none{_hint(snapshot, item)}"
            yield item, f"{what}: add the label {USE_CANARY}, or drop the weight"


def _of_names(snapshot: ClusterSnapshot, item: Resource, found: Enrollment) -> Iterator[str]:
    title = f"canary waypoint {_title(found.canary)}"
    if not found.primary:
        if _known(snapshot, item):
            where = "it" if item.base == "Namespace" else "it or its namespace"
            yield f"{title} has no primary beside it: give {where} the label {USE_WAYPOINT}, too"
    elif found.primary == found.canary:
        yield f"{title} is the primary itself: name another Gateway"
    else:
        for role, waypoint in ((title, found.canary), (f"primary {_title(found.primary)}", found.primary)):
            if (traffic := traffic_of(snapshot, waypoint)) not in FOR_SERVICES:
                label = f"its label {WAYPOINT_FOR} is {traffic}, and must be service or all"
                yield f"{role} takes no traffic to Services: {label}"


def _bad_weight(found: Enrollment) -> str:
    return f"the weight of its canary waypoint is {found.weight!r}: write a whole number from 0 to 100, as text"


def _named_by_heirs(snapshot: ClusterSnapshot, item: Resource) -> bool:
    """Return True if a Namespace's weight is for the canary that a Service in it names itself."""
    return any(enrollment(snapshot, service.key).canary for service in _heirs(snapshot, item))


def _hint(snapshot: ClusterSnapshot, item: Resource) -> str:
    above = item.base != "Namespace" and USE_CANARY in snapshot.labels("Namespace", "", item.namespace)
    return " (its namespace's counts only beside its namespace's primary)" if above else ""


def _heirs(snapshot: ClusterSnapshot, item: Resource) -> Iterator[Resource]:
    """Yield the Services and ServiceEntries that take their primary waypoint from this Namespace."""
    for service in snapshot.all("Service", "ServiceEntry") if item.base == "Namespace" else ():
        if service.namespace == item.name and USE_WAYPOINT not in snapshot.labels(*service.key):
            yield service


def _known(snapshot: ClusterSnapshot, item: Resource) -> bool:
    """Return True if all labels of a resource and its Namespace are known; a patch alone does not have them all."""
    keys = {item.key, ("Namespace", "", item.name if item.base == "Namespace" else item.namespace)}
    return not snapshot.error or all(any(not part.patch for part in snapshot.find(*key)) for key in keys)


def _share(weight: object) -> int | None:
    """Return the weight as istiod parses it; None if invalid. Source: getCanaryWeight, and Go's strconv.Atoi."""
    if weight is None:
        return 0
    number = int(weight) if isinstance(weight, str) and re.fullmatch(r"[+-]?0*[0-9]{1,3}", weight) else -1
    return number if 0 <= number <= 100 else None


def _title(waypoint: GatewayName | None, place: str = "") -> str:
    """Return the name of a Gateway in messages, without its namespace where that is `place`."""
    namespace, name = waypoint or ("", "none")
    return name if namespace == place else f"{namespace}/{name}"


def canary_waypoint_steps(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that no waypoint is removed from a Namespace or Service while it gets a share of new connections.

    Labels and annotations before this update are compared with those after it. Without a canary in the cluster, or if
    the whole enrollment is removed, there is no violation. Source: server-side apply keeps the fields that others set.
    """
    now = ClusterSnapshot((), snapshot.live_unfiltered)
    then = ClusterSnapshot([replace(item, kind=f"{item.base}Patch") for item in snapshot.declared], snapshot.live)
    seen: set[Key] = set()
    for item in snapshot.own(*_KINDS):
        for key in [item.key, *_with_canary_of_their_own(now, item)]:
            after = enrollment(then, key)
            if key in seen or not after.primary:
                continue
            seen.add(key)
            where = "" if key == item.key else f"for {key[0]} {key[1]}/{key[2]} "
            yield from ((item, where + line) for line in _lost(now, key, after))


def _with_canary_of_their_own(now: ClusterSnapshot, item: Resource) -> Iterator[Key]:
    """Yield the Services with a canary of their own, which a change of this Namespace affects differently."""
    for service in _heirs(now, item):
        if USE_CANARY in service.labels or CANARY_WEIGHT in service.annotations:
            yield service.key


def _lost(now: ClusterSnapshot, key: Key, after: Enrollment) -> Iterator[str]:
    before = enrollment(now, key)
    share = _share(before.weight)
    if share is None or not _serves(now, before):
        return
    place = key[2] if key[0] == "Namespace" else key[1]
    primary, canary, coming = (_title(name, place) for name in (before.primary, before.canary, after.primary))
    kept = (after.primary, after.canary)
    if share > 0 and before.canary not in kept:
        yield f"{canary} still gets {share} % of new connections: set the weight to 0 before taking it away"
    if share < 100 and before.primary not in kept:
        first = f"raise the weight of {coming} to 100 before making it the primary"
        if after.primary != before.canary:
            first = f"keep it the primary, and make {coming} its canary first"
        yield f"{primary} still gets {100 - share} % of new connections: {first}"


def _serves(now: ClusterSnapshot, before: Enrollment) -> bool:
    """Return True if istiod sends connections to both: they differ, exist, and take traffic to Services."""
    both = (before.primary, before.canary)
    there = all(waypoint and now.find("Gateway", *waypoint) for waypoint in both)
    return (
        there
        and before.primary != before.canary
        and all(traffic_of(now, waypoint) in FOR_SERVICES for waypoint in both)
    )
