"""Cases of the rules on a canary waypoint beside the primary one."""

from collections.abc import Iterator
from typing import Any

from policies.pack.queries import without_marks
from policies.pack.resources import ClusterSnapshot, Resource
from tests.policies.builders import NAMESPACE, Case, enrolled, gateway, namespace, snapshot, thing

PRIMARY, SECOND, THIRD = gateway("w"), gateway("w-b"), gateway("w-c")
GATEWAYS = (PRIMARY, SECOND, THIRD)
BOTH = {"primary": "w", "canary": "w-b"}
USE, CANARY, WEIGHT = "istio.io/use-waypoint", "istio.io/use-waypoint-canary", "istio.io/use-waypoint-canary-weight"


def waypoint_for(name: str, traffic: str) -> Resource:
    return thing("Gateway", name, {"gatewayClassName": "istio-waypoint"}, labels={"istio.io/waypoint-for": traffic})


def existence() -> Iterator[Case]:
    name = "waypoint-exists"
    yield name, snapshot(PRIMARY, enrolled(**BOTH), live=(SECOND,)), {}, ""
    said = "NamespacePatch n: is enrolled in canary waypoint n/w-b, but that Gateway is not in the stack or the cluster"
    yield name, snapshot(PRIMARY, enrolled(**BOTH)), {}, said
    yield name, snapshot(PRIMARY, enrolled(primary="w", canary="none"), enrolled("s", primary="w", canary="")), {}, ""
    away = {**BOTH, "canary_namespace": "m"}
    said = "ServicePatch n/s: is enrolled in canary waypoint m/w-b, but that Gateway is not in the stack or the cluster"
    yield name, snapshot(PRIMARY, SECOND, enrolled("s", **away)), {}, said
    there = thing("Gateway", "w-b", {}, namespace="m")
    yield name, snapshot(PRIMARY, enrolled("s", **away), live=(there,)), {}, ""
    # The namespace of the Gateway may come from another patch of the same object.
    apart = enrolled("s", canary_namespace="m")
    yield name, snapshot(PRIMARY, enrolled("s", **BOTH), apart, live=(there,)), {}, ""


def names() -> Iterator[Case]:
    name = "canary-waypoint-valid"
    yield name, snapshot(*GATEWAYS, enrolled(**BOTH), enrolled(weight="20")), {}, ""
    yield name, snapshot(enrolled(**BOTH, weight="0"), live=GATEWAYS), {}, ""
    yield name, snapshot(*GATEWAYS, enrolled(primary="w"), enrolled("s", primary="none")), {}, ""
    alone = f"canary waypoint n/w-b has no primary beside it: give it the label {USE}, too"
    yield name, snapshot(*GATEWAYS, enrolled(canary="w-b")), {}, f"NamespacePatch n: {alone}"
    yield name, snapshot(*GATEWAYS, enrolled(canary="w-b", primary="none")), {}, f"NamespacePatch n: {alone}"
    alone = alone.replace("give it", "give it or its namespace")
    yield name, snapshot(*GATEWAYS, enrolled("s", canary="w-b")), {}, f"ServicePatch n/s: {alone}"
    # The primary may be another patch's, the cluster's, or for a Service its namespace's.
    yield name, snapshot(*GATEWAYS, enrolled(canary="w-b"), enrolled(primary="w")), {}, ""
    yield name, snapshot(*GATEWAYS, enrolled(canary="w-b"), live=(namespace(**{USE: "w"}),)), {}, ""
    yield name, snapshot(*GATEWAYS, enrolled("s", canary="w-b"), live=(enrolled(primary="w", patch=False),)), {}, ""
    known = snapshot(enrolled("s", canary="w-b", patch=False), namespace(), error="unreachable")
    yield name, known, {}, f"Service n/s: {alone}"
    opted_out = enrolled("s", primary="none", canary="w-b")
    yield name, snapshot(*GATEWAYS, opted_out, enrolled(primary="w")), {}, f"ServicePatch n/s: {alone}"
    # Nobody could look: a label of the cluster's own is not claimed to be missing.
    yield name, snapshot(enrolled(canary="w-b"), enrolled("s", canary="w-b"), error="unreachable"), {}, ""
    known = snapshot(enrolled(canary="w-b", patch=False), error="unreachable")
    said = f"Namespace n: canary waypoint n/w-b has no primary beside it: give it the label {USE}, too"
    yield name, known, {}, said
    same = "canary waypoint n/w is the primary itself: name another Gateway"
    yield name, snapshot(*GATEWAYS, enrolled(primary="w", canary="w")), {}, f"NamespacePatch n: {same}"
    yield name, snapshot(*GATEWAYS, enrolled("s", canary="w"), enrolled(primary="w")), {}, f"ServicePatch n/s: {same}"
    yield name, snapshot(*GATEWAYS, enrolled(primary="w", canary="w", canary_namespace="m")), {}, ""
    wrong = "takes no traffic to Services: its label istio.io/waypoint-for is workload, and must be service or all"
    said = f"NamespacePatch n: canary waypoint n/w-b {wrong}"
    yield name, snapshot(PRIMARY, waypoint_for("w-b", "workload"), enrolled(**BOTH)), {}, said
    yield name, snapshot(PRIMARY, waypoint_for("w-b", "all"), enrolled(**BOTH)), {}, ""
    said = f"NamespacePatch n: primary n/w {wrong}"
    yield name, snapshot(SECOND, enrolled(**BOTH), live=(waypoint_for("w", "workload"),)), {}, said


