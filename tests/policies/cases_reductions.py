"""Cases of the rule on large reductions."""

from collections.abc import Iterator
from typing import Any

from policies.pack.resources import Resource
from tests.policies.builders import Case, route, rule, snapshot, thing, virtual_service

ANNOTATION = "waypoint-lab/large-reduction"
NAME = "large-reduction"


def pods(count: int, phase: str = "Running", **labels: str) -> tuple[Resource, ...]:
    """Pods with these labels."""
    spec = {"metadata": {"namespace": "n", "labels": labels}, "status": {"phase": phase}}
    return tuple(Resource("Pod", spec) for _ in range(count))


def selecting(kind: str = "Service", notes: str = "", **labels: str) -> Resource:
    """A Service with this selector."""
    return thing(kind, "reviews", {"selector": labels}, annotations={ANNOTATION: notes} if notes else {})


def subsets(notes: str = "", **labels: dict[str, str]) -> Resource:
    """A DestinationRule with these subsets."""
    listed = [{"name": name, "labels": given} for name, given in labels.items()]
    metadata: dict[str, Any] = {"annotations": {ANNOTATION: notes}} if notes else {}
    return thing("DestinationRule", "d", {"host": "reviews", "subsets": listed}, **metadata)


def wide(*weights: int) -> Resource:
    """An HTTPRoute with four backends."""
    return route(rule(*weights, names=("s0", "s1", "s2", "s3")))


def to(*hosts: str) -> dict[str, Any]:
    """A rule of a VirtualService to these hosts, with equal weights where there are several."""
    weight = {"weight": 100 // len(hosts)} if len(hosts) > 1 else {}
    return {"route": [{"destination": {"host": host}, **weight} for host in hosts]}


def routes() -> Iterator[Case]:
    live = wide(25, 25, 25, 25)
    text = f"its backends fall from 4 to 1 without the annotation {ANNOTATION}: backends=1"
    yield NAME, snapshot(wide(100), live=(live,)), {}, f"HTTPRoute n/r: {text}"
    yield NAME, snapshot(wide(100, 0, 0, 0), live=(live,)), {}, f"HTTPRoute n/r: {text}"
    yield NAME, snapshot(wide(100), live=(virtual_service(), live)), {}, f"HTTPRoute n/r: {text}"
    yield NAME, snapshot(wide(50, 50), live=(live,)), {}, ""
    yield NAME, snapshot(wide(100), live=(wide(40, 30, 30),)), {}, ""
    yield NAME, snapshot(wide(100), live=(live,)), {"maxPercent": 80}, ""
    yield NAME, snapshot(wide(100)), {}, ""
    rules = virtual_service("reviews", to("a", "b", "c", "d"))
    line = f"VirtualService n/v: {text}"
    yield NAME, snapshot(virtual_service("reviews", to("a")), live=(rules,)), {}, line
    first = {
        "route": [{"destination": {"host": "a"}, "weight": 100}, *({"destination": {"host": host}} for host in "bcd")]
    }
    yield NAME, snapshot(virtual_service("reviews", first), live=(rules,)), {}, line  # no weight is 0 beside others
    noted = virtual_service("reviews", to("a"), annotations={ANNOTATION: "backends=1"})
    yield NAME, snapshot(noted, live=(rules,)), {}, ""
    other = virtual_service("reviews", to("a"), annotations={ANNOTATION: "backends=2"})
    yield NAME, snapshot(other, live=(rules,)), {}, line


def selectors() -> Iterator[Case]:
    elsewhere = Resource("Pod", {"metadata": {"namespace": "m", "labels": {"app": "typo"}}})
    there = (*pods(4, app="reviews"), *pods(9, "Succeeded", app="typo"), elsewhere)
    live = (selecting(app="reviews"), *there)
    text = f"the Pods that its selector matches fall from 4 to 0 without the annotation {ANNOTATION}: pods=0"
    yield NAME, snapshot(selecting(app="typo"), live=live), {}, f"Service n/reviews: {text}"
    yield NAME, snapshot(selecting(), live=live), {}, f"Service n/reviews: {text}"  # without a selector it has no Pods
    yield NAME, snapshot(selecting(notes="pods=0, subsets=1", app="typo"), live=live), {}, ""
    yield NAME, snapshot(selecting(app="reviews"), live=live), {}, ""
    yield NAME, snapshot(selecting("ServicePatch", app="typo"), live=live), {}, ""
    yield NAME, snapshot(selecting(), live=(selecting(), *there)), {}, ""


def destination_rules() -> Iterator[Case]:
    four = subsets(**{f"v{number}": {"version": f"v{number}"} for number in range(4)})
    one = subsets(v0={"version": "v0"})
    text = f"its subsets fall from 4 to 1 without the annotation {ANNOTATION}: subsets=1"
    yield NAME, snapshot(one, live=(four,)), {}, f"DestinationRule n/d: {text}"
    yield NAME, snapshot(subsets("subsets=1", v0={"version": "v0"}), live=(four,)), {}, ""
    before, after = (
        thing(
            "DestinationRule", "d", {"host": "api.example.com", "subsets": [{"name": f"v{at}"} for at in range(count)]}
        )
        for count in (4, 1)
    )
    yield NAME, snapshot(after, live=(before,)), {}, f"DestinationRule n/d: {text}"
    wrong = subsets(v0={"version": "v9"})
    live = (one, selecting(app="reviews"), *pods(3, app="reviews", version="v0"), *pods(3, app="x", version="v9"))
    text = f"the Pods of subset v0 fall from 3 to 0 without the annotation {ANNOTATION}: pods=0"
    yield NAME, snapshot(wrong, live=live), {}, f"DestinationRule n/d: {text}"
    yield NAME, snapshot(one, live=live), {}, ""


PARTS = (routes, selectors, destination_rules)
