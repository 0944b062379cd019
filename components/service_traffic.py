"""All traffic of one Service, split and faults together, as one VirtualService."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import istio_objects, objects, owners, rollout, traffic_parser, waits
from .types import (
    Abort,
    Backend,
    Cohort,
    Delay,
    Duration,
    FaultAt,
    HeaderChanges,
    Mirror,
    Retries,
    SessionAffinity,
)


class ServiceTrafficArgs(TypedDict):
    """Arguments of `ServiceTraffic`. Without `backends` and `canary` the traffic goes to the Service itself."""

    namespace: pulumi.Input[str]
    """Namespace of the Service, its backends and the route. An output is possible."""
    service: pulumi.Input[str]
    """Service whose traffic is managed; it must have a waypoint. An output is possible."""
    port: int
    """Port of the Service, 1 to 65535. Other ports of the Service are left alone. Plain."""
    backends: NotRequired[list[Backend]]
    """Services that get the traffic, by weight."""
    baseline: NotRequired[str]
    """Service that gets the rest of the traffic, and that fails with `fault_at: upstream`. Plain."""
    canary: NotRequired[pulumi.Input[str]]
    """Service that gets `weight` percent. An output is possible."""
    weight: NotRequired[float]
    """Weight of the canary, 0 to 100 percent, up to four decimals. Plain."""
    cohorts: NotRequired[list[Cohort]]
    """User groups in front of the weights."""
    fault_at: NotRequired[FaultAt]
    """Place of the faults: `waypoint` (the default), or `upstream`, in front of `baseline`. Plain."""
    delay: NotRequired[Delay]
    """Delay of requests."""
    abort: NotRequired[Abort]
    """Abort of requests."""
    fault_headers: NotRequired[dict[str, str]]
    """Limits the fault to requests with these exact headers; default all. Plain."""
    duration: NotRequired[Duration]
    """Duration of delay and abort; default until the next update."""
    retries: NotRequired[Retries]
    """Retry policy."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as `10s`; 1ms to 9999h. Plain."""
    mirrors: NotRequired[list[Mirror]]
    """Services that get copies of requests."""
    request_headers: NotRequired[HeaderChanges]
    """Changes of request headers, after the requests were routed."""
    response_headers: NotRequired[HeaderChanges]
    """Changes of response headers."""
    session_affinity: NotRequired[SessionAffinity]
    """Session affinity of users to one of the weighted backends, by a cookie."""
    limit_seconds: NotRequired[float]
    """Limit of each wait, for backends, waypoint and the Job that ends the fault, 1 to 3600 s; default 120. Plain."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig for the waits: its path, or its contents; default the default provider's. An output is possible."""
    context: NotRequired[pulumi.Input[str]]
    """Context in the kubeconfig; default the current one. An output is possible."""
    cluster_domain: NotRequired[str]
    """DNS domain of the cluster; default `cluster.local`. Plain."""


class ServiceTraffic(pulumi.ComponentResource):
    """A VirtualService that is the only owner of a Service's routes, so that a canary and a fault work together.

    An HTTPRoute on the same Service would hide it. Raises RunError for bad arguments.
    Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    """

    name: pulumi.Output[str]
    """Name of the VirtualService."""

    def __init__(self, name: str, args: ServiceTrafficArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the rule, the failing workload, and the Job that ends the fault, as far as they are declared."""
        traffic = traffic_parser.parse("ServiceTraffic", name, args, ServiceTrafficArgs)
        limit = objects.limit_seconds("ServiceTraffic", args, 120)
        traffic = owners.claim(name, traffic, waits.access(args))
        super().__init__("waypoint-lab:index:ServiceTraffic", name, {**args}, opts)
        cluster = waits.access(args, self)
        traffic = rollout.identified(self, name, traffic)
        self.name = istio_objects.register(self, name, traffic, cluster, limit, endpoints=True)
        self.register_outputs({"name": self.name})
