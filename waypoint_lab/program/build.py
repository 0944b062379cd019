"""Build the stages that are on, in the order of the table of stages."""

from collections.abc import Callable

import pulumi

from components import FailClosed, L7Policy, Waypoint
from components.fail_closed import FailClosedArgs
from components.waypoint import WaypointArgs
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.waypoint_models import WaypointSettings
from waypoint_lab.program import l4_enforcement, traffic
from waypoint_lab.program.context import GateCheck, Stack, arguments
from waypoint_lab.program.preflight import Application
from waypoint_lab.stages.table import STAGES


def _gateways(config: LabConfig) -> WaypointArgs:
    args: WaypointArgs = {"namespace": config.waypoint_namespace, "gateway": config.waypoint.name}
    if config.waypoint_namespace != config.app.namespace:
        args["namespaces"] = [config.app.namespace]
    if config.waypoint.revision:
        args["revision"] = config.waypoint.revision
    if config.waypoint.canary:
        args["canary"] = {"gateway": config.waypoint.canary.name, "weight": config.waypoint.canary.weight}
        if config.waypoint.canary.revision:
            args["canary"]["revision"] = config.waypoint.canary.revision
    args.update(arguments(config.waypoint.parameters))
    return args


def _waypoint(stack: Stack) -> None:
    config = stack.config
    waypoint = Waypoint(
        "waypoint",
        {
            **_gateways(config),
            "access_log": config.stages.access_log,
            "kubeconfig": config.target.kubeconfig,
            "context": config.target.context,
        },
        # The Services are deleted after the routes to them, because the waypoint gets the deletion of a route late.
        stack.options(*stack.versions()),
    )
    stack.after.append(waypoint)
    if config.waypoint.fail_closed:
        if line := l4_enforcement.warning(config):
            pulumi.warn(line)
        # After the enrollment: requests that still bypass the waypoint would be refused.
        guard: FailClosedArgs = {
            "namespace": config.app.namespace,
            "labels": {**config.app.common_labels},
            "kubeconfig": config.target.kubeconfig,
            "context": config.target.context,
        }
        if config.waypoint.name != WaypointSettings().name:
            guard["waypoint"] = config.waypoint.name
        if config.waypoint_namespace != config.app.namespace:
            guard["waypoint_namespace"] = config.waypoint_namespace
        if config.waypoint.canary:
            guard["canary"] = config.waypoint.canary.name
        FailClosed(f"{config.app.service}-fail-closed", guard, stack.options())
    pulumi.export("waypoint", {"name": waypoint.name, "address": waypoint.address, "class": waypoint.gateway_class})


def _l7_policy(stack: Stack) -> None:
    config = stack.config
    L7Policy(
        config.l7_policy_name,
        {
            "namespace": config.app.namespace,
            # The backends have the same Pods: a policy on the application's Service alone could be bypassed.
            "services": [*config.app.services],
            "rules": [{"methods": [config.app.request.method]}],
            "kubeconfig": config.target.kubeconfig,
            "context": config.target.context,
        },
        stack.options(*stack.versions()),
    )


# Toggles with the same builder register one object together.
BUILDERS: dict[str, Callable[[Stack], None]] = {
    "waypoint": _waypoint,
    "l7Policy": _l7_policy,
    "canary": traffic.route,
    "premium": traffic.route,
    "delay": traffic.chaos,
    "abort": traffic.chaos,
    "retries": traffic.chaos,
}
COMBINED: dict[str, Callable[[Stack], None]] = {
    **BUILDERS,
    **dict.fromkeys(("canary", "premium", "delay", "abort", "retries"), traffic.traffic),
}


def build(
    config: LabConfig,
    expired: frozenset[str] = frozenset(),
    gate: GateCheck | None = None,
    application: Application | None = None,
) -> None:
    """Register the resources of the stages that are on.

    Args:
        config: The stack's configuration.
        expired: Identifiers of the stack's faults that have expired.
        gate: The gate of the canary; None where there is none.
        application: The application's Service, with what the backends copy; None where there is none yet.
    """
    if config.canary.gate and not config.stages.canary:
        pulumi.log.warn("waypoint-lab:canary.gate is set, but stages.canary is off: nothing is measured")
    stack = Stack(config, expired, gate, application)
    builders = COMBINED if config.uses_virtual_service else BUILDERS
    on = [builders[row.key] for row in STAGES if row.key in config.stages.on and row.key in builders]
    for builder in dict.fromkeys(on):
        builder(stack)
