"""All of one Service's traffic in one hand: shares, user groups, faults, retries and timeouts in one VirtualService."""

from typing import Any, NotRequired, TypedDict

import pulumi

from . import types
from ._internal import fault_expiry, fault_upstream, objects, retry_budget, waits
from ._internal import virtual_service as http_rules
from ._internal.fault_expiry import Duration
from .canary_route import Backend, Cohort, HeaderMatch
from .chaos_rule import Abort, Delay, Inject, Retries
from .types import HeaderChanges, Mirror, Sticky

_KIND = "ServiceTraffic"
_MAX_WEIGHT = 1_000_000


class ServiceTrafficArgs(TypedDict):
    """Arguments of `ServiceTraffic`; all but the Service may be left out."""

    namespace: str
    """Where the Service, its backends and the rule are."""
    service: str
    """The Service whose traffic is managed; it must have a waypoint."""
    port: int
    """Its port, 1 to 65535."""
    backends: NotRequired[list[Backend]]
    """Where its traffic goes, by weight; the Service itself unless given."""
    cohorts: NotRequired[list[Cohort]]
    """User groups in front of the weights."""
    delay: NotRequired[Delay]
    """The delay, where there is to be one."""
    abort: NotRequired[Abort]
    """The abort, where there is to be one."""
    inject: NotRequired[Inject]
    """Where delay and abort come from: `waypoint` (the default) or `upstream`, in front of `baseline`."""
    baseline: NotRequired[str]
    """With `upstream`: the backend that fails; its share of the weights goes through the failing workload."""
    fault_headers: NotRequired[dict[str, str]]
    """Only requests with these exact headers get the fault; everything else stays as it is."""
    duration: NotRequired[Duration]
    """How long delay and abort last; until the next update unless given."""
    retries: NotRequired[Retries]
    """The retry policy, where there is to be one."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as 10s."""
    mirrors: NotRequired[list[Mirror]]
    """Services that get copies of requests."""
    request_headers: NotRequired[HeaderChanges]
    """Changes of requests' headers, after they were routed."""
    response_headers: NotRequired[HeaderChanges]
    """Changes of answers' headers."""
    sticky: NotRequired[Sticky]
    """Keeps users on one backend by a cookie."""
    source_labels: NotRequired[dict[str, str]]
    """Refused: a waypoint does not tell source workloads apart."""
    source_namespace: NotRequired[str]
    """Refused: a waypoint does not tell source namespaces apart."""
    limit_seconds: NotRequired[float]
    """How long to wait for backends, and for the Job that ends the fault, 1 to 3600; 120 unless given."""
    kubeconfig: NotRequired[str]
    """Path of the kubeconfig that the waits use; the ambient one unless given."""
    context: NotRequired[str]
    """Context in it; the current one unless given."""
    cluster_domain: NotRequired[str]
    """The cluster's DNS domain; `cluster.local` unless given."""