def weights() -> Iterator[Case]:
    name = "canary-waypoint-valid"
    for text in ("0", "100", "+5", "007"):  # as Go's strconv.Atoi reads them
        yield name, snapshot(*GATEWAYS, enrolled(**BOTH, weight=text)), {}, ""
    for weight in ("101", "-1", "5 %", "20.5", "", " 5", "\u0665", 20, True):
        said = f"the weight of its canary waypoint is {weight!r}: write a whole number from 0 to 100, as text"
        yield name, snapshot(*GATEWAYS, enrolled(**BOTH, weight=weight)), {}, f"NamespacePatch n: {said}"
    said = "the weight of its canary waypoint is 'half': write a whole number from 0 to 100, as text"
    # It is said once, where it is written; at the label where that is not the stack's.
    yield name, snapshot(*GATEWAYS, enrolled(**BOTH), enrolled(weight="half")), {}, f"NamespacePatch n: {said}"
    inherits = (*GATEWAYS, enrolled("s", canary="w-b"), enrolled(primary="w", weight="half"))
    yield name, snapshot(*inherits), {}, f"NamespacePatch n: {said}"
    live = (enrolled(weight="half", patch=False),)
    yield name, snapshot(*GATEWAYS, enrolled(**BOTH), live=live), {}, f"NamespacePatch n: {said}"
    unused = f"has a weight for a canary waypoint, but names none: add the label {CANARY}, or drop the weight"
    yield name, snapshot(*GATEWAYS, enrolled(primary="w", weight="20")), {}, f"NamespacePatch n: {unused}"
    yield name, snapshot(*GATEWAYS, enrolled("s", primary="w", weight="20")), {}, f"ServicePatch n/s: {unused}"
    away = thing("Service", "s", {}, namespace="m", labels={CANARY: "w-b"})
    scene = snapshot(*GATEWAYS, enrolled(primary="w", weight="20"), live=(away,))
    yield name, scene, {}, f"NamespacePatch n: {unused}"
    # A Service's own weight may be for its namespace's canary, and a namespace's for a Service's.
    yield name, snapshot(*GATEWAYS, enrolled("s", weight="20"), enrolled(**BOTH)), {}, ""
    yield name, snapshot(*GATEWAYS, enrolled("s", canary="w-b"), enrolled(primary="w", weight="20")), {}, ""
    yield name, snapshot(enrolled("s", weight="20"), enrolled(weight="20"), error="unreachable"), {}, ""
    # A Service with a primary of its own has nothing of its namespace's canary.
    hint = " (its namespace's counts only beside its namespace's primary)"
    said = f"ServicePatch n/s: {unused.replace('none:', f'none{hint}:')}"
    yield name, snapshot(*GATEWAYS, enrolled("s", primary="w-c", weight="20"), enrolled(**BOTH)), {}, said
    yield name, snapshot(*GATEWAYS, enrolled("s", primary="w-c"), enrolled(**BOTH, weight="20")), {}, ""


def step(
    before: tuple[Resource, ...], *after: Resource, applied: tuple[Resource, ...] | None = None
) -> ClusterSnapshot:
    """An update from `before`, all of it what the stack applied unless said otherwise, to `after`."""
    served = (*GATEWAYS, *before)
    return snapshot(
        *after, live=tuple(without_marks(served, before if applied is None else applied)), live_unfiltered=served
    )


def served(weight: str = "20", service: str = "", **waypoints: str) -> tuple[Resource]:
    return (enrolled(service, patch=False, **(waypoints or BOTH), weight=weight),)


