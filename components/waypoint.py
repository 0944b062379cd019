"""A waypoint proxy, and the enrollment of a namespace or of Services in it."""

from collections.abc import Sequence
from functools import partial
from typing import NotRequired, TypedDict

import pulumi

from ._internal import (
    arguments,
    enrollment,
    gateway_cleanup,
    gateway_objects,
    http_text,
    migration,
    objects,
    owners,
    sync,
    waits,
    waypoint_arguments,
    waypoint_deployment,
    waypoint_parameters,
)
from .types import Autoscaling, CanaryWaypoint, DisruptionBudget, Enroll, ProxyResources, WaypointFor

_KIND = "Waypoint"


class WaypointArgs(TypedDict):
    """Arguments of `Waypoint`."""

    namespace: pulumi.Input[str]
    """Namespace of the waypoint, which may also be enrolled."""
    gateway: NotRequired[str]
    """Name of the Gateway; `waypoint` unless given. A plain value."""
    revision: NotRequired[pulumi.Input[str]]
    """Revision of Istio that programs it, such as `1-31-0`; the namespace's unless given."""
    canary: NotRequired[CanaryWaypoint]
    """A second waypoint to migrate traffic to. Needs Istio 1.31."""
    waypoint_for: NotRequired[WaypointFor]
    """Traffic that it takes: `service` (the default), `workload` or `all`."""
    enroll: NotRequired[Enroll]
    """Objects to enroll: `namespace` (the default), `services` or `nothing`."""
    services: NotRequired[list[str]]
    """The Services to enroll, with `enroll: services`: `NAME`, or `NAMESPACE/NAME` of another namespace. Plain."""
    namespaces: NotRequired[list[str]]
    """The namespaces to enroll, with `enroll: namespace`; the waypoint's own unless given. Plain."""
    access_log: NotRequired[bool]
    """Log each request to the waypoint's standard output, by the mesh's provider `envoy`."""
    replicas: NotRequired[int]
    """Number of its replicas, 1 to 1000; 1 unless given. Plain."""
    autoscaling: NotRequired[Autoscaling]
    """An autoscaler that chooses the number of replicas; absent with `replicas`."""
    resources: NotRequired[ProxyResources]
    """Requests and limits of its proxy."""
    disruption_budget: NotRequired[DisruptionBudget]
    """Replicas that may be evicted at a time; any number unless given."""
    pod_labels: NotRequired[dict[str, str]]
    """More labels of its Pods. Plain."""
    pod_annotations: NotRequired[dict[str, str]]
    """More annotations of its Pods. Plain."""
    limit_seconds: NotRequired[float]
    """Seconds that each wait may take, 1 to 3600; 180 unless given."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig that the waits use: its path, `~` included, or its contents; the default provider's unless given."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given."""


def _taken(known: Sequence[str], first: str) -> pulumi.RunError:
    return objects.refuse(_KIND, "gateway", known[1], f"one that {first} does not have in namespace {known[0]} as well")


