"""Faults, retries and a timeout of one Service's traffic, as a VirtualService."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import istio_objects, objects, owners, traffic_parser, waits
from .types import Abort, Delay, Duration, FaultAt, Retries


class ChaosRuleArgs(TypedDict):
    """Arguments of `ChaosRule`: at least one of `delay`, `abort`, `retries` and `timeout`."""

    namespace: pulumi.Input[str]
    """Namespace of the Service, its backends and the route. An output is possible."""
    service: pulumi.Input[str]
    """Service whose traffic is changed; it must have a waypoint. An output is possible."""
    port: int
    """Port of the Service, 1 to 65535. Other ports of the Service are left alone. Plain."""
    headers: NotRequired[dict[str, str]]
    """Limits the rule to requests with these exact headers; default all. Source workloads cannot limit it, because a
    waypoint does not tell them apart (Istio issue 51565). Plain."""
    baseline: NotRequired[str]
    """Service behind the failing workload, where `fault_at` is `upstream`; not `service` itself. Plain."""
    fault_at: NotRequired[FaultAt]
    """Place of the faults: `waypoint` (the default), or `upstream`, in front of `baseline`. Plain."""
    delay: NotRequired[Delay]
    """Delay of requests."""
    abort: NotRequired[Abort]
    """Abort of requests."""
    fault_headers: NotRequired[dict[str, str]]
    """Limits the fault alone to requests with these exact headers; default all. Plain."""
    duration: NotRequired[Duration]
    """Duration of delay and abort; default until the next update."""
    retries: NotRequired[Retries]
    """Retry policy."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as `10s`; 1ms to 9999h. Plain."""
    limit_seconds: NotRequired[float]
    """Limit of each wait, for the waypoint and for the Job that ends the fault, 1 to 3600 s; default 120. Plain."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig for the waits: its path, or its contents; default the default provider's. An output is possible."""
    context: NotRequired[pulumi.Input[str]]
    """Context in the kubeconfig; default the current one. An output is possible."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster; default `cluster.local`. Plain."""


class ChaosRule(pulumi.ComponentResource):
    """A VirtualService with faults, retries and a timeout on one rule.

    Raises RunError for bad arguments.
    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    and, on retries of an injected abort, https://github.com/istio/istio/issues/13705
    """

    name: pulumi.Output[str]
    """Name of the VirtualService."""

    def __init__(self, name: str, args: ChaosRuleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the rule, the failing workload, and the Job that ends the fault, as far as they are declared."""
        traffic = traffic_parser.parse("ChaosRule", name, args, ChaosRuleArgs)
        if not (traffic.fault or traffic.retries or traffic.timeout):
            raise objects.refuse("ChaosRule", "rule", {}, "more than nothing: give delay, abort, retries or timeout")
        limited = traffic.fault.headers if traffic.fault else {}
        if {**limited, **traffic.headers} != {**traffic.headers, **limited}:
            want = "equal to headers where both name a header: else the fault hits nothing"
            raise objects.refuse("ChaosRule", "fault_headers", {**limited}, want)
        limit = objects.limit_seconds("ChaosRule", args, 120)
        traffic = owners.claim(name, traffic, waits.access(args))
        super().__init__("waypoint-lab:index:ChaosRule", name, {**args}, opts)
        cluster = waits.access(args, self)
        self.name = istio_objects.register(self, name, traffic, cluster, limit, endpoints=False)
        self.register_outputs({"name": self.name})
