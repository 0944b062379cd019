"""Layer-7 traffic management on Istio Ambient as Pulumi components, for any Service of any mesh."""

from ._internal.fault_expiry import Duration
from .canary_route import Backend, CanaryRoute, CanaryRouteArgs, Cohort, HeaderMatch
from .chaos_rule import Abort, ChaosRule, ChaosRuleArgs, Delay, Inject, Retries
from .fail_closed import FailClosed, FailClosedArgs
from .l7_policy import Action, L7Policy, L7PolicyArgs, L7Rule
from .service_traffic import ServiceTraffic, ServiceTrafficArgs
from .types import HeaderChanges, Mirror, Sticky
from .waypoint import CanaryWaypoint, Enroll, Waypoint, WaypointArgs, WaypointFor

__all__ = [
    "Abort",
    "Action",
    "Backend",
    "CanaryRoute",
    "CanaryRouteArgs",
    "CanaryWaypoint",
    "ChaosRule",
    "ChaosRuleArgs",
    "Cohort",
    "Delay",
    "Duration",
    "Enroll",
    "FailClosed",
    "FailClosedArgs",
    "HeaderChanges",
    "HeaderMatch",
    "Inject",
    "L7Policy",
    "L7PolicyArgs",
    "L7Rule",
    "Mirror",
    "Retries",
    "ServiceTraffic",
    "ServiceTrafficArgs",
    "Sticky",
    "Waypoint",
    "WaypointArgs",
    "WaypointFor",
]
