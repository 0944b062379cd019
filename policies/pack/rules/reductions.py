"""Rule on changes that take away much at once: backends, subsets, or the Pods that a selector matches."""

from collections.abc import Iterator, Mapping

from ..fields import Fields, fields, items, number, text
from ..mesh import service_of
from ..resources import ClusterSnapshot, Parameters, Resource, Violations
from .routes import rules_of

ANNOTATION = "waypoint-lab/large-reduction"
_ENDED = ("Succeeded", "Failed")


def large_reduction(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that no count falls by more than `maxPercent` against the live object, unless the annotation declares it.

    Counts are the backends of an HTTPRoute or VirtualService that get requests, the subsets of a DestinationRule, and
    the live Pods that a Service's selector, or a subset of the same name, matches.
    """
    for item in snapshot.own("HTTPRoute", "VirtualService", "DestinationRule", "Service"):
        live = _live(snapshot, item)
        if live is None or item.patch:
            continue
        declared = {part.strip() for part in text(item.annotations, ANNOTATION).split(",")}
        for what, title, before, now in _counts(snapshot, item, live):
            if before and 100 * (before - now) > parameters["maxPercent"] * before and f"{what}={now}" not in declared:
                yield item, f"{title} fall from {before} to {now} without the annotation {ANNOTATION}: {what}={now}"


def pod_namespaces(snapshot: ClusterSnapshot) -> set[str]:
    """Return the namespaces whose Pods the rule counts: those of selectors that change."""
    found = set()
    for item in snapshot.own("Service", "DestinationRule"):
        live = _live(snapshot, item)
        if live is None or item.patch:
            continue
        if item.base == "Service" and _selector(item.spec) != _selector(live.spec):
            found.add(item.namespace)
        elif item.base == "DestinationRule" and _labels(item) != _labels(live):
            service = service_of(text(item.spec, "host"), item.namespace)
            found |= {service[0]} if service else set()
    return found


def _live(snapshot: ClusterSnapshot, item: Resource) -> Resource | None:
    return next((other for other in snapshot.live if other.key == item.key), None)


def _counts(snapshot: ClusterSnapshot, item: Resource, live: Resource) -> Iterator[tuple[str, str, int, int]]:
    """Yield the counts: name in the annotation, name in messages, live and new value."""
    if item.base == "Service":
        before, now = (_pods(snapshot, item.namespace, _selector(one.spec)) for one in (live, item))
        yield "pods", "the Pods that its selector matches", before, now
    elif item.base == "DestinationRule":
        yield from _subset_counts(snapshot, item, _labels(live), _labels(item))
    else:
        yield "backends", "its backends", len(_backends(live)), len(_backends(item))


def _subset_counts(
    snapshot: ClusterSnapshot, item: Resource, before: Mapping[str, Fields], now: Mapping[str, Fields]
) -> Iterator[tuple[str, str, int, int]]:
    yield "subsets", "its subsets", len(before), len(now)
    if service := service_of(text(item.spec, "host"), item.namespace):
        selector = _selector(snapshot.spec("Service", *service))
        for name in sorted(before.keys() & now.keys()):
            old, new = (_pods(snapshot, service[0], {**selector, **labels[name]}) for labels in (before, now))
            yield "pods", f"the Pods of subset {name}", old, new


def _selector(spec: Fields) -> dict[str, str]:
    return dict(fields(spec, "selector"))


def _labels(rule: Resource) -> dict[str, Fields]:
    """Return the labels of each subset."""
    return {text(subset, "name"): dict(fields(subset, "labels")) for subset in items(rule.spec, "subsets")}


def _pods(snapshot: ClusterSnapshot, namespace: str, selector: Mapping[str, str]) -> int:
    """Return the number of Pods that a selector matches; an empty one matches none."""
    return sum(
        pod.namespace == namespace
        and text(pod.properties, "status", "phase") not in _ENDED
        and all(pod.labels.get(name) == value for name, value in selector.items())
        for pod in (snapshot.all("Pod") if selector else ())
    )


def _backends(route: Resource) -> set[tuple[str, ...]]:
    """Return the backends that get requests."""
    found: set[tuple[str, ...]] = set()
    for rule in rules_of(route):
        if route.base == "HTTPRoute":
            for ref in items(rule, "backendRefs"):
                if number(ref, "weight", default=1) > 0:
                    found.add((text(ref, "namespace", default=route.namespace), text(ref, "name")))
            continue
        entries = items(rule, "route")
        for entry in entries:
            if number(entry, "weight", default=0 if len(entries) > 1 else 1) > 0:
                found.add((text(entry, "destination", "host"), text(entry, "destination", "subset")))
    return found
