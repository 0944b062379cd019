"""Policies on authorization."""

from ..policy import CLUSTER, EnforcementLevel, Policy, texts_schema
from ..rules import authorization, effective_policies, waypoints

ROWS: tuple[Policy, ...] = (
    Policy(
        "target-refs-only",
        "Policies in a namespace with a waypoint are bound by targetRefs",
        "bind it by targetRefs",
        "A waypoint ignores selectors, also one of another namespace. An AuthorizationPolicy of layer 4 may have one: "
        "ztunnel enforces it, if its action is ALLOW or DENY.",
        authorization.target_refs_only,
        requires=CLUSTER,
    ),
    Policy(
        "allow-has-rules",
        "An ALLOW policy has rules",
        "add a rule, or name the policy in the parameter exceptions",
        "Without rules it refuses every request.",
        authorization.allow_has_rules,
        kinds=("AuthorizationPolicy",),
        parameters={"exceptions": texts_schema([], "policies (namespace/name) that are meant to refuse everything")},
    ),
    Policy(
        "allow-includes-waypoint",
        "ALLOW policies at Pods allow the identity of their waypoint",
        "add the principal of the waypoint",
        "ztunnel enforces a policy bound by selector or namespace at the Pods, and requests come from the waypoint "
        "there: each of them is refused.",
        authorization.allow_includes_waypoint,
        requires=CLUSTER,
    ),
    Policy(
        "deny-shadows-allow",
        "No DENY policy covers all that an ALLOW policy allows",
        "narrow the DENY, or remove the ALLOW",
        "DENY comes first, so that the ALLOW policy has no effect. The DENY is on all targets of the ALLOW policy.",
        authorization.deny_shadows_allow,
        requires=CLUSTER,
    ),
    Policy(
        "layer-7-has-waypoint",
        "Layer-7 rules in an ambient namespace have a waypoint",
        "enroll the Service or its namespace in a waypoint that enforces it",
        "ztunnel knows no layer 7, so that nothing enforces methods, paths, hosts, headers, remote addresses, JWTs, "
        "claims, routes, or an action other than ALLOW and DENY. The waypoint takes traffic to Services and allows "
        "their namespace; a route is in the namespace of its Service or of the waypoint.",
        authorization.layer_7_has_waypoint,
        requires=CLUSTER,
    ),
    Policy(
        "same-pods-covered",
        "A layer-7 policy on a Service is on the other Services with the same Pods",
        "add the other Services to its targetRefs",
        "Requests to another Service of the same Pods skip the policy.",
        effective_policies.policy_covers_same_pods,
        level=EnforcementLevel.ADVISORY,
        requires=CLUSTER,
    ),
    Policy(
        "waypoint-supports-api",
        "Waypoints support the APIs that are used with them",
        "use the Gateway API, or a waypoint of class istio-waypoint",
        "A waypoint of class `istio-agentgateway-waypoint` ignores VirtualService, DestinationRule, "
        "AuthorizationPolicy, RequestAuthentication and Telemetry.",
        waypoints.waypoint_supports_api,
        requires=CLUSTER,
    ),
)
