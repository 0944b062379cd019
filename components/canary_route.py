"""Shares of a Service's traffic by weight and by header."""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from ._internal import http_route, objects, waits
from .types import HeaderChanges, Mirror, Sticky

_READY = 'jsonpath={.status.parents[0].conditions[?(@.type=="%s")].status}=True'
_MAX_WEIGHT = 1_000_000  # Source: Gateway API, BackendRef.weight
_MAX_RULES = 16  # Source: Gateway API, HTTPRouteSpec.rules


class HeaderMatch(StrEnum):
    """How a cohort's header value is compared."""

    EXACT = "Exact"
    """All of it, letter by letter."""
    REGEX = "RegularExpression"
    """A regular expression (RE2) for all of it."""


class Backend(TypedDict):
    """A Service that takes a share of the traffic."""

    name: str
    """Name of the Service, in the route's namespace."""
    weight: NotRequired[int]
    """Its part of the sum of all weights; 1 unless given. 0 takes it out."""
    port: NotRequired[int]
    """Its port; the route's own unless given."""


class Cohort(TypedDict):
    """A user group, told by a header, with backends of its own; cohorts come before all other traffic, in order."""

    header: str
    """Name of the header."""
    value: str
    """Its value, or a regular expression for all of it."""
    match: NotRequired[HeaderMatch]
    """How the value is compared: `Exact` (the default) or `RegularExpression`."""
    backends: list[Backend]
    """Where the group goes."""


class CanaryRouteArgs(TypedDict):
    """Arguments of `CanaryRoute`: either `backends`, or `baseline` with `canary` and `weight`."""

    namespace: str
    """Where the Service, its backends and the route are."""
    service: str
    """The Service whose traffic is routed; it must have a waypoint."""
    port: int
    """The Service's port, 1 to 65535."""
    backends: NotRequired[list[Backend]]
    """Any number of backends."""
    baseline: NotRequired[str]
    """The Service that gets what the canary does not."""
    canary: NotRequired[str]
    """The Service that gets `weight` percent."""
    weight: NotRequired[int]
    """Whole percent of the canary, 0 to 100."""
    cohorts: NotRequired[list[Cohort]]
    """User groups in front of the weights."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as 10s."""
    try_timeout: NotRequired[str]
    """Limit of each try at a backend, such as 500ms."""
    mirrors: NotRequired[list[Mirror]]
    """Services that get copies of requests."""
    request_headers: NotRequired[HeaderChanges]
    """Changes of requests' headers, after they were routed."""
    response_headers: NotRequired[HeaderChanges]
    """Changes of answers' headers."""
    sticky: NotRequired[Sticky]
    """Keeps users on one of the weighted backends by a cookie."""
    limit_seconds: NotRequired[float]
    """How long to wait until the route is served, 1 to 3600; 60 unless given."""
    kubeconfig: NotRequired[str]
    """Path of the kubeconfig that the wait uses; the ambient one unless given."""
    context: NotRequired[str]
    """Context in it; the current one unless given."""


class CanaryRoute(pulumi.ComponentResource):
    """An HTTPRoute with a Service as its parent; sends nothing to a backend without ready Pods.

    Waits until the generation just written is accepted and resolved. Raises RunError for bad arguments. Source: https://gateway-api.sigs.k8s.io/mesh/
    """

    name: pulumi.Output[str]
    """Name of the HTTPRoute."""

    def __init__(self, name: str, args: CanaryRouteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the route."""
        namespace = objects.text("CanaryRoute", "namespace", args["namespace"])
        service = objects.text("CanaryRoute", "service", args["service"])
        port = objects.whole("CanaryRoute", "port", args["port"], 1, 65535)
        limit = objects.number("CanaryRoute", "limit_seconds", args.get("limit_seconds", 60), 1, 3600)
        rules = [_cohort(cohort, port) for cohort in args.get("cohorts", [])]
        rules.append({"backendRefs": _refs(_weighted(args), port)})
        rules = http_route.applied("CanaryRoute", rules, args, port)
        if len(rules) > _MAX_RULES:
            raise objects.refuse("CanaryRoute", "number of cohorts", len(rules) - 1, f"at most {_MAX_RULES - 1}")
        target = waits.target("CanaryRoute", args)
        super().__init__("waypoint-lab:index:CanaryRoute", name, {**args}, opts)
        backends = sorted({str(ref["name"]) for rule in rules for ref in rule["backendRefs"]})
        filled = waits.hook(
            f"{name}-backends",
            target,
            waits.slices(namespace, backends),
            waits.endpoints_problem(backends),
            limit,
        )
        served = waits.hook(
            f"{name}-served", target, waits.one("httproute", namespace, name), waits.route_problem, limit
        )
        route = objects.KubernetesObject(
            f"{name}-route",
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    # The hook looks at the generation too, but is not asked again by an up that changes nothing;
                    # what the provider has waited for in vain, it waits for again.
                    "annotations": objects.wait_for(_READY % "Accepted", _READY % "ResolvedRefs"),
                },
                "spec": {
                    "parentRefs": [{"group": "", "kind": "Service", "name": service, "port": port}],
                    "rules": rules,
                },
            },
            pulumi.ResourceOptions(
                parent=self,
                hooks=pulumi.ResourceHookBinding(
                    before_create=[filled], before_update=[filled], after_create=[served], after_update=[served]
                ),
            ),
        )
        self.name = route.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})


def _weighted(args: CanaryRouteArgs) -> list[Backend]:
    short = [field for field in ("baseline", "canary", "weight") if field in args]
    if "backends" in args:
        if short:
            raise objects.refuse("CanaryRoute", "backends", "given", f"left out where {short[0]} is given")
        return args["backends"]
    if len(short) < 3:
        raise objects.refuse("CanaryRoute", "backends", None, "given, or else baseline, canary and weight all three")
    weight = objects.whole("CanaryRoute", "weight", args["weight"], 0, 100)
    return [{"name": args["baseline"], "weight": 100 - weight}, {"name": args["canary"], "weight": weight}]


def _refs(backends: list[Backend], port: int) -> list[dict[str, Any]]:
    """Backends without those that get nothing: one of weight 0 must still resolve, and would hold the route up."""
    refs = []
    for backend in backends:
        weight = objects.whole("CanaryRoute", f"weight of {backend['name']}", backend.get("weight", 1), 0, _MAX_WEIGHT)
        name = objects.text("CanaryRoute", "name of a backend", backend["name"])
        to = objects.whole("CanaryRoute", f"port of {name}", backend.get("port", port), 1, 65535)
        refs.append({"group": "", "kind": "Service", "name": name, "port": to, "weight": weight})
    objects.names("CanaryRoute", "backends", [str(ref["name"]) for ref in refs])
    if not (left := [ref for ref in refs if ref["weight"]]):
        raise objects.refuse("CanaryRoute", "sum of the weights", 0, "above 0: someone must answer")
    return left


def _cohort(cohort: Cohort, port: int) -> dict[str, Any]:
    kind = objects.choice("CanaryRoute", "match of a cohort", cohort.get("match", "Exact"), HeaderMatch)
    header = {
        "type": str(kind),
        "name": objects.text("CanaryRoute", "header of a cohort", cohort["header"]),
        "value": objects.text("CanaryRoute", "value of a cohort", cohort["value"]),
    }
    return {"matches": [{"headers": [header]}], "backendRefs": _refs(cohort["backends"], port)}
