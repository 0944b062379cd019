"""Traffic of two small services: a canary with a cohort, a policy, and faults, all behind one waypoint."""

import sys
from pathlib import Path

import pulumi

# The folder that holds `components/`. A project of its own would have a copy, or a submodule, beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import app

from components import CanaryRoute, ChaosRule, L7Policy, Waypoint

weight = pulumi.Config().require_float("canaryWeight")
there = pulumi.ResourceOptions(depends_on=app.build())
waypoint = Waypoint("waypoint", {"namespace": app.NAMESPACE}, there)
behind = pulumi.ResourceOptions(depends_on=[waypoint])

CanaryRoute(
    "greeter",
    {
        "namespace": app.NAMESPACE,
        "service": "greeter",
        "port": app.PORT,
        "baseline": "greeter-v1",
        "canary": "greeter-v2",
        "weight": weight,
        "cohorts": [{"header": "x-team", "value": "testers", "backends": [{"name": "greeter-v2"}]}],
    },
    behind,
)
L7Policy(
    "greeter-read-only",
    {"namespace": app.NAMESPACE, "services": ["greeter"], "rules": [{"methods": ["GET"]}]},
    behind,
)
# Not on greeter: a route and a fault on one Service exclude each other.
ChaosRule(
    "clock-faults",
    {
        "namespace": app.NAMESPACE,
        "service": "clock",
        "port": app.PORT,
        "abort": {"status": 503, "percent": 50},
        "delay": {"seconds": 0.2},
    },
    behind,
)
pulumi.export("waypoint", waypoint.address)
