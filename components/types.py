"""Types of the arguments that several components share."""

from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi


class HeaderMatch(StrEnum):
    """Comparison of a header's value."""

    EXACT = "Exact"
    """The value is equal."""
    REGEX = "RegularExpression"
    """A regular expression (RE2) matches the whole value."""


class FaultAt(StrEnum):
    """Place where faults are injected."""

    WAYPOINT = "waypoint"
    """The waypoint's fault filter. Retries do not see its aborts."""
    UPSTREAM = "upstream"
    """A workload behind the waypoint that really fails. Retries see its aborts. It calls `baseline` as the account
    `default` of its namespace: an L7Policy of `baseline` that names callers must name this one, too, or its share gets
    403."""


class Backend(TypedDict):
    """A Service that gets a share of the traffic."""

    name: pulumi.Input[str]
    """Name of the Service, in the route's namespace. An output is possible."""
    weight: NotRequired[float]
    """Its part of the sum of all weights, 0 to 1000000, up to four decimals; default 1. 0 takes it out. Plain."""
    port: NotRequired[int]
    """Its port, 1 to 65535; default the route's own. Plain."""


class Cohort(TypedDict):
    """A user group with backends of its own: requests that match every field that is given, at least one.

    Cohorts come before all other traffic, in their order. CanaryRoute refuses an order that istiod would change: it
    sorts the rules of an HTTPRoute by path, method, number of headers and number of query parameters.
    """

    header: NotRequired[str]
    """Name of a header, in any case; `value` goes with it. Plain."""
    value: NotRequired[str]
    """Value of the header, or a regular expression (RE2) for the whole value. Plain."""
    match: NotRequired[HeaderMatch]
    """Comparison of the value: `Exact` (the default) or `RegularExpression`. Plain."""
    cookies: NotRequired[dict[str, str]]
    """One cookie and its exact value. Plain."""
    query: NotRequired[dict[str, str]]
    """Query parameters and their exact values, percent-encoded as clients send them. Plain."""
    method: NotRequired[str]
    """HTTP method in upper case, such as GET. Plain."""
    path: NotRequired[str]
    """The whole path, percent-encoded, without the query. Plain."""
    path_prefix: NotRequired[str]
    """Path of which these are the first parts: /cart is a prefix of /cart/1, and not of /cartoon. Plain."""
    backends: list[Backend]
    """Services that the group is sent to, by weight."""


class Mirror(TypedDict):
    """A Service that gets copies of requests. Its responses are dropped."""

    name: pulumi.Input[str]
    """Name of the Service, in the route's namespace. An output is possible."""
    percent: NotRequired[float]
    """Share of requests that are copied, 0 to 100 percent; default 100. Plain."""
    port: NotRequired[int]
    """Its port, 1 to 65535; default the route's own. Plain."""


class HeaderChanges(TypedDict):
    """Changes of headers of requests or responses. Values are literal text, also a percent sign."""

    set: NotRequired[dict[str, pulumi.Input[str]]]
    """Headers that get this value in place of their own. Values may be outputs."""
    add: NotRequired[dict[str, pulumi.Input[str]]]
    """Headers that get this value in addition to their own. Values may be outputs."""
    remove: NotRequired[list[str]]
    """Headers that are removed. Plain."""


class SessionAffinity(TypedDict):
    """Session affinity by a cookie.

    A user whom the weights send to the backend gets the cookie, and returns to that backend as long as the cookie lasts
    and the rollout does: until an update sets the backend's weight to 0. The weights decide anew on each request of all
    other users. A cookie of an earlier rollout is ignored.
    """

    backend: str
    """Name of the backend that keeps its users: the canary. Plain."""
    cookie: NotRequired[str]
    """Name of the cookie; default `waypoint-lab-backend`. Plain."""
    max_age_seconds: NotRequired[int]
    """Lifetime of the cookie, 1 to 31536000 seconds; default 86400. Plain."""


class Delay(TypedDict):
    """A fixed delay of requests."""

    seconds: float
    """Length, 0.001 to 3600 seconds, up to three decimals. Plain."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100 percent; default 100. Plain."""


class Abort(TypedDict):
    """A response in place of the Service's own."""

    status: int
    """HTTP status, 200 to 599. Plain."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100 percent; default 100. Plain."""


