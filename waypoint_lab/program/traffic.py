"""Build the stages that route traffic, and the stages that inject faults."""

import json

import pulumi

from components import (
    CanaryRoute,
    CanaryRouteArgs,
    ChaosRule,
    ChaosRuleArgs,
    Cohort,
    FaultAt,
    ServiceTraffic,
    ServiceTrafficArgs,
)
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.program.context import Stack, arguments
from waypoint_lab.program.owned import owned
from waypoint_lab.stages import fault_expiry


def _split(config: LabConfig, args: CanaryRouteArgs | ServiceTrafficArgs) -> None:
    """Add the split of the traffic: all of it to the baseline where there is no canary."""
    args["cohorts"] = _cohorts(config)
    if config.stages.canary:
        args["baseline"] = config.app.baseline.service
        args["canary"] = config.app.canary.service
        args["weight"] = config.canary.weight
    else:
        args["backends"] = [{"name": config.app.baseline.service, "weight": 100}]


def _cohorts(config: LabConfig) -> list[Cohort]:
    """Return the cohorts, that of the canary first: the first match decides, and CanaryRoute refuses another order."""
    found: list[Cohort] = []
    if config.canary_cohort:
        found.append(_cohort(config.canary_cohort, config.app.canary.service))
    for backend, cohort in config.backend_cohorts.items():
        found.append(_cohort(cohort, config.app.backends[backend].service))
    return found


def _cohort(cohort: CohortSettings, service: str) -> Cohort:
    found: Cohort = {"backends": [{"name": service}]}
    if cohort.header:
        found["header"], found["value"] = cohort.header.lower(), cohort.value
    if cohort.cookie:
        found["cookies"] = {cohort.cookie: cohort.value}
    if cohort.query:
        found["query"] = {cohort.query: cohort.value}
    if cohort.method:
        found["method"] = cohort.method
    if cohort.path:
        found["path"] = cohort.path
    if cohort.path_prefix:
        found["path_prefix"] = cohort.path_prefix
    return found


def _extras(config: LabConfig, args: CanaryRouteArgs | ServiceTrafficArgs) -> None:
    canary = config.app.canary.service
    if config.canary.mirror_percent:
        args["mirrors"] = [{"name": canary, "percent": config.canary.mirror_percent}]
    if config.canary.request_headers:
        args["request_headers"] = {"set": {**config.canary.request_headers}}
    if config.canary.response_headers:
        args["response_headers"] = {"set": {**config.canary.response_headers}}
    if config.canary.session_affinity:
        age = config.canary.session_affinity.max_age_seconds
        args["session_affinity"] = {"backend": canary, "max_age_seconds": age}


def route(stack: Stack) -> None:
    """Register an HTTPRoute with weights and cohorts, and its gate."""
    config = stack.config
    args: CanaryRouteArgs = {
        "namespace": config.app.namespace,
        "service": config.app.service,
        "port": config.app.port,
        "kubeconfig": config.target.kubeconfig,
        "context": config.target.context,
    }
    if config.app.request_timeout:
        args["timeout"] = config.app.request_timeout
    _split(config, args)
    _extras(config, args)
    route = CanaryRoute(config.app.service, args, stack.options(*stack.versions()))
    if stack.gate:
        _gate(stack, route)


def _gate(stack: Stack, route: pulumi.Resource) -> None:
    """Register the record of the weights that passed the gate, which is written after they passed.

    An update that fails the gate does not write it, so the next update measures again. The record is an annotation,
    because other data would replace the ConfigMap.
    """
    config, gate = stack.config, stack.gate
    assert gate
    check = gate.check
    hooks = [pulumi.ResourceHook(f"{config.app.service}-gate", lambda _args: check())] if check else []
    owned(
        f"{config.app.service}-gate",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"{config.app.service}-gate",
                "namespace": config.app.namespace,
                "annotations": {"waypoint-lab/passed": json.dumps(gate.record, sort_keys=True)},
            },
        },
        stack.cluster,
        pulumi.ResourceOptions.merge(
            stack.options(route),
            pulumi.ResourceOptions(hooks=pulumi.ResourceHookBinding(before_create=[*hooks], before_update=[*hooks])),
        ),
        "delete it, or leave the Service to its owner",
    )


def _faults(stack: Stack) -> ServiceTrafficArgs:
    """Return the arguments for faults, retries and timeout, which both components have."""
    config = stack.config
    args: ServiceTrafficArgs = {
        "namespace": config.app.namespace,
        "service": config.app.service,
        "port": config.app.port,
        "fault_at": FaultAt(config.fault.at),
        "baseline": config.app.baseline.service,
        "kubeconfig": config.target.kubeconfig,
        "context": config.target.context,
    }
    if config.stages.delay:
        args["delay"] = {"seconds": config.fault.delay.seconds}
    if config.stages.abort:
        args["abort"] = {"status": config.fault.abort.status, "percent": config.fault.abort.percent}
    if config.fault.header_pair and config.faulty:
        args["fault_headers"] = dict([config.fault.header_pair])
    if config.stages.retries:
        args["retries"] = arguments(config.retries)
    if config.app.request_timeout:
        args["timeout"] = config.app.request_timeout
    if fault := fault_expiry.fault_id(config):
        args["duration"] = {"seconds": config.fault.duration_seconds, "id": fault}
        if fault in stack.expired:
            args["duration"]["expired"] = fault
    return args


def chaos(stack: Stack) -> None:
    """Register a VirtualService with faults and retries."""
    config = stack.config
    args: ChaosRuleArgs = {**_faults(stack)}  # type: ignore[typeddict-item]
    needed = stack.versions() if config.fault.at == "upstream" else []
    ChaosRule(config.rule_name, args, stack.options(*needed))


def traffic(stack: Stack) -> None:
    """Register one VirtualService with routes, faults and retries, and its gate."""
    config = stack.config
    args = _faults(stack)
    if config.stages.canary or config.stages.premium:
        _split(config, args)
    _extras(config, args)
    traffic = ServiceTraffic(config.rule_name, args, stack.options(*stack.versions()))
    if stack.gate:
        _gate(stack, traffic)
