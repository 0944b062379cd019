"""One owner of a Service's routes: other HTTPRoutes and VirtualServices of the Service are refused before a write.

Source: istiod, getVirtualServiceForWaypoint: the rules of all owners follow each other, those of HTTPRoutes first and
of one kind those of the oldest; a rule without conditions hides all that follow it.
"""

import asyncio
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import pulumi
from pulumi.runtime.settings import get_monitor

from . import objects
from .api import ApiReadError
from .traffic import Traffic
from .waits import Access, Failed, Session, plain

OWNER = "waypoint-lab/owner"
_VERSIONS = {"HTTPRoute": "gateway.networking.k8s.io/v1", "VirtualService": "networking.istio.io/v1"}
KINDS = (*_VERSIONS,)
_ANY = 0  # port: a route of all ports of a Service
# Components of each run of a program by namespace, Service and port.
_claims: "weakref.WeakKeyDictionary[Any, dict[tuple[str, str, int], str]]" = weakref.WeakKeyDictionary()


def claim(name: str, traffic: Traffic) -> Traffic:
    """Claim the port of a Service for a component of the program.

    Args:
        name: Name of the component.
        traffic: Declared traffic.

    Returns:
        The traffic to register. Where a name is an output, so is the check: the name fails where the claim does, and
        with it all resources that contain the name.

    Raises:
        pulumi.RunError: Another component routes the same port.
    """
    run = get_monitor()
    if run is None:
        return traffic
    mine = f"{traffic.component} {name}"

    def check(names: Sequence[str]) -> None:
        namespace, service = names
        first = _claims.setdefault(run, {}).setdefault((namespace, service, traffic.port), mine)
        if first != mine:
            want = f"one whose port {traffic.port} {first} does not route as well; use one ServiceTraffic for both"
            raise objects.refuse(traffic.component, "service", service, want)

    names = (traffic.namespace, traffic.service)
    if all(isinstance(each, str) for each in names):
        check([str(each) for each in names])
        return traffic

    def checked(known: Sequence[str], position: int) -> str:
        check(known)
        return known[position]

    # The name that is an output already: the other one stays known in a preview.
    if isinstance(traffic.service, pulumi.Output):
        return replace(traffic, service=pulumi.Output.all(*names).apply(lambda known: checked(known, 1)))
    return replace(traffic, namespace=pulumi.Output.all(*names).apply(lambda known: checked(known, 0)))


def annotation() -> dict[str, str]:
    """Return the annotation of a route that names its stack."""
    return {OWNER: f"{pulumi.get_project()}/{pulumi.get_stack()}"}


async def check(session: Session, document: Mapping[str, Any], *, create: bool) -> str:
    """Check that no other stack or tool routes a Service of a route or rule.

    Args:
        session: kubectl in the namespace of the document.
        document: The object that is to be written.
        create: The object is new, so that one of its name is another owner's.

    Returns:
        Nothing, as an empty text.

    Raises:
        Failed: There is another owner; the message names it.
        RuntimeError: kubectl failed.
    """
    space, own = session.namespace, document["metadata"]
    mine = (own.get("annotations") or {}).get(OWNER)
    bound = [*bound_ports(document, space)]
    for item in await _routes(session):
        meta = item["metadata"]
        if meta.get("deletionTimestamp") or (mine and (meta.get("annotations") or {}).get(OWNER) == mine):
            continue
        what = f"{item['kind']} {space}/{meta['name']}"
        if (item["kind"], meta["name"]) == (document["kind"], own["name"]):
            if create:
                raise Failed("it exists already, and is not of this stack; delete it, or choose another name")
            continue
        for service, port in bound_ports(item, space):
            for name, at in bound:
                if service in (name, "*") and port in (at, _ANY):
                    text = f"{what} routes Service {space}/{name}, too, and only one of both would have an effect"
                    raise Failed(f"{text}; delete it, or leave the Service to it")
    return ""


def hook(name: str, cluster: Access, limit: float, document: Mapping[str, Any]) -> pulumi.ResourceHookBinding:
    """Return a hook for before the creation of the first resources that belong to a rule, which is written last."""

    async def before(_args: pulumi.ResourceHookArgs) -> None:
        rule = await plain(document)
        space = rule["metadata"]["namespace"]
        session = Session(cluster, space, limit, where=f"{rule['kind']} {space}/{rule['metadata']['name']}")
        await session.until(lambda: check(session, rule, create=True))

    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}-owners", before)])


async def _routes(session: Session) -> list[dict[str, Any]]:
    """Return the routes and rules of the namespace; none of a kind that the cluster lacks, or the user may not read."""
    found: list[dict[str, Any]] = []
    for kind, answer in zip(KINDS, await asyncio.gather(*(_list(session, kind) for kind in KINDS)), strict=True):
        version = answer.get("apiVersion")
        found += [{"apiVersion": version, "kind": kind, **item} for item in answer.get("items") or []]
    return found


async def _list(session: Session, kind: str) -> dict[str, Any]:
    try:
        return await session.read(f"/apis/{_VERSIONS[kind]}/namespaces/{session.namespace}/{kind.lower()}s")
    except ApiReadError as error:
        if error.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            return {}
        raise


def bound_ports(document: Mapping[str, Any], space: str) -> Iterator[tuple[str, int]]:
    """Yield name and port of each Service of the namespace that an object routes.

    Name `*` is every Service, and port 0 every port.
    """
    spec = document["spec"]
    if document["kind"] == "HTTPRoute":
        for ref in spec.get("parentRefs") or []:
            if ref.get("kind") == "Service" and ref.get("namespace", space) == space:
                yield str(ref["name"]), int(ref.get("port") or _ANY)
    elif "mesh" in (spec.get("gateways") or ["mesh"]):
        rules = spec.get("http") or []
        ports = {int(match.get("port") or _ANY) for rule in rules for match in rule.get("match") or [{}]}
        for host in spec.get("hosts") or []:
            name, _, rest = str(host).partition(".")
            if not rest or rest.split(".")[0] == space:
                yield from ((name, port) for port in ports)