class Retries(TypedDict):
    """A retry policy. It does not undo an abort at the waypoint: the fault filter responds before the router."""

    attempts: int
    """Retries after the first try, 0 to 100; 0 turns the retries of every method off. Plain."""
    per_try_timeout: NotRequired[str]
    """Limit of each try, such as `500ms`; at most `timeout`. Plain."""
    backoff: NotRequired[str]
    """Base interval between tries, such as `25ms` (the default); it doubles with jitter. Plain."""
    retry_on: NotRequired[str]
    """Envoy's retry conditions, separated by commas; default `5xx`. Plain."""
    writes: NotRequired[bool]
    """Also retry other methods than GET, HEAD and OPTIONS; default false. A write may be done twice then. Without it,
    they are repeated, at most twice, only where no backend has seen the request. Plain."""
    budget_percent: NotRequired[float]
    """Concurrent retries, 0 to 100 percent of the active requests; default without a limit (set by istiod). It limits
    all ports of a backend, as a DestinationRule that is the only one of its host with a trafficPolicy. Plain."""
    budget_minimum: NotRequired[int]
    """Concurrent retries that the budget always allows, 0 to 1000; default 3. Plain."""


class Duration(TypedDict):
    """Duration of a fault. A Job in the cluster ends the fault; the fault begins only once that Job runs."""

    seconds: float
    """Length, 1 to 3600 seconds. Plain."""
    id: NotRequired[str]
    """Id of this fault; default a hash of its settings. A fault with another id starts again. Plain."""
    expired: NotRequired[str]
    """Id in the annotation `waypoint-lab/fault-expired` in the cluster. A fault with this id is not injected. Plain."""
    image: NotRequired[str]
    """Image of the Job: any with `python3`. Plain."""


class WaypointFor(StrEnum):
    """Traffic that the waypoint takes: to Services, to workloads' own addresses, or both."""

    SERVICE = "service"
    """Requests to Services."""
    WORKLOAD = "workload"
    """Requests to workloads' own addresses."""
    ALL = "all"
    """Both."""


class Enroll(StrEnum):
    """Objects that get the label that sends traffic through the waypoint."""

    NAMESPACE = "namespace"
    """The namespaces that are named, or the waypoint's own, and so every Service in them."""
    SERVICES = "services"
    """The Services that are named."""
    NOTHING = "nothing"
    """None: the waypoint runs, but no traffic goes through it."""


class CanaryWaypoint(TypedDict):
    """A second waypoint beside the primary, which takes a share of the same Services' connections."""

    gateway: str
    """Name of its Gateway, in the same namespace; a plain value."""
    weight: NotRequired[int]
    """Whole percent of the new connections that it gets, 0 (the default) to 100; a plain value."""
    revision: NotRequired[pulumi.Input[str]]
    """Revision of Istio that programs it, such as `1-31-0`; the namespace's unless given."""


class Autoscaling(TypedDict):
    """Number of a waypoint's replicas by the CPU that they use. Needs metrics of CPU in the cluster."""

    min: int
    """Least replicas, 1 to 1000. Plain."""
    max: int
    """Most replicas, `min` to 1000. Plain."""
    cpu_percent: NotRequired[int]
    """CPU to aim at, in percent of the requested CPU, 1 to 1000; default 80. Plain."""


class ResourceAmounts(TypedDict):
    """Amounts of CPU and memory, as quantities of Kubernetes."""

    cpu: NotRequired[str]
    """CPU, such as `500m`. Plain."""
    memory: NotRequired[str]
    """Memory, such as `256Mi`. Plain."""


class ProxyResources(TypedDict):
    """Resources of a waypoint's proxy. What is not given keeps the value of the mesh."""

    requests: NotRequired[ResourceAmounts]
    """Amounts that a node must have free."""
    limits: NotRequired[ResourceAmounts]
    """Amounts that the proxy may use; each at least the request."""


class DisruptionBudget(TypedDict):
    """Replicas of a waypoint that may be evicted at a time. Exactly one of both is given."""

    min_available: NotRequired[int]
    """Replicas that are kept, 1 or more, below the least number of replicas. Plain."""
    max_unavailable: NotRequired[int]
    """Replicas that may be evicted, 1 to 1000. Plain."""
