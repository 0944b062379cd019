"""Split of a Service's traffic by weight and by header, as an HTTPRoute."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import http_route, objects, owners, rollout, sync, traffic_parser, waits
from .types import Backend, Cohort, HeaderChanges, Mirror, SessionAffinity

_READY = 'jsonpath={.status.parents[0].conditions[?(@.type=="%s")].status}=True'


class CanaryRouteArgs(TypedDict):
    """Arguments of `CanaryRoute`: either `backends`, or `baseline` with `canary` and `weight`."""

    namespace: pulumi.Input[str]
    """Namespace of the Service, its backends and the route. An output is possible."""
    service: pulumi.Input[str]
    """Service whose traffic is routed; it must have a waypoint. An output is possible."""
    port: int
    """Port of the Service, 1 to 65535. Other ports of the Service are left alone. Plain."""
    backends: NotRequired[list[Backend]]
    """Services that get the traffic, by weight; at most 16."""
    baseline: NotRequired[pulumi.Input[str]]
    """Service that gets the rest of the traffic. An output is possible."""
    canary: NotRequired[pulumi.Input[str]]
    """Service that gets `weight` percent. An output is possible."""
    weight: NotRequired[float]
    """Weight of the canary, 0 to 100 percent, up to four decimals. Plain."""
    cohorts: NotRequired[list[Cohort]]
    """User groups in front of the weights."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as `10s`; 1ms to 9999h. Plain."""
    try_timeout: NotRequired[str]
    """Field `backendRequest` of the route, such as `500ms`; not beside `timeout`: the route has no retries, so istiod
    limits the whole request by it. Plain."""
    mirrors: NotRequired[list[Mirror]]
    """Services that get copies of requests."""
    request_headers: NotRequired[HeaderChanges]
    """Changes of request headers, after the requests were routed."""
    response_headers: NotRequired[HeaderChanges]
    """Changes of response headers."""
    session_affinity: NotRequired[SessionAffinity]
    """Session affinity of users to one of the weighted backends, by a cookie."""
    limit_seconds: NotRequired[float]
    """Limit of each wait, for the backends and for the route, 1 to 3600 seconds; default 60. Plain."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig for the waits: its path, or its contents; default the default provider's. An output is possible."""
    context: NotRequired[pulumi.Input[str]]
    """Context in the kubeconfig; default the current one. An output is possible."""


class CanaryRoute(pulumi.ComponentResource):
    """An HTTPRoute with a Service as its parent.

    It is written only once each backend with a weight has a ready Pod, and waits until the generation just written is
    accepted and resolved, and the waypoint's Envoy has received it. Raises RunError for bad arguments.
    Source: https://gateway-api.sigs.k8s.io/mesh/
    """

    name: pulumi.Output[str]
    """Name of the HTTPRoute."""

    def __init__(self, name: str, args: CanaryRouteArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the route."""
        traffic = traffic_parser.parse("CanaryRoute", name, args, CanaryRouteArgs)
        http_route.spec(traffic)  # checks the limits of the API before anything is registered
        limit = objects.limit_seconds("CanaryRoute", args, 60)
        traffic = owners.claim(name, traffic, waits.access(args))
        super().__init__("waypoint-lab:index:CanaryRoute", name, {**args}, opts)
        cluster = waits.access(args, self)
        # An up without changes runs no hook. The provider does repeat a wait of its own that has failed before.
        annotations = {**objects.wait_for(_READY % "Accepted", _READY % "ResolvedRefs"), **owners.annotation()}
        route = objects.KubernetesObject(
            f"{name}-route",
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": traffic.namespace, "annotations": annotations},
                "spec": http_route.spec(rollout.identified(self, name, traffic)),
            },
            pulumi.ResourceOptions(
                parent=self,
                hooks=sync.hooks(f"{name}-route", cluster, limit, waits.route_problem, endpoints=True),
                custom_timeouts=objects.timeouts(limit),
            ),
        )
        self.name = route.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})
