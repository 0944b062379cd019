"""Faults, retries and timeouts of one Service's traffic, for everyone or for one user group."""

from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi

from ._internal import fault_expiry, fault_upstream, objects, retry_budget, waits
from ._internal import virtual_service as http_rules
from ._internal.fault_expiry import Duration


class Inject(StrEnum):
    """Where faults come from: the waypoint's own filter, or a workload behind it that really fails."""

    WAYPOINT = "waypoint"
    """The waypoint's fault filter, which retries do not see."""
    UPSTREAM = "upstream"
    """A workload behind the waypoint, whose failures are retried as any other's."""


class Delay(TypedDict):
    """A fixed delay before a request goes on."""

    seconds: float
    """Its length, 0.001 to 3600 seconds."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100; all unless given."""


class Abort(TypedDict):
    """An answer without the Service."""

    status: int
    """HTTP status, 200 to 599."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100; all unless given."""


class Retries(TypedDict):
    """A retry policy. Retries undo no abort that the waypoint injects: its fault filter answers before the router."""

    attempts: int
    """Retries after the first try, 0 to 100."""
    per_try_timeout: NotRequired[str]
    """Limit of each try, such as 500ms."""
    backoff: NotRequired[str]
    """Base interval between tries, doubled from try to try, with jitter; 25ms unless given."""
    retry_on: NotRequired[str]
    """Envoy's retry conditions, with commas between them; 5xx unless given."""
    writes: NotRequired[bool]
    """Retry requests of other methods than GET, HEAD and OPTIONS too: what they do may then be done twice."""
    budget_percent: NotRequired[float]
    """Retries at one moment, as a share of the requests under way, 0 to 100; Envoy's own limit of 3 unless given."""
    budget_minimum: NotRequired[int]
    """Retries at one moment that the budget always allows, 0 to 1000; 3 unless given."""


class ChaosRuleArgs(TypedDict):
    """Arguments of `ChaosRule`."""

    namespace: str
    """Where the Service and the rule are."""
    service: str
    """The Service whose traffic is touched; it must have a waypoint."""
    port: int
    """Its port, 1 to 65535."""
    baseline: NotRequired[str]
    """The Service that `upstream` puts its failures in front of; must not be `service` itself."""
    inject: NotRequired[Inject]
    """Where delay and abort come from: `waypoint` (the default) or `upstream`."""
    delay: NotRequired[Delay]
    """The delay, where there is to be one."""
    abort: NotRequired[Abort]
    """The abort, where there is to be one."""
    retries: NotRequired[Retries]
    """The retry policy, where there is to be one."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as 10s."""
    headers: NotRequired[dict[str, str]]
    """Only requests with these exact headers are touched; all others go straight to the Service."""
    duration: NotRequired[Duration]
    """How long delay and abort last; until the next update unless given."""
    source_labels: NotRequired[dict[str, str]]
    """Refused: a waypoint does not tell source workloads apart."""
    source_namespace: NotRequired[str]
    """Refused: a waypoint does not tell source namespaces apart."""
    limit_seconds: NotRequired[float]
    """How long to wait for the Job that ends the fault, 1 to 3600; 120 unless given."""
    kubeconfig: NotRequired[str]
    """Path of the kubeconfig that the wait uses; the ambient one unless given."""
    context: NotRequired[str]
    """Context in it; the current one unless given."""
    cluster_domain: NotRequired[str]
    """The cluster's DNS domain; `cluster.local` unless given."""


class ChaosRule(pulumi.ComponentResource):
    """A VirtualService with all of it on one rule: Istio takes one VirtualService per host.

    Raises RunError for bad arguments. Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    and, on retries of an injected abort, https://github.com/istio/istio/issues/13705.
    """

    name: pulumi.Output[str]
    """Name of the VirtualService."""

    def __init__(self, name: str, args: ChaosRuleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the rule, and the failing workload where faults come from upstream."""
        namespace = objects.text("ChaosRule", "namespace", args["namespace"])
        service = objects.text("ChaosRule", "service", args["service"])
        port = objects.whole("ChaosRule", "port", args["port"], 1, 65535)
        inject = objects.choice("ChaosRule", "inject", args.get("inject", "waypoint"), Inject)
        http_rules.no_source("ChaosRule", args)
        fault = http_rules.fault("ChaosRule", args.get("delay"), args.get("abort"))
        retries = args.get("retries")
        policy = http_rules.policy("ChaosRule", retries, args.get("timeout"))
        if not fault and not policy:
            raise objects.refuse("ChaosRule", "rule", {}, "more than nothing: give delay, abort, retries or timeout")
        baseline, headers = args.get("baseline", ""), args.get("headers", {})
        upstream = bool(fault) and inject is Inject.UPSTREAM
        if upstream and baseline in ("", service):
            # Its own Service would send each request through this same rule again, without end.
            raise objects.refuse("ChaosRule", "baseline", baseline, f"a Service other than {service}, with upstream")
        limit = objects.number("ChaosRule", "limit_seconds", args.get("limit_seconds", 120), 1, 3600)
        duration = args.get("duration") if fault else None
        length = fault_expiry.checked("ChaosRule", duration, [fault, headers, inject]) if duration else None
        budget = retry_budget.checked("ChaosRule", retries)
        super().__init__("waypoint-lab:index:ChaosRule", name, {**args}, opts)
        domain = f"{namespace}.svc.{args.get('cluster_domain', 'cluster.local')}"
        depends: list[pulumi.Resource] = []
        to = f"{name}-upstream" if upstream else service
        if upstream:
            depends = fault_upstream.build(self, to, namespace, f"{baseline}.{domain}", port, fault)
        retry_budget.build(self, name, namespace, f"{to}.{domain}", budget)
        target = waits.Target(args.get("kubeconfig", ""), args.get("context", ""))
        hosts = {f"{to}.{domain}": f"{service}.{domain}"} if upstream else {}
        guard = fault_expiry.guard(self, (name, namespace, name), length, duration, hosts, target, limit)
        plain = [http_rules.destination(f"{service}.{domain}", port)]
        way = plain if guard.over else [http_rules.destination(f"{to}.{domain}", port)]
        treatment = http_rules.Treatment(
            {} if upstream or guard.over else fault, {}, policy, bool(retries and retries.get("writes", False))
        )
        match = {"headers": {header: {"exact": value} for header, value in headers.items()}} if headers else {}
        rules = http_rules.rules([http_rules.Base(way, match)], treatment)
        if headers:
            rules.append({"route": plain})
        virtual_service = objects.KubernetesObject(
            f"{name}-rule",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": name, "namespace": namespace, "annotations": guard.annotations},
                "spec": {"hosts": [f"{service}.{domain}"], "http": rules},
            },
            pulumi.ResourceOptions(parent=self, depends_on=[*depends, *guard.depends], hooks=guard.hooks),
        )
        self.name = virtual_service.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})
