"""The one table of policies: the pack, `lab policies`, the docs and the tests read these rows."""

from collections.abc import Mapping

from . import authorization, canary_policies, canary_waypoints, checks, faults, retries, routes, targets, waypoints
from .policy import Level, Needs, Policy, Schema, number, texts

__all__ = ["BY_NAME", "TABLE", "Level", "Needs", "Policy"]

_CLUSTER = frozenset({Needs.CLUSTER})
_PRODUCTION: Mapping[str, Schema] = {
    "stacks": texts(["prod", "production"], "stacks that are production; * and ? are wildcards"),
    "namespaceLabels": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "default": {"environment": "production"},
        "description": "labels, any of which makes a namespace production",
    },
}

TABLE: tuple[Policy, ...] = (
    Policy(
        "weights-add-up",
        "Weights of an HTTPRoute's rule add up, and someone answers",
        "make them add up, or change the parameter total",
        routes.weights_add_up,
        kinds=("HTTPRoute",),
        parameters={"total": number(100, "what the weights of several backends make up", 1)},
    ),
    Policy(
        "canary-jump",
        "A backend's share does not jump beyond what is served now",
        "go there in smaller steps",
        routes.canary_jump,
        kinds=("HTTPRoute",),
        needs=_CLUSTER,
        parameters={
            "maxPoints": number(80, "percentage points that a share may grow in one update", maximum=100),
            "baselines": texts(["*-baseline", "*-primary"], "backends that may take any share at once: the way back"),
        },
    ),
    Policy(
        "targets-exist",
        "Routes and policies name Services, ports and Gateways that exist",
        "correct the name or the port, or add what is missing",
        targets.targets_exist,
        needs=_CLUSTER,
    ),
    Policy(
        "one-owner-per-service",
        "No HTTPRoute and VirtualService on one Service",
        "keep one of the two",
        routes.one_owner_per_service,
        needs=_CLUSTER,
    ),
    Policy(
        "target-refs-only",
        "Beside a waypoint policies are bound by targetRefs",
        "bind it by targetRefs",
        authorization.target_refs_only,
        needs=_CLUSTER,
    ),
    Policy(
        "allow-allows-something",
        "An ALLOW policy has rules",
        "add a rule, or name the policy in the parameter exceptions",
        authorization.allow_allows_something,
        kinds=("AuthorizationPolicy",),
        parameters={"exceptions": texts([], "policies (namespace/name) that are meant to refuse everything")},
    ),
    Policy(
        "deny-shadows-allow",
        "No DENY policy covers all that an ALLOW policy allows",
        "narrow the DENY, or drop the ALLOW",
        authorization.deny_shadows_allow,
        needs=_CLUSTER,
    ),
    Policy(
        "layer-7-has-a-waypoint",
        "Layer-7 rules in an ambient namespace have a waypoint that enforces them",
        "enrol the Service or its namespace in a waypoint",
        authorization.layer_7_has_a_waypoint,
        needs=_CLUSTER,
    ),
    Policy(
        "fault-limits",
        "Injected faults stay within limits",
        "inject less, or change the limit",
        faults.fault_limits,
        kinds=("VirtualService", "ConfigMap"),
        parameters={
            "maxPercent": number(100, "share of requests that may be aborted, in percent", maximum=100),
            "maxDelaySeconds": number(10, "longest delay, in seconds"),
            "maxSeconds": number(3600, f"longest time that a fault may stay (annotation {faults.DURATION})"),
            "requireDuration": {
                "type": "boolean",
                "default": False,
                "description": f"whether each fault needs the annotation {faults.DURATION}",
            },
        },
    ),
    Policy(
        "no-faults-in-production",
        "No fault is injected in production",
        "inject it elsewhere",
        faults.no_faults_in_production,
        needs=_CLUSTER,
        parameters=_PRODUCTION,
    ),
    Policy(
        "retries-within-timeout",
        "All tries together end before the caller gives up",
        "retry less, or shorten perTryTimeout",
        retries.retries_within_timeout,
        kinds=("VirtualService",),
        parameters={
            "callerTimeoutSeconds": number(0, "how long callers wait, in seconds; 0: only the rule's timeout counts")
        },
    ),
    Policy(
        "retried-abort",
        "No retries on a rule's own injected abort: they do nothing",
        "inject the abort behind the waypoint, or drop the retries",
        retries.retried_abort,
        level=Level.ADVISORY,
        kinds=("VirtualService",),
    ),
    Policy(
        "retried-writes",
        "Writes are not repeated without a budget",
        "match safe methods, retry on conditions before the request is seen, or set a DestinationRule's retryBudget",
        retries.retried_writes,
        level=Level.ADVISORY,
        needs=_CLUSTER,
        parameters={"maxAttempts": number(0, "retries of a write that may be without a budget")},
    ),
    Policy(
        "enrolled-with-its-gateway",
        "A label that enrols names a waypoint that exists",
        "add the waypoint, or take the label away: traffic would pass every policy by, and a canary would get none",
        waypoints.enrolled_with_its_gateway,
        needs=_CLUSTER,
    ),
    Policy(
        "canary-waypoint-works",
        "A canary waypoint has a primary beside it, takes traffic to Services, and has a weight from 0 to 100",
        "until then no canary gets a connection",
        canary_waypoints.canary_waypoint_works,
        needs=_CLUSTER,
    ),
    Policy(
        "canary-waypoint-steps",
        "No waypoint is taken away while it gets a share of new connections",
        "go there in several updates",
        canary_waypoints.canary_waypoint_steps,
        kinds=("Namespace", "Service"),
        labels=(waypoints.USE, waypoints.CANARY),
        needs=frozenset({Needs.CLUSTER, Needs.STATE}),
    ),
    Policy(
        "canary-waypoint-policies",
        "What is bound to a primary waypoint's Gateway is enforced at its canary, too",
        "bind it to the Services, or to both Gateways",
        canary_policies.canary_waypoint_policies,
        needs=_CLUSTER,
    ),
    Policy(
        "waypoint-listens-for-hbone",
        "A waypoint listens for HBONE on port 15008, and for nothing else",
        "give it that one listener",
        waypoints.waypoint_listens_for_hbone,
        kinds=("Gateway",),
    ),
    Policy(
        "waypoint-replicas",
        "In production a waypoint has several replicas",
        "set replicas by a ConfigMap named in infrastructure.parametersRef, or by an autoscaler, in this stack",
        waypoints.waypoint_replicas,
        needs=_CLUSTER,
        parameters={"minReplicas": number(2, "replicas of a waypoint in production", 1), **_PRODUCTION},
    ),
    Policy(
        "istio-analysis",
        "Istio's own analysers find nothing in the stack (nothing is claimed without istioctl on PATH)",
        "see istioctl analyze",
        checks.istio_analysis,
        needs=frozenset({Needs.CLUSTER, Needs.ISTIOCTL}),
        parameters={
            "minimumLevel": {
                "type": "string",
                "enum": list(checks.LEVELS),
                "default": "Error",  # many a warning is of taste: each DENY by method is one
                "description": "the least severe messages that count",
            },
            "suppress": texts(list(checks.UNSEEN_BY_US), "codes that do not count; * and ? are wildcards"),
        },
    ),
    Policy(
        "cluster-was-read",
        "The cluster could be read, so that rules could compare with it",
        "make it reachable by kubectl; what needs the cluster has looked at the stack alone",
        checks.cluster_was_read,
        level=Level.ADVISORY,
        needs=_CLUSTER,
    ),
)
BY_NAME: Mapping[str, Policy] = {row.name: row for row in TABLE}
