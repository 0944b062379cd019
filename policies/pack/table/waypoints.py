"""Policies on waypoints."""

from .. import mesh
from ..policy import CLUSTER, PRODUCTION, Policy, Requirement, number_schema
from ..rules import canary_policies, canary_waypoints, waypoints

ROWS: tuple[Policy, ...] = (
    Policy(
        "waypoint-exists",
        "A label that enrolls names a waypoint that exists and allows the namespace",
        "add the waypoint, allow the namespace in its listener, or remove the label",
        "Traffic skips every policy where the primary waypoint is missing, and a canary that is missing gets none. A "
        "listener without `allowedRoutes` allows its own namespace only.",
        waypoints.waypoint_exists,
        requires=CLUSTER,
    ),
    Policy(
        "canary-waypoint-valid",
        "A canary waypoint has a primary, takes traffic to Services, and has a weight from 0 to 100",
        "until then no canary gets a connection",
        "Where anything is wrong with the canary, istiod sends all connections to the primary, without an error.",
        canary_waypoints.canary_waypoint_valid,
        requires=CLUSTER,
    ),
    Policy(
        "canary-waypoint-steps",
        "No waypoint is removed while it gets a share of new connections",
        "use several updates",
        "A canary is removed only at weight 0, and becomes the only waypoint only at weight 100.",
        canary_waypoints.canary_waypoint_steps,
        kinds=("Namespace", "Service", "ServiceEntry"),
        labels=(mesh.USE_WAYPOINT, mesh.USE_CANARY),
        requires=frozenset({Requirement.CLUSTER, Requirement.STATE}),
    ),
    Policy(
        "canary-waypoint-policies",
        "A policy of a primary waypoint's Gateway is enforced at its canary, too",
        "bind it to the Services, or to both Gateways",
        "istiod selects such policies by Gateway, so that requests through the canary skip them.",
        canary_policies.canary_waypoint_policies,
        requires=CLUSTER,
    ),
    Policy(
        "waypoint-listens-on-hbone",
        "A waypoint listens for HBONE on port 15008, and for nothing else",
        "give it that one listener",
        "ztunnel and istiod use no other listener.",
        waypoints.waypoint_listens_on_hbone,
        kinds=("Gateway",),
    ),
    Policy(
        "waypoint-replicas",
        "In production a waypoint has several replicas",
        "set replicas by a ConfigMap named in infrastructure.parametersRef, or by an autoscaler, in this stack",
        "With one replica, a restart of the waypoint is an outage.",
        waypoints.waypoint_replicas,
        requires=CLUSTER,
        parameters={"minReplicas": number_schema(2, "replicas of a waypoint in production", 1), **PRODUCTION},
    ),
)
