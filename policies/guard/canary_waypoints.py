"""Rules on a second, canary waypoint beside the primary one.

Source: istiod 1.31, pilot/pkg/serviceregistry/ambient/waypoints.go (getUseWaypointCanary, getCanaryWeight,
buildWeightedWaypoints): where anything is wrong with the canary, all connections stay with the primary.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from .objects import Findings, Key, Object, Settings, World
from .waypoints import CANARY, USE, Name, named

WEIGHT = "istio.io/use-waypoint-canary-weight"
_FOR = "istio.io/waypoint-for"
_SERVICES = ("service", "all")  # values of _FOR that include requests to Services
_KINDS = ("Namespace", "Service")


class Enrolment(NamedTuple):
    """The waypoints of a Service, or of a Namespace for each Service in it that says nothing itself."""

    primary: Name | None
    canary: Name | None
    weight: object  # as it is written; None where it is not, which means 0


def enrolment(world: World, key: Key) -> Enrolment:
    """How istiod reads the labels and annotations of a Service (or ServiceEntry) and its Namespace together.

    The canary of the Namespace, and its weight, count only where the Service takes the primary from there as well.
    """
    kind, namespace, name = key
    place = name if kind == "Namespace" else namespace
    labels, annotations = world.labels(*key), world.annotations(*key)
    above: Key = ("Namespace", "", place)
    inherits = kind != "Namespace" and USE not in labels
    labels_above, annotations_above = (world.labels(*above), world.annotations(*above)) if inherits else ({}, {})
    return Enrolment(
        named(labels if USE in labels else labels_above, USE, place),
        named(labels if CANARY in labels else labels_above, CANARY, place),
        annotations.get(WEIGHT, annotations_above.get(WEIGHT)),
    )


def canary_waypoint_works(world: World, _settings: Settings) -> Findings:
    """A canary waypoint has a primary beside it, is another, takes traffic to Services, and has a weight of 0 to 100.

    A weight has a canary. What may be on an object of the cluster that could not be read is not claimed to be missing.
    """
    weighted = {item.key for item in world.own(*_KINDS) if WEIGHT in item.annotations}
    for item in world.own(*_KINDS):
        found = enrolment(world, item.key)
        if CANARY in item.labels and found.canary:
            yield from ((item, problem) for problem in _of_names(world, item, found))
            said = weighted & {item.key, ("Namespace", "", item.namespace)}
            if not said and _share(found.weight) is None:
                yield item, _bad_weight(found)
        if WEIGHT in item.annotations and _share(found.weight) is None:
            yield item, _bad_weight(found)
        elif WEIGHT in item.annotations and _known(world, item) and not (found.canary or _named_by_heirs(world, item)):
            what = f"has a weight for a canary waypoint, but names none{_hint(world, item)}"
            yield item, f"{what}: add the label {CANARY}, or drop the weight"


def _of_names(world: World, item: Object, found: Enrolment) -> Iterator[str]:
    title = f"canary waypoint {_title(found.canary)}"
    if not found.primary:
        if _known(world, item):
            where = "it" if item.base == "Namespace" else "it or its namespace"
            yield f"{title} has no primary beside it: give {where} the label {USE}, too"
    elif found.primary == found.canary:
        yield f"{title} is the primary itself: name another Gateway"
    else:
        for role, waypoint in ((title, found.canary), (f"primary {_title(found.primary)}", found.primary)):
            if (traffic := _traffic(world, waypoint)) not in _SERVICES:
                yield f"{role} takes no traffic to Services: its label {_FOR} is {traffic}, and must be service or all"


def _bad_weight(found: Enrolment) -> str:
    return f"the weight of its canary waypoint is {found.weight!r}: write a whole number from 0 to 100, as text"


def _named_by_heirs(world: World, item: Object) -> bool:
    """Whether a Namespace's weight is for the canary that a Service in it names itself."""
    return any(enrolment(world, service.key).canary for service in _heirs(world, item))


def _hint(world: World, item: Object) -> str:
    above = item.base == "Service" and CANARY in world.labels("Namespace", "", item.namespace)
    return " (its namespace's counts only beside its namespace's primary)" if above else ""


def _heirs(world: World, item: Object) -> Iterator[Object]:
    """The Services that take their primary waypoint from this Namespace."""
    for service in world.all("Service") if item.base == "Namespace" else ():
        if service.namespace == item.name and USE not in world.labels(*service.key):
            yield service


def _known(world: World, item: Object) -> bool:
    """Whether all labels of an object and its Namespace are known: of a patched one only from the cluster."""
    keys = {item.key, ("Namespace", "", item.name if item.base == "Namespace" else item.namespace)}
    return not world.problem or all(any(not part.patch for part in world.find(*key)) for key in keys)


def _share(weight: object) -> int | None:
    """The weight as istiod reads it; None where it is none. Source: getCanaryWeight, and Go's strconv.Atoi."""
    if weight is None:
        return 0
    number = int(weight) if isinstance(weight, str) and re.fullmatch(r"[+-]?0*[0-9]{1,3}", weight) else -1
    return number if 0 <= number <= 100 else None


def _traffic(world: World, waypoint: Name | None) -> str:
    """What a waypoint takes: `service` unless its Gateway says otherwise; that also where it is not known."""
    return world.labels("Gateway", *waypoint).get(_FOR, "service") if waypoint else "service"


def _title(waypoint: Name | None, place: str = "") -> str:
    """How a message calls a Gateway; without its namespace where that is `place`."""
    namespace, name = waypoint or ("", "none")
    return name if namespace == place else f"{namespace}/{name}"


def canary_waypoint_steps(world: World, _settings: Settings) -> Findings:
    """No waypoint that gets a share of new connections now is taken away, from a Namespace or from a Service.

    Compared are the labels and annotations before this update with those after it. Nothing is found where no canary is
    served now, or where the whole enrolment goes. Source: server-side apply leaves in place what others have set, of a
    whole object as of one that is only patched.
    """
    now = World((), world.served)
    then = World([replace(item, kind=f"{item.base}Patch") for item in world.objects], world.live)
    seen: set[Key] = set()
    for item in world.own(*_KINDS):
        for key in [item.key, *_with_canary_of_their_own(now, item)]:
            after = enrolment(then, key)
            if key in seen or not after.primary:
                continue
            seen.add(key)
            where = "" if key == item.key else f"for Service {key[1]}/{key[2]} "
            yield from ((item, where + line) for line in _lost(now, key, after))


def _with_canary_of_their_own(now: World, item: Object) -> Iterator[Key]:
    """The Services that a change of this Namespace moves, but not as it moves all the others."""
    for service in _heirs(now, item):
        if CANARY in service.labels or WEIGHT in service.annotations:
            yield service.key


def _lost(now: World, key: Key, after: Enrolment) -> Iterator[str]:
    before = enrolment(now, key)
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


def _serves(now: World, before: Enrolment) -> bool:
    """Whether istiod sends connections to both: they differ, exist, and take traffic to Services."""
    both = (before.primary, before.canary)
    there = all(waypoint and now.find("Gateway", *waypoint) for waypoint in both)
    return there and before.primary != before.canary and all(_traffic(now, waypoint) in _SERVICES for waypoint in both)