def steps() -> Iterator[Case]:
    name = "canary-waypoint-steps"
    canary_lost = "NamespacePatch n: w-b still gets 20 % of new connections: set the weight to 0 before taking it away"
    primary_lost = "raise the weight of w-b to 100 before making it the primary"
    # The canary goes.
    yield name, step(served("20"), enrolled(primary="w")), {}, canary_lost
    yield name, step(served("20"), enrolled(primary="w", canary="none"), enrolled(weight="0")), {}, canary_lost
    yield name, step(served("0"), enrolled(primary="w")), {}, ""
    yield name, step((enrolled(**BOTH, patch=False),), enrolled(primary="w")), {}, ""  # no weight is 0
    # The canary becomes the primary.
    said = f"NamespacePatch n: w still gets 80 % of new connections: {primary_lost}"
    yield name, step(served("20"), enrolled(primary="w-b")), {}, said
    yield name, step(served("100"), enrolled(primary="w-b")), {}, ""
    yield name, step(served("20"), enrolled(primary="w-b", canary="w"), enrolled(weight="80")), {}, ""
    # Another canary.
    yield name, step(served("20"), enrolled(primary="w", canary="w-c")), {}, canary_lost
    yield name, step(served("0"), enrolled(primary="w", canary="w-c")), {}, ""
    # Another primary.
    said = "NamespacePatch n: w still gets 80 % of new connections: keep it the primary, and make w-c its canary first"
    yield name, step(served("20"), enrolled(primary="w-c", canary="w-b")), {}, said
    yield name, step(served("100"), enrolled(primary="w-c", canary="w-b")), {}, ""


def untouched() -> Iterator[Case]:
    name = "canary-waypoint-steps"
    same = (enrolled(**BOTH), enrolled(weight="20"))
    yield name, step(served("20"), *same), {}, ""
    yield name, step(served("20"), enrolled(**BOTH), enrolled(weight="100")), {}, ""
    yield name, step(served("20"), enrolled(primary="none")), {}, ""  # the whole enrollment goes
    yield name, step(served("20"), enrolled()), {}, ""
    yield name, step((), enrolled(primary="w")), {}, ""
    yield name, snapshot(enrolled(primary="w"), error="unreachable"), {}, ""
    # A share of no waypoint is not lost.
    for before in (served("half"), served(primary="w", canary="w"), served(primary="w", canary="away")):
        yield name, step(before, enrolled(primary="w-c")), {}, ""
    # Labels of others remain after the stack drops them.
    yield name, step(served("20"), enrolled(primary="w"), applied=(enrolled(primary="w"),)), {}, ""
    whole = enrolled(primary="w", patch=False)
    yield name, step(served("20"), whole, applied=(whole,)), {}, ""
    said = "Namespace n: w-b still gets 20 % of new connections: set the weight to 0 before taking it away"
    yield name, step(served("20"), whole), {}, said


def of_services() -> Iterator[Case]:
    name = "canary-waypoint-steps"
    lost = "w-b still gets 20 % of new connections: set the weight to 0 before taking it away"
    yield name, step(served("20", "s"), enrolled("s", primary="w")), {}, f"ServicePatch n/s: {lost}"
    yield name, step(served("0", "s"), enrolled("s", primary="w")), {}, ""
    away: dict[str, Any] = {"primary": "w", "canary": "w-b", "canary_namespace": "m"}
    before = (enrolled("s", patch=False, **away, weight="20"), thing("Gateway", "w-b", {}, namespace="m"))
    said = f"ServicePatch n/s: m/{lost}"
    yield name, step(before, enrolled("s", primary="w", canary="w-b")), {}, said
    # A Service that gets a primary of its own loses its namespace's canary.
    both = (*served("20"), enrolled("s", patch=False))
    yield name, step(both, enrolled("s", primary="w"), applied=()), {}, f"ServicePatch n/s: {lost}"
    yield name, step(both, enrolled("s", **BOTH), applied=()), {}, ""
    # A namespace at weight 0 may have a Service that is not.
    differs = (*served("0"), enrolled("s", patch=False, weight="20"))
    said = f"NamespacePatch {NAMESPACE}: for Service n/s {lost}"
    yield name, step(differs, enrolled(primary="w"), applied=served("0")), {}, said
    inherits = (*served("20"), enrolled("s", patch=False))  # what its namespace loses is said once
    yield name, step(inherits, enrolled(primary="w"), applied=served("20")), {}, f"NamespacePatch {NAMESPACE}: {lost}"
    named = (enrolled(patch=False, primary="w", weight="50"), enrolled("s", patch=False, canary="w-c"))
    said = f"NamespacePatch {NAMESPACE}: for Service n/s w still gets 50 % of new connections: keep it the primary, and"
    changed = (enrolled(primary="w-b"), enrolled(weight="50"))
    yield name, step(named, *changed, applied=named[:1]), {}, f"{said} make w-b its canary first"
    own = (*served("0"), enrolled("s", patch=False, **BOTH, weight="20"))
    yield name, step(own, enrolled(primary="w"), applied=served("0")), {}, ""


PARTS = (existence, names, weights, steps, untouched, of_services)
