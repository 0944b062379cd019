"""Builds the stages that route traffic and those that inject faults."""

import json

import pulumi

from components import CanaryRoute, ChaosRule, ServiceTraffic
from components._internal import objects
from components.canary_route import Backend, CanaryRouteArgs, Cohort
from components.chaos_rule import ChaosRuleArgs, Inject
from components.service_traffic import ServiceTrafficArgs
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.program.context import Stack
from waypoint_lab.stages import fault_expiry


def _backends(config: LabConfig) -> list[Backend]:
    if not config.on("canary"):
        return [{"name": f"{config.service}-baseline", "weight": 100}]
    baseline, canary = config.canary_parts
    return [
        {"name": f"{config.service}-baseline", "weight": baseline},
        {"name": f"{config.service}-stable", "weight": canary},
    ]


def _cohorts(config: LabConfig) -> list[Cohort]:
    """User groups before all others; who tries the canary is asked for first."""
    found: list[Cohort] = []
    if config.canary_header:
        header, value = config.canary_header
        found.append({"header": header, "value": value, "backends": [{"name": f"{config.service}-stable"}]})
    if config.on("premium"):
        backends: list[Backend] = [{"name": f"{config.service}-premium"}]
        found.append({"header": "end-user", "value": config.premium_user, "backends": backends})
    return found


def _extras(config: LabConfig, args: CanaryRouteArgs | ServiceTrafficArgs) -> None:
    canary = f"{config.service}-stable"
    if config.mirror_percent:
        args["mirrors"] = [{"name": canary, "percent": config.mirror_percent}]
    if config.request_header:
        args["request_headers"] = {"set": dict([config.request_header])}
    if config.response_header:
        args["response_headers"] = {"set": dict([config.response_header])}
    if config.sticky_seconds:
        args["sticky"] = {"backend": canary, "seconds": config.sticky_seconds}


def route(stack: Stack) -> None:
    """An HTTPRoute with weights and user groups, and its gate where there is one."""
    config = stack.config
    args: CanaryRouteArgs = {
        "namespace": config.namespace,
        "service": config.service,
        "port": config.port,
        "backends": _backends(config),
        "cohorts": _cohorts(config),
        "kubeconfig": config.kubeconfig,
        "context": config.context,
    }
    if config.request_timeout:
        args["timeout"] = config.request_timeout
    _extras(config, args)
    route = CanaryRoute(config.service, args, stack.options(*stack.versions()))
    if config.gate and config.on("canary"):
        _gate(stack, route)


def _gate(stack: Stack, route: pulumi.Resource) -> None:
    """A record of the weights that passed the gate: it is written only after they did.

    An up that misses leaves the route written and the record behind it, so the next one finds the record out of date
    and measures again, instead of finding nothing to change. It says what in annotations, because changed data of a
    ConfigMap would replace it.
    """
    from waypoint_lab.measure import gate  # a fifth of a second, which only stacks with a gate are to pay

    config = stack.config
    hooks = [pulumi.ResourceHook(f"{config.service}-gate", lambda _args: gate.check(config))] if gate.wanted() else []
    objects.KubernetesObject(
        f"{config.service}-gate",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"{config.service}-gate",
                "namespace": config.namespace,
                "annotations": {"waypoint-lab/passed": json.dumps(gate.record(config), sort_keys=True)},
            },
        },
        pulumi.ResourceOptions.merge(
            stack.options(route),
            pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_create=[*hooks], before_update=[*hooks])),
        ),
    )


def _faults(stack: Stack) -> ServiceTrafficArgs:
    """Delay, abort, retries and timeout as both components that know them take them."""
    config = stack.config
    args: ServiceTrafficArgs = {
        "namespace": config.namespace,
        "service": config.service,
        "port": config.port,
        "inject": Inject(config.fault_at),
        "baseline": f"{config.service}-baseline",
        "kubeconfig": config.kubeconfig,
        "context": config.context,
    }
    if config.on("delay"):
        args["delay"] = {"seconds": config.delay_seconds}
    if config.on("abort"):
        args["abort"] = {"status": config.fault_status, "percent": config.fault_percent}
    if config.on("retries"):
        args["retries"] = {
            "attempts": config.retry_attempts,
            "per_try_timeout": config.per_try_timeout,
            "writes": config.retry_writes,
        }
        if config.retry_backoff:
            args["retries"]["backoff"] = config.retry_backoff
        if config.retry_budget_percent is not None:
            args["retries"]["budget_percent"] = config.retry_budget_percent
    if config.request_timeout:
        args["timeout"] = config.request_timeout
    if fault := fault_expiry.fault_id(config):
        args["duration"] = {"seconds": config.fault_seconds, "id": fault}
        if fault in stack.record.over:
            args["duration"]["over"] = fault
    return args


def chaos(stack: Stack) -> None:
    """A VirtualService with faults and retries."""
    config = stack.config
    args: ChaosRuleArgs = {**_faults(stack)}  # type: ignore[typeddict-item]
    if config.fault_header and config.faulty:
        args["headers"] = dict([config.fault_header])
    needed = stack.versions() if config.fault_at == "upstream" else []
    ChaosRule(config.rule_name, args, stack.options(*needed))


def traffic(stack: Stack) -> None:
    """One VirtualService with all of it, and the gate where there is one."""
    config = stack.config
    args = _faults(stack)
    if config.fault_header and config.faulty:
        args["fault_headers"] = dict([config.fault_header])
    if config.on("canary") or config.on("premium"):
        args["backends"] = _backends(config)
        args["cohorts"] = _cohorts(config)
    _extras(config, args)
    traffic = ServiceTraffic(config.rule_name, args, stack.options(*stack.versions()))
    if config.gate and config.on("canary"):
        _gate(stack, traffic)
