"""Layer-7 traffic management on Istio Ambient as Pulumi components, for any Service of any mesh."""

from .bookinfo import Bookinfo, BookinfoArgs
from .canary_route import Backend, CanaryRoute, CanaryRouteArgs, Cohort, HeaderMatch
from .chaos_rule import Abort, ChaosRule, ChaosRuleArgs, Delay, Inject, Retries
from .extras import HeaderChanges, Mirror, Sticky
from .fail_closed import FailClosed, FailClosedArgs
from .l7_policy import Action, L7Policy, L7PolicyArgs, L7Rule
from .service_traffic import ServiceTraffic, ServiceTrafficArgs
from .timekeeper import Duration
from .waypoint import CanaryWaypoint, Enrol, Waypoint, WaypointArgs, WaypointFor

__all__ = [
    "Abort",
    "Action",
    "Backend",
    "Bookinfo",
    "BookinfoArgs",
    "CanaryRoute",
    "CanaryRouteArgs",
    "CanaryWaypoint",
    "ChaosRule",
    "ChaosRuleArgs",
    "Cohort",
    "Delay",
    "Duration",
    "Enrol",
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
