"""Snapshots of a stack's traffic: immutable, and with the same shape in JSON.

Times are seconds since 1970, latencies seconds, shares and rates of success 0 to 1, weights percent.
"""

from typing import Any

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts of a snapshot."""


class Estimate(Value, frozen=True):
    """A measured share, 0 to 1, with its exact interval of 99 %."""

    value: float
    low: float
    high: float


class Totals(Value, frozen=True):
    """Tries since the sampler started, without those of a Pod that did not answer for some seconds."""

    requests: int = 0
    successes: int = 0
    errors: int = 0


class BackendTraffic(Value, frozen=True):
    """A Service that a route sends requests to.

    Attributes:
        name: Name of the Service, with the subset after a slash where there is one.
        namespace: Its namespace.
        port: Its port.
        role: `baseline`, `canary` or `premium` in the stack's config; else empty.
        weight: Declared percent of the requests that no other rule takes; None where no such rule names the backend.
        live_weight: The same in the routes of the waypoint's Envoy.
        requests: Requests in the window.
        active: Tries that wait for an answer now.
        share: Share of the Service's requests; None without any.
        rate: Requests a second in the window.
        success: Share of the ended requests that were answered below 500; None without any.
        p50_seconds: The median latency; None where the access log has no request.
        p99_seconds: The 99th percentile of the latency; None where the access log has no request.
        total: Tries since the sampler started.
    """

    name: str
    namespace: str
    port: int
    role: str = ""
    weight: float | None = None
    live_weight: float | None = None
    requests: int = 0
    active: int = 0
    share: Estimate | None = None
    rate: float = 0.0
    success: Estimate | None = None
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    total: Totals = Totals()


class Service(Value, frozen=True):
    """A port of a Service whose requests a waypoint routes.

    Attributes:
        name: Name of the Service.
        namespace: Its namespace.
        port: The port.
        source: `counters`, or `access log` where only that tells the Service's requests from others to its backends.
        requests: Requests in the window.
        rate: Requests a second in the window.
        own_answers: Requests in the window that reached no backend, by status and Envoy's flags.
        backends: The backends of its routes.
    """

    name: str
    namespace: str
    port: int
    source: str = "counters"
    requests: int = 0
    rate: float = 0.0
    own_answers: dict[str, int] = {}
    backends: tuple[BackendTraffic, ...] = ()


class Fault(Value, frozen=True):
    """A fault in force.

    Attributes:
        service: The Service whose requests it hits.
        at: `waypoint`, or `upstream` where a failing workload replaces a backend.
        kind: `delay` or `abort`.
        text: The fault in one line.
        object: Kind and name of the object that declares it.
        until: Its expiry; None where it has none.
    """

    service: str
    at: str
    kind: str
    text: str
    object: str
    until: float | None = None


class PolicySummary(Value, frozen=True):
    """An AuthorizationPolicy of a waypoint.

    Attributes:
        name: Its name.
        namespace: Its namespace.
        service: The Services that it is for; empty means all of the waypoint or of the namespace.
        action: Its action, such as ALLOW.
        text: The policy in one line.
    """

    name: str
    namespace: str
    service: str
    action: str
    text: str


class Change(Value, frozen=True):
    """A change of the configuration.

    Attributes:
        time: Its moment.
        kind: `object` in the API server, `live` in Envoy, `update` of the stack, or `promotion`.
        text: The change in one line.
    """

    time: float
    kind: str
    text: str


class Evidence(Value, frozen=True):
    """Evidence so far of one source of a promotion's step.

    Attributes:
        source: `probe`, `traffic` or `prometheus`.
        requests: Requests by role.
        failed: Failed requests by role.
        decision: `open`, `healthy` or `bad`.
        against_healthy: Odds, to 1, that the canary fails more often.
        against_bad: Odds, to 1, that it does not fail more often by the margin.
        needed_bad: Odds from which the step is rolled back; 0 where the source has no odds.
        needed_healthy: Odds from which the step is promoted; 0 where the source has no odds.
        text: The numbers in one line.
    """

    source: str
    requests: dict[str, int] = {}
    failed: dict[str, int] = {}
    decision: str = "open"
    against_healthy: float = 0.0
    against_bad: float = 0.0
    needed_bad: float = 0.0
    needed_healthy: float = 0.0
    text: str = ""


class PromotionProgress(Value, frozen=True):
    """The promotion that has not ended.

    Attributes:
        name: Its name.
        phase: Its phase.
        step: The step that is applied, measured or next.
        number: Number of that step, from 1.
        weight: Weight of that step.
        cohort: Cohort of that step; empty means none.
        steps: Weights of all steps.
        passed: Number of steps that were measured healthy.
        running: True while a process works on it.
        waits_for: What it does or waits for, in a few words.
        since: Since when.
        why: Reason of the last pause or rollback.
        thresholds: The limits that the evidence is compared with, as text by name.
        evidence: Evidence of the current step so far, by source.
    """

    name: str
    phase: str
    step: str = ""
    number: int = 0
    weight: float = 0.0
    cohort: str = ""
    steps: tuple[float, ...] = ()
    passed: int = 0
    running: bool = False
    waits_for: str = ""
    since: float = 0.0
    why: str = ""
    thresholds: dict[str, str] = {}
    evidence: tuple[Evidence, ...] = ()


class TrafficSnapshot(Value, frozen=True):
    """The traffic and the configuration at one time.

    Attributes:
        time: Its moment.
        stack: Name of the stack.
        namespace: Namespace of the waypoints.
        window_seconds: Time that the numbers are of; it starts again with each change of Envoy's routes.
        services: Services with requests or routes, the stack's own first.
        faults: Faults in force.
        policies: Policies in force.
        changes: The last changes, the newest last.
        promotion: The promotion that has not ended; None without one.
        problem: Reason why something cannot be read; empty without one.
    """

    time: float
    stack: str
    namespace: str
    window_seconds: float = 0.0
    services: tuple[Service, ...] = ()
    faults: tuple[Fault, ...] = ()
    policies: tuple[PolicySummary, ...] = ()
    changes: tuple[Change, ...] = ()
    promotion: PromotionProgress | None = None
    problem: str = ""


def to_json(snapshot: TrafficSnapshot) -> dict[str, Any]:
    """Return a snapshot as JSON values."""
    found: dict[str, Any] = msgspec.to_builtins(snapshot)
    return found


def from_json(document: object) -> TrafficSnapshot:
    """Return the snapshot of `to_json`. Raises msgspec.ValidationError for another document."""
    return msgspec.convert(document, TrafficSnapshot)
