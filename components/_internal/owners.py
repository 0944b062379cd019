"""One owner of each object, and of a Service's routes: what another stack or tool has is refused before a write.

Source: istiod, getVirtualServiceForWaypoint: the rules of all owners, in the Service's namespace and the waypoint's,
follow each other, those of HTTPRoutes and GRPCRoutes first and of one kind those of the oldest; a rule without
conditions hides all that follow it.
"""

import asyncio
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any

import pulumi
from pulumi.runtime.settings import get_monitor

from . import objects
from .traffic import Traffic
from .waits import Access, Failed, Session, plain

OWNER = "waypoint-lab/owner"
EXISTS = "it exists already, and is not of this stack"
TAKEN = f"{EXISTS}; delete it, or choose another name"
_VERSIONS = {
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "GRPCRoute": "gateway.networking.k8s.io/v1",
    "VirtualService": "networking.istio.io/v1",
}
KINDS = (*_VERSIONS,)
_ANY = 0  # port: a route of all ports of a Service
# Components of each run of a program by what they claim.
_claims: "weakref.WeakKeyDictionary[Any, dict[Any, dict[Any, str]]]" = weakref.WeakKeyDictionary()
# The component host, which gets a new monitor for each component of a program.
HOST: ContextVar[Any] = ContextVar("host", default=None)


def once(
    value: pulumi.Input[str],
    mine: str,
    claimed: Sequence[pulumi.Input[str]],
    refusal: Callable[[Sequence[str], str], pulumi.RunError],
) -> pulumi.Input[str]:
    """Claim something for a component of the program.

    Args:
        value: A value of the resources that are refused with the claim.
        mine: Kind and name of the component.
        claimed: Names of what it claims, and kubeconfig and context of its cluster.
        refusal: Returns the error for `claimed`, and for the component that has it.

    Returns:
        The value. Where a part of `claimed` is an output, so is the check: the value fails with it.

    Raises:
        pulumi.RunError: Another component has claimed the same.
    """
    run = HOST.get() or get_monitor()
    if run is None:
        return value

    def check(known: Sequence[str]) -> None:
        *what, kubeconfig, context = known
        here, clusters = (kubeconfig, context), _claims.setdefault(run, {}).setdefault((*what,), {})
        for there, first in clusters.items():
            # A component that names no cluster may have any of them.
            if first != mine and (there == here or not any(there) or not any(here)):
                raise refusal(known, first)
        clusters[here] = mine

    if all(isinstance(each, str) for each in claimed):
        check([str(each) for each in claimed])
        return value
    # Nothing of `claimed` is in the result: a secret kubeconfig makes no secret of the value.
    checked = pulumi.Output.unsecret(pulumi.Output.all(*claimed).apply(check))
    return pulumi.Output.all(value, checked).apply(lambda known: str(known[0]))


def claim(name: str, traffic: Traffic, cluster: Access) -> Traffic:
    """Claim the port of a Service for a component of the program.

    Args:
        name: Name of the component.
        traffic: Declared traffic.
        cluster: Its cluster.

    Returns:
        The traffic to register, in which a name fails where the claim does.

    Raises:
        pulumi.RunError: Another component routes the same port.
    """

    def refusal(known: Sequence[str], first: str) -> pulumi.RunError:
        want = f"one whose port {traffic.port} {first} does not route as well; use one ServiceTraffic for both"
        return objects.refuse(traffic.component, "service", known[1], want)

    # The name that is an output already: the other one stays known in a preview.
    outputs = [isinstance(each, pulumi.Output) for each in (traffic.namespace, traffic.service)]
    field = "namespace" if outputs == [True, False] else "service"
    claimed = [traffic.namespace, traffic.service, str(traffic.port), *cluster]
    checked = once(getattr(traffic, field), f"{traffic.component} {name}", claimed, refusal)
    return replace(traffic, **{field: checked})  # type: ignore[arg-type]


def annotation() -> dict[str, str]:
    """Return the annotation of an object that names its stack."""
    return {OWNER: f"{pulumi.get_project()}/{pulumi.get_stack()}"}


def of(item: Mapping[str, Any]) -> str:
    """Return the stack that an object's annotation names; empty without one."""
    return str((item["metadata"].get("annotations") or {}).get(OWNER) or "")


def path(document: Mapping[str, Any]) -> str:
    """Return the path in the API of an object whose kind has a regular plural."""
    kind, meta, version = document["kind"].lower(), document["metadata"], document["apiVersion"]
    plural = f"{kind[:-1]}ies" if kind.endswith(("cy", "ry")) else f"{kind}s"
    root = "apis" if "/" in version else "api"
    space = f"namespaces/{meta['namespace']}/" if "namespace" in meta else ""
    return f"/{root}/{version}/{space}{plural}/{meta['name']}"


