"""Builds the stages that are on, in the order of the table of stages."""

import json
from collections.abc import Callable

import pulumi
import pulumi_kubernetes as kubernetes

from components import Bookinfo, CanaryRoute, ChaosRule, FailClosed, L7Policy, ServiceTraffic, Waypoint, objects
from components.canary_route import Backend, CanaryRouteArgs, Cohort
from components.chaos_rule import ChaosRuleArgs, Inject
from components.kind_cluster import KindCluster, KindClusterArgs
from components.service_traffic import ServiceTrafficArgs
from components.waypoint import WaypointArgs
from lab import enforcer, faults
from lab.config import LabConfig
from lab.stages import STAGES

# role -> label `version` of the Pods behind it
VERSIONS = {"baseline": "v1", "premium": "v2", "stable": "v3"}


class Stack:
    """What the stages share while they are built."""

    def __init__(self, config: LabConfig, record: faults.Record) -> None:
        """Registers the provider, and the application where the config asks for it."""
        self.config = config
        self.record = record
        self.after: list[pulumi.Resource] = []
        provider = self._provider()
        self._providers: list[pulumi.ProviderResource] | None = [provider] if provider else None
        if config.deploy_bookinfo:
            self.after.append(Bookinfo("bookinfo", {}, self.options()))
        self._versions: list[pulumi.Resource] = []

    def _provider(self) -> kubernetes.Provider | None:
        """The cluster's own provider; none where the environment's cluster is meant."""
        config = self.config
        if config.target == "kind":
            args: KindClusterArgs = {
                "cluster_name": config.kind_name,
                "kubeconfig": config.kubeconfig,
                "istio_hub": config.istio_hub,
                "istio_tag": config.istio_tag,
            }
            if config.kind_config:
                args["config"] = config.kind_config
            cluster = KindCluster("kind", args)
            return kubernetes.Provider("cluster", kubeconfig=cluster.kubeconfig)
        if not config.kubeconfig and not config.context:
            return None
        return kubernetes.Provider("cluster", kubeconfig=config.kubeconfig or None, context=config.context or None)

    def options(self, *more: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a resource that comes after what is there already, and after `more`."""
        return pulumi.ResourceOptions(providers=self._providers, depends_on=[*self.after, *more])

    def versions(self) -> list[pulumi.Resource]:
        """The Services of single versions, made once; the user's own Service keeps its selector."""
        if not self._versions:
            config = self.config
            for role, version in VERSIONS.items():
                name = f"{config.service}-{role}"
                labels = {"app": config.service, "version": version}
                service = objects.KubernetesObject(
                    name,
                    {
                        "apiVersion": "v1",
                        "kind": "Service",
                        "metadata": {
                            "name": name,
                            "namespace": config.namespace,
                            "labels": {"app": config.service},
                            "annotations": objects.SERVICE_READY,
                        },
                        "spec": {"selector": labels, "ports": [{"name": "http", "port": config.port}]},
                    },
                    pulumi.ResourceOptions(
                        provider=self._providers[0] if self._providers else None, depends_on=self.after
                    ),
                )
                self._versions.append(service)
        return self._versions


def _gateways(config: LabConfig) -> WaypointArgs:
    args: WaypointArgs = {"namespace": config.namespace, "gateway": config.waypoint_name}
    if config.waypoint_revision:
        args["revision"] = config.waypoint_revision
    if config.waypoint_canary:
        args["canary"] = {"gateway": config.waypoint_canary, "weight": config.waypoint_canary_weight}
        if config.waypoint_canary_revision:
            args["canary"]["revision"] = config.waypoint_canary_revision
    return args


def _waypoint(stack: Stack) -> None:
    config = stack.config
    waypoint = Waypoint(
        "waypoint",
        {
            **_gateways(config),
            "access_log": config.on("accessLog"),
            "kubeconfig": config.kubeconfig,
            "context": config.context,
        },
        stack.options(),
    )
    stack.after.append(waypoint)
    if config.fail_closed:
        if line := enforcer.warning(config):
            pulumi.warn(line)
        # After the enrolment: clients that still come past the waypoint would be refused.
        FailClosed(
            f"{config.service}-fail-closed",
            {"namespace": config.namespace, "labels": {"app": config.service}},
            stack.options(),
        )
    pulumi.export("waypoint", {"name": waypoint.name, "address": waypoint.address, "class": waypoint.gateway_class})


def _l7_policy(stack: Stack) -> None:
    config = stack.config
    L7Policy(
        f"{config.service}-l7-policy",
        {"namespace": config.namespace, "services": [config.service], "rules": [{"methods": ["GET"]}]},
        stack.options(),
    )


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


def _route(stack: Stack) -> None:
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
    from lab import gate  # a fifth of a second, which only stacks with a gate are to pay

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
    if fault := faults.fault_id(config):
        args["duration"] = {"seconds": config.fault_seconds, "id": fault}
        if fault in stack.record.over:
            args["duration"]["over"] = fault
    return args


def _chaos(stack: Stack) -> None:
    config = stack.config
    args: ChaosRuleArgs = {**_faults(stack)}  # type: ignore[typeddict-item]
    if config.fault_header and config.faulty:
        args["headers"] = dict([config.fault_header])
    needed = stack.versions() if config.fault_at == "upstream" else []
    ChaosRule(config.rule_name, args, stack.options(*needed))


def _traffic(stack: Stack) -> None:
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


# Toggles that share a builder make one object together.
BUILDERS: dict[str, Callable[[Stack], None]] = {
    "waypoint": _waypoint,
    "l7Policy": _l7_policy,
    "canary": _route,
    "premium": _route,
    "delay": _chaos,
    "abort": _chaos,
    "retries": _chaos,
}
COMBINED: dict[str, Callable[[Stack], None]] = {
    **BUILDERS,
    **dict.fromkeys(("canary", "premium", "delay", "abort", "retries"), _traffic),
}


def build(config: LabConfig, record: faults.Record = faults.Record()) -> None:  # noqa: B008 - a constant
    """Registers everything that `config` turns on; `record` is what the cluster knows of its faults."""
    if config.gate and not config.on("canary"):
        pulumi.log.warn("waypoint-lab:gate is set, but stages.canary is off: nothing is measured")
    stack = Stack(config, record)
    builders = COMBINED if config.combined else BUILDERS
    on = [builders[row.key] for row in STAGES if row.key in config.stages and row.key in builders]
    for builder in dict.fromkeys(on):
        builder(stack)