class Waypoint(pulumi.ComponentResource):
    """A Gateway of class istio-waypoint; enrolls only once it is Programmed and its Deployment rolled out.

    With a label but no running waypoint, traffic bypasses every policy, so the label is written last and removed first.
    Traffic migrates to another waypoint without a lost request as `canary`: raise its weight to 100, then make it the
    `gateway`. The waypoint that leaves is drained. Raises RunError for bad arguments.
    Source: https://istio.io/latest/docs/ambient/usage/waypoint/
    and, on canaries, https://github.com/istio/istio/issues/60801.
    """

    name: pulumi.Output[str]
    """Name of the Gateway."""
    address: pulumi.Output[str]
    """Address that the waypoint listens on, as the Gateway's status reports it."""
    gateway_class: pulumi.Output[str]
    """The GatewayClass."""

    def __init__(self, name: str, args: WaypointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the Gateways, the enrollment, the canary's weight, and the access logs."""
        args = arguments.read(_KIND, args, WaypointArgs)
        namespace = http_text.label(_KIND, "namespace", args["namespace"])
        primary = http_text.label(_KIND, "gateway", args.get("gateway", waypoint_arguments.DEFAULT))
        scope = args.get("waypoint_for", WaypointFor.SERVICE)
        enroll = args.get("enroll", Enroll.NAMESPACE)
        limit = objects.limit_seconds(_KIND, args, 180)
        services = waypoint_arguments.services(_KIND, args, enroll)
        namespaces = waypoint_arguments.namespaces(_KIND, args, enroll)
        canary = waypoint_arguments.canary(_KIND, args.get("canary"), primary, enroll, scope)
        revisions = {primary: waypoint_arguments.revision(_KIND, args, "revision")}
        labels, homes = {enrollment.PRIMARY: primary}, {enrollment.PRIMARY_HOME: namespace}
        if canary:
            revisions[canary["gateway"]] = waypoint_arguments.revision(_KIND, canary, "canary.revision")
            labels[enrollment.CANARY], homes[enrollment.CANARY_HOME] = canary["gateway"], namespace
        log = args.get("access_log", False)
        specs = waypoint_parameters.check(_KIND, args)
        super().__init__("waypoint-lab:index:Waypoint", name, {**args}, opts)
        cluster = waits.access(args, self)
        # The namespace of each Gateway's objects, which fails where the Gateway is another component's.
        claimed = {
            gateway: owners.once(namespace, f"{_KIND} {name}", [namespace, gateway, *cluster], _taken)
            for gateway in revisions
        }

        timeouts = objects.timeouts(limit)
        gateways: list[objects.KubernetesObject] = []
        before_labels: list[pulumi.ResourceHook] = []
        found = waypoint_arguments.places(enroll, namespace, services, namespaces)
        places = [place.text for place in found if place.text]
        enrolled = None if enroll is Enroll.NOTHING else places
        for gateway, revision in revisions.items():
            suffix = waypoint_arguments.suffix(gateway)
            collected = gateway_cleanup.hook(f"{name}-collected{suffix}", cluster, limit, enrolled, labels)
            parameters = waypoint_parameters.build(specs, gateway)
            hooks = waypoint_deployment.hooks(f"{name}-parameters{suffix}", cluster, parameters, limit)
            untaken = owners.untaken_hook(f"{name}-untaken{suffix}", cluster, limit)
            hooks.before_create = [untaken, collected]
            before: list[pulumi.Resource] = []
            if parameters:
                document = parameters.config_map(claimed[gateway])
                # Not protected with the component: new parameters replace it.
                first = pulumi.ResourceHookBinding(before_create=[untaken])
                child = pulumi.ResourceOptions(parent=self, hooks=first, protect=False)
                before.append(objects.KubernetesObject(f"{name}-parameters{suffix}", document, child))
            options = pulumi.ResourceOptions(
                parent=self,
                depends_on=before,
                custom_timeouts=timeouts,
                hooks=hooks,
                ignore_changes=gateway_objects.KEPT,
            )
            document = gateway_objects.gateway(
                claimed[gateway], gateway, str(scope), revision, parameters.name if parameters else ""
            )
            gateways.append(objects.KubernetesObject(f"{name}-gateway{suffix}", document, options))
            rolled_out = partial(migration.rolled_out, gateway=gateway, parameters=parameters)
            before_labels.append(migration.hook(f"{name}-rollout{suffix}", cluster, namespace, limit, rolled_out))
        if log:
            # One for both, because istioctl reports two without a workload selector (IST0160).
            bound = pulumi.ResourceOptions(
                parent=self,
                depends_on=gateways,
                hooks=sync.hooks(f"{name}-access-log", cluster, limit),
                protect=False,
            )
            telemetry = gateway_objects.telemetry(namespace, [*revisions])
            objects.KubernetesObject(f"{name}-access-log{waypoint_arguments.suffix(primary)}", telemetry, bound)
        before_labels.append(migration.before_labels(f"{name}-drain", cluster, namespace, places, limit))
        for suffix, text, place, elsewhere in found:
            after: list[pulumi.ResourceHook] = []
            if scope is not WaypointFor.WORKLOAD:
                # Of each Service's own patch, that Service alone: the others may not have their labels yet.
                own = partial(migration.sync, gateway=primary, places=[text] if text else [])
                after.append(migration.hook(f"{name}-synced{suffix}", cluster, namespace, limit, own))
            # Before the label, not after the Gateway: a wait that failed is then repeated by the next up.
            hooks = pulumi.ResourceHookBinding(
                before_create=[*before_labels],
                before_update=[*before_labels],
                after_create=[*after],
                after_update=[*after],
            )
            ready = pulumi.ResourceOptions(parent=self, depends_on=gateways, hooks=hooks)
            document = waypoint_arguments.extended(place, "labels", labels, homes if elsewhere else {})
            labelled = objects.KubernetesObject(f"{name}-enrollment{suffix}", document, ready, patch=True)
            if canary:
                # A patch of its own, after the label's: until it comes, the canary gets the Services at 0 %.
                both = partial(migration.sync_canary, primary=primary, canary=canary["gateway"], places=places)
                synced = migration.hook(f"{name}-weight{suffix}", cluster, namespace, limit, both)
                last = pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[labelled],
                    hooks=pulumi.ResourceHookBinding(before_create=[synced], before_update=[synced]),
                )
                document = waypoint_arguments.extended(place, "annotations", {enrollment.WEIGHT: f"{canary['weight']}"})
                objects.KubernetesObject(f"{name}-weight{suffix}", document, last, patch=True)
        self.name = pulumi.Output.from_input(primary)
        self.address = gateways[0].status.apply(gateway_objects.address)
        self.gateway_class = pulumi.Output.from_input("istio-waypoint")
        self.register_outputs({"name": self.name, "address": self.address, "gatewayClass": self.gateway_class})