class ServiceTraffic(pulumi.ComponentResource):
    """One VirtualService that is the only owner of a Service's routes, so that a canary and a fault go together.

    An HTTPRoute on the same Service would hide it. Raises RunError for bad arguments. Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    """

    name: pulumi.Output[str]
    """Name of the VirtualService."""

    def __init__(self, name: str, args: ServiceTrafficArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the rule, the failing workload where faults come from upstream, and the Job that ends them."""
        namespace = objects.text(_KIND, "namespace", args["namespace"])
        service = objects.text(_KIND, "service", args["service"])
        port = objects.whole(_KIND, "port", args["port"], 1, 65535)
        inject = objects.choice(_KIND, "inject", args.get("inject", "waypoint"), Inject)
        limit = objects.number(_KIND, "limit_seconds", args.get("limit_seconds", 120), 1, 3600)
        http_rules.no_source(_KIND, args)
        fault = http_rules.fault(_KIND, args.get("delay"), args.get("abort"))
        retries, headers = args.get("retries"), args.get("fault_headers", {})
        policy = http_rules.policy(_KIND, retries, args.get("timeout"))
        budget = retry_budget.checked(_KIND, retries)
        backends = args.get("backends") or [{"name": service}]
        shares, groups = _shares(backends, port), [_group(cohort, port) for cohort in args.get("cohorts", [])]
        baseline = args.get("baseline", "")
        upstream = bool(fault) and inject is Inject.UPSTREAM
        if upstream and baseline in ("", service):
            raise objects.refuse(_KIND, "baseline", baseline, f"a Service other than {service}, with upstream")
        if upstream and "backends" in args and baseline not in [backend for backend, _, _ in shares]:
            raise objects.refuse(_KIND, "baseline", baseline, "a backend with a weight above 0: the fault hits nothing")
        duration = args.get("duration") if fault else None
        length = fault_expiry.checked(_KIND, duration, [fault, headers, inject]) if duration else None
        domain = f"{namespace}.svc.{args.get('cluster_domain', 'cluster.local')}"
        more = {
            **types.mirrors(_KIND, args.get("mirrors", []), domain, port),
            **types.headers(_KIND, args.get("request_headers"), args.get("response_headers")),
        }
        stays, alone, weighted = types.sticky(_KIND, args.get("sticky"), _route(shares, domain), domain)
        super().__init__(f"waypoint-lab:index:{_KIND}", name, {**args}, opts)
        target = waits.Target(args.get("kubeconfig", ""), args.get("context", ""))
        failing, depends = f"{name}-upstream", list[pulumi.Resource]()
        if upstream:
            depends = fault_upstream.build(self, failing, namespace, f"{baseline}.{domain}", port, fault)
        # Without backends of its own the whole Service goes to the failing workload.
        replaced = baseline if "backends" in args else service
        hosts = {f"{failing}.{domain}": f"{replaced}.{domain}"} if upstream else {}
        guard = fault_expiry.guard(self, (name, namespace, name), length, duration, hosts, target, limit)
        swap = {replaced: failing} if upstream and not guard.over else {}
        bases = [http_rules.Base(_route(to, domain), match) for match, to in groups]
        if stays:
            bases.append(http_rules.Base(alone, stays))
        bases.append(http_rules.Base(weighted, {}, _swapped(weighted, domain, swap)))
        treatment = http_rules.Treatment(
            {} if upstream or guard.over else fault,
            headers,
            policy,
            bool(retries and retries.get("writes", False)),
            more,
        )
        rules = http_rules.rules(bases, treatment)
        for host in sorted({failing} if upstream else {to for to, _, _ in shares}):
            retry_budget.build(self, f"{name}-{host}", namespace, f"{host}.{domain}", budget)
        served = sorted({to for ways in (shares, *(to for _, to in groups)) for to, _, _ in ways})
        filled = waits.hook(
            f"{name}-backends", target, waits.slices(namespace, served), waits.endpoints_problem(served), limit
        )
        before: list[Any] = [filled, *((guard.hooks.before_create if guard.hooks else None) or [])]
        virtual_service = objects.KubernetesObject(
            f"{name}-rule",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": name, "namespace": namespace, "annotations": guard.annotations},
                "spec": {"hosts": [f"{service}.{domain}"], "http": rules},
            },
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[*depends, *guard.depends],
                hooks=pulumi.ResourceHookBinding(before_create=before, before_update=before),
            ),
        )
        self.name = virtual_service.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})


Share = tuple[str, int, int]  # Service, port, weight


def _shares(backends: list[Backend], port: int) -> list[Share]:
    """Backends without those that get nothing. Raises RunError."""
    found = []
    for backend in backends:
        name = objects.text(_KIND, "name of a backend", backend["name"])
        weight = objects.whole(_KIND, f"weight of {name}", backend.get("weight", 1), 0, _MAX_WEIGHT)
        found.append((name, objects.whole(_KIND, f"port of {name}", backend.get("port", port), 1, 65535), weight))
    objects.names(_KIND, "backends", [name for name, _, _ in found])
    if not (left := [share for share in found if share[2]]):
        raise objects.refuse(_KIND, "sum of the weights", 0, "above 0: someone must answer")
    return left


def _group(cohort: Cohort, port: int) -> tuple[http_rules.Rule, list[Share]]:
    kind = objects.choice(_KIND, "match of a cohort", cohort.get("match", "Exact"), HeaderMatch)
    header = objects.text(_KIND, "header of a cohort", cohort["header"])
    value = objects.text(_KIND, "value of a cohort", cohort["value"])
    way = "exact" if kind is HeaderMatch.EXACT else "regex"
    return {"headers": {header.lower(): {way: value}}}, _shares(cohort["backends"], port)


def _route(shares: list[Share], domain: str) -> list[http_rules.Rule]:
    many = len(shares) > 1
    return [http_rules.destination(f"{to}.{domain}", port, weight if many else None) for to, port, weight in shares]


def _swapped(route: list[http_rules.Rule], domain: str, swap: dict[str, str]) -> list[http_rules.Rule]:
    """`route` with some of its Services in the place of others."""
    hosts = {f"{old}.{domain}": f"{new}.{domain}" for old, new in swap.items()}
    return [
        {**entry, "destination": {**entry["destination"], "host": hosts.get(host, host)}}
        for entry in route
        for host in [entry["destination"]["host"]]
    ]
