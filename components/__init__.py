"""Layer-7 traffic management on Istio Ambient as Pulumi components, for any Service of any mesh."""

from ._internal.objects import SKIP_AWAIT, KubernetesObject
from .canary_route import CanaryRoute, CanaryRouteArgs
from .chaos_rule import ChaosRule, ChaosRuleArgs
from .fail_closed import FailClosed, FailClosedArgs
from .l7_policy import Action, L7Policy, L7PolicyArgs, L7Rule
from .outcome_gate import OutcomeGate, OutcomeGateArgs, OutcomeObservation, OutcomeObservationArgs
from .service_traffic import ServiceTraffic, ServiceTrafficArgs
from .types import (
    Abort,
    Autoscaling,
    Backend,
    CanaryWaypoint,
    Cohort,
    Delay,
    DisruptionBudget,
    Duration,
    Enroll,
    FaultAt,
    HeaderChanges,
    HeaderMatch,
    Mirror,
    ProxyResources,
    ResourceAmounts,
    Retries,
    SessionAffinity,
    WaypointFor,
)
from .waypoint import Waypoint, WaypointArgs

__all__ = [
    "SKIP_AWAIT",
    "Abort",
    "Action",
    "Autoscaling",
    "Backend",
    "CanaryRoute",
    "CanaryRouteArgs",
    "CanaryWaypoint",
    "ChaosRule",
    "ChaosRuleArgs",
    "Cohort",
    "Delay",
    "DisruptionBudget",
    "Duration",
    "Enroll",
    "FailClosed",
    "FailClosedArgs",
    "FaultAt",
    "HeaderChanges",
    "HeaderMatch",
    "KubernetesObject",
    "L7Policy",
    "L7PolicyArgs",
    "L7Rule",
    "Mirror",
    "OutcomeGate",
    "OutcomeGateArgs",
    "OutcomeObservation",
    "OutcomeObservationArgs",
    "ProxyResources",
    "ResourceAmounts",
    "Retries",
    "ServiceTraffic",
    "ServiceTrafficArgs",
    "SessionAffinity",
    "Waypoint",
    "WaypointArgs",
    "WaypointFor",
]
