"""Builds the stages that are on, in the order of the table of stages."""

from collections.abc import Callable

import pulumi
import pulumi_kubernetes as kubernetes

import routes
from components import Bookinfo, FailClosed, L7Policy, Waypoint, objects
from components.fail_closed import FailClosedArgs
from components.kind_cluster import KindCluster, KindClusterArgs
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
        guard: FailClosedArgs = {"namespace": config.namespace, "labels": {"app": config.service}}
        if config.waypoint_name != LabConfig.waypoint_name:
            guard["waypoint"] = config.waypoint_name
        if config.waypoint_canary:
            guard["canary"] = config.waypoint_canary
        FailClosed(f"{config.service}-fail-closed", guard, stack.options())
    pulumi.export("waypoint", {"name": waypoint.name, "address": waypoint.address, "class": waypoint.gateway_class})


def _l7_policy(stack: Stack) -> None:
    config = stack.config
    L7Policy(
        f"{config.service}-l7-policy",
        {"namespace": config.namespace, "services": [config.service], "rules": [{"methods": ["GET"]}]},
        stack.options(),
    )


# Toggles that share a builder make one object together.
BUILDERS: dict[str, Callable[[Stack], None]] = {
    "waypoint": _waypoint,
    "l7Policy": _l7_policy,
    "canary": routes.route,
    "premium": routes.route,
    "delay": routes.chaos,
    "abort": routes.chaos,
    "retries": routes.chaos,
}
COMBINED: dict[str, Callable[[Stack], None]] = {
    **BUILDERS,
    **dict.fromkeys(("canary", "premium", "delay", "abort", "retries"), routes.traffic),
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
