"""Checks of the labels and annotations that enroll, before they change."""

from collections.abc import Mapping, Sequence
from typing import Any

from . import api, enrollment, owners
from .waits import Failed, Session


def check_canary(gateway: str, enrolled: Sequence[Mapping[str, Any]]) -> None:
    """Raise RuntimeError if a new canary would get connections at once, by the weight of an earlier canary."""
    for item in enrolled:
        if left := enrollment.weight(item):
            raise Failed(
                f"waypoint {gateway} would get {left} % of the new connections before it has the Services, because "
                f"{item['metadata']['name']} still has the weight of the canary before: remove that first, by an "
                f"update without a canary"
            )


async def enrolled_objects(session: Session, places: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects that carry the labels: Services and Namespaces."""
    items: list[dict[str, Any]] = []
    for namespace, services in enrollment.grouped(places, session.namespace).items():
        names = [f"service/{service}" for service in services] or [f"namespace/{namespace}"]
        found = await session.get(*names, "--show-managed-fields", namespace=namespace)
        items += found.get("items", [found])
    return items


async def check_labels(session: Session, places: Sequence[str], wanted: Mapping[str, str], owner: str = "") -> None:
    """Raise RuntimeError if another tool, or a stack other than `owner`, has set a label to another value.

    Args:
        session: kubectl in the namespace of the waypoint.
        places: The Services and namespaces, as `enrollment.grouped` takes them.
        wanted: The labels of the waypoints that they are to get.
        owner: This stack, as `owners.of` returns it; empty: other stacks are not looked for.
    """
    found: list[str] = []

    async def check() -> str:
        found[:] = [await _conflict(session, places, wanted, owner)]
        return ""

    await session.until(check)
    if found[0]:
        raise Failed(found[0])


async def _conflict(session: Session, places: Sequence[str], wanted: Mapping[str, str], owner: str) -> str:
    """Return a line on a label that another tool or stack has set; empty where there is none, or none can be read."""
    try:
        items = await enrolled_objects(session, places)
    except RuntimeError as error:
        if api.absent(error):
            return ""  # the write of the labels reports the error
        raise
    if why := enrollment.conflict(items, wanted, session.namespace):
        return why
    for item in items if owner else []:
        now, meta = enrollment.every_label(item), item["metadata"]
        for label in sorted(enrollment.HOMES.keys() & wanted.keys()):
            value, space = now.get(label, "none"), now.get(enrollment.HOMES[label])
            there, mine = (space or meta.get("namespace", meta["name"]), value), (session.namespace, wanted[label])
            other = "" if value == "none" or there == mine else await _owner(session, *there)
            if other not in ("", owner):
                return (
                    f"{item['kind'].lower()} {meta['name']} has the label {label} for {'/'.join(there)} of stack "
                    f"{other}, and this waypoint is {'/'.join(mine)}; remove it from that stack first"
                )
    return ""


async def _owner(session: Session, namespace: str, gateway: str) -> str:
    """Return the stack that has a Gateway; empty where it names none, or cannot be read."""
    try:
        return owners.of(await session.get("gateways.gateway.networking.k8s.io", gateway, namespace=namespace))
    except RuntimeError as error:
        if api.absent(error):
            return ""
        raise


async def with_own_label(session: Session, places: Sequence[str], gateway: str) -> list[str]:
    """Return the Services, as `NAMESPACE/NAME`, that name a waypoint by a label of their own.

    They do not follow their namespace: no canary of it gets their connections, and they lose a waypoint that leaves.
    Services that are enrolled by name are left out.
    """
    found = []
    for namespace, services in enrollment.grouped(places, session.namespace).items():
        if not services:
            items = (await session.get("services", namespace=namespace))["items"]
            own = [
                item["metadata"]["name"] for item in items if enrollment.labels(item).get(enrollment.PRIMARY) == gateway
            ]
            found += [f"{namespace}/{name}" for name in own]
    return found


def own_label_line(services: Sequence[str]) -> str:
    """Return the end of a line on Services with a label of their own: their names, and the fix for the first."""
    namespace, _, name = services[0].partition("/")
    return (
        f"{', '.join(services)}, by a label {enrollment.PRIMARY} of the Service's own; remove it: "
        f"kubectl label service {name} --namespace {namespace} {enrollment.PRIMARY}-"
    )