async def untaken(session: Session, document: Mapping[str, Any], refusal: str = TAKEN) -> str:
    """Check that an object to create does not exist, or is of this stack: the provider would take it over.

    Args:
        session: kubectl in the namespace of the document.
        document: The object that is to be created.
        refusal: The error if another owner has it.

    Returns:
        Nothing, as an empty text.

    Raises:
        Failed: Another owner has it.
        RuntimeError: kubectl failed.
    """
    found = await session.optional(path(document), HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
    if found and not found["metadata"].get("deletionTimestamp") and of(found) != of(document):
        raise Failed(refusal)
    return ""


async def check(session: Session, document: Mapping[str, Any], *, create: bool, homes: Iterable[str] = ()) -> str:
    """Check that no other stack or tool routes a Service of a route or rule.

    Args:
        session: kubectl in the namespace of the document.
        document: The object that is to be written.
        create: The object is new, so that one of its name is another owner's.
        homes: Other namespaces, of the waypoints that serve the document.

    Returns:
        Nothing, as an empty text.

    Raises:
        Failed: There is another owner; the message names it.
        RuntimeError: kubectl failed.
    """
    space, own = session.namespace, document["metadata"]
    mine = of(document)
    domain = next(iter(document["spec"].get("hosts") or [""])).partition(".svc.")[2] or "cluster.local"
    bound = [*bound_ports(document, space)]
    for item in await _routes(session, [space, *homes]):
        meta = item["metadata"]
        if meta.get("deletionTimestamp") or (mine and of(item) == mine):
            continue
        what = f"{item['kind']} {meta['namespace']}/{meta['name']}"
        if (item["kind"], meta["namespace"], meta["name"]) == (document["kind"], space, own["name"]):
            if create:
                raise Failed(TAKEN)
            continue
        for service, port in bound_ports(item, space, domain):
            for name, at in bound:
                if fnmatchcase(name, service) and port in (at, _ANY):
                    text = f"{what} routes Service {space}/{name}, too, and only one of both would have an effect"
                    raise Failed(f"{text}; delete it, or leave the Service to it")
    return ""


def hook(name: str, cluster: Access, limit: float, document: Mapping[str, Any]) -> pulumi.ResourceHookBinding:
    """Return a hook for before the creation of the first resources that belong to a rule, which is written last."""

    async def before(_args: pulumi.ResourceHookArgs) -> None:
        rule = await plain(document)
        session = Session.of(cluster, rule, limit)
        await session.until(lambda: check(session, rule, create=True))

    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}-owners", before)])


def untaken_hook(name: str, cluster: Access, limit: float, refusal: str = TAKEN) -> pulumi.ResourceHook:
    """Return a hook for before the creation of an object, which is refused where another owner has it."""

    async def before(args: pulumi.ResourceHookArgs) -> None:
        document = await plain(args.new_inputs)
        session = Session.of(cluster, document, limit)
        await session.until(lambda: untaken(session, document, refusal))

    return pulumi.ResourceHook(name, before)


async def _routes(session: Session, spaces: Sequence[str]) -> list[dict[str, Any]]:
    """Return the routes and rules of namespaces; none of a kind that the cluster lacks, or the user may not read."""

    async def listed(kind: str, space: str) -> list[dict[str, Any]]:
        every = f"/apis/{_VERSIONS[kind]}/namespaces/{space}/{kind.lower()}s"
        answer = await session.optional(every, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) or {}
        return [{"kind": kind, **item} for item in answer.get("items") or []]

    lists = await asyncio.gather(*(listed(kind, space) for space in spaces for kind in KINDS))
    return [item for items in lists for item in items]


def bound_ports(document: Mapping[str, Any], space: str, domain: str = "cluster.local") -> Iterator[tuple[str, int]]:
    """Yield name and port of each Service of the namespace `space` that an object routes.

    A name may begin with `*`, for every Service with its rest, and port 0 is every port.
    """
    spec, home = document["spec"], document["metadata"].get("namespace", space)
    if document["kind"] in ("HTTPRoute", "GRPCRoute"):
        for ref in spec.get("parentRefs") or []:
            if ref.get("kind") == "Service" and ref.get("namespace", home) == space:
                yield str(ref["name"]), int(ref.get("port") or _ANY)
    elif "mesh" in (spec.get("gateways") or ["mesh"]):
        rules = spec.get("http") or []
        ports = {int(match.get("port") or _ANY) for rule in rules for match in rule.get("match") or [{}]}
        for host in spec.get("hosts") or []:
            if name := _service(str(host), home, space, domain):
                yield from ((name, port) for port in ports)


def _service(host: str, home: str, space: str, domain: str) -> str:
    """Return the Service of the namespace `space`, or the wildcard, for a host of a rule in `home`; empty if none."""
    name, _, rest = host.partition(".")
    if not host.startswith("*"):
        return name if (rest.split(".")[0] or home) == space else ""
    end, every = host[1:], f".{space}.svc.{domain}"
    if every.endswith(end):
        return "*"
    return f"*{end.removesuffix(every)}" if end.endswith(every) else ""
