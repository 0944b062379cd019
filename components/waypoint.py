"""A waypoint proxy, and the enrollment of a namespace or of Services in it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from ._internal import enrollment, gateway_cleanup, gateway_objects, migration, objects, sync, waits

_DEFAULT = "waypoint"
_KIND = "Waypoint"


class WaypointFor(StrEnum):
    """Traffic that the waypoint takes: to Services, to workloads' own addresses, or both."""

    SERVICE = "service"
    """Requests to Services."""
    WORKLOAD = "workload"
    """Requests to workloads' own addresses."""
    ALL = "all"
    """Both."""


class Enroll(StrEnum):
    """Objects that get the label that sends traffic through the waypoint."""

    NAMESPACE = "namespace"
    """The namespace, and so every Service in it."""
    SERVICES = "services"
    """The Services that are named."""
    NOTHING = "nothing"
    """None: the waypoint runs, but no traffic goes through it."""


class CanaryWaypoint(TypedDict):
    """A second waypoint beside the primary, which takes a share of the same Services' connections."""

    gateway: str
    """Name of its Gateway, in the same namespace; a plain value."""
    weight: NotRequired[int]
    """Whole percent of the new connections that it gets, 0 (the default) to 100; a plain value."""
    revision: NotRequired[pulumi.Input[str]]
    """Revision of Istio that programs it, such as `1-31-0`; the namespace's unless given."""


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
    """The Services to enroll, with `enroll: services`; plain values."""
    access_log: NotRequired[bool]
    """Log each request to the waypoint's standard output, by the mesh's provider `envoy`."""
    limit_seconds: NotRequired[float]
    """Seconds that each wait may take, 1 to 3600; 180 unless given."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Path of the kubeconfig that the waits use, `~` included; the ambient one unless given."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given."""


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
        namespace = objects.passed_on(_KIND, "namespace", args["namespace"])
        primary = objects.text(_KIND, "gateway", args.get("gateway", _DEFAULT))
        scope = objects.choice(_KIND, "waypoint_for", args.get("waypoint_for", "service"), WaypointFor)
        enroll = objects.choice(_KIND, "enroll", args.get("enroll", "namespace"), Enroll)
        limit = objects.number(_KIND, "limit_seconds", args.get("limit_seconds", 180), 1, 3600)
        services = args.get("services", [])
        if enroll is Enroll.SERVICES:
            services = objects.names(_KIND, "services", services)
        elif services:
            raise objects.refuse(_KIND, "services", services, "absent unless enroll is services")
        canary = _canary(args, primary, enroll, scope)
        revisions, labels = {primary: _revision(args, "revision")}, {enrollment.PRIMARY: primary}
        if canary:
            revisions[canary["gateway"]] = _revision(canary, "canary.revision")
            labels[enrollment.CANARY] = canary["gateway"]
        if not isinstance(log := args.get("access_log", False), bool):
            raise objects.refuse(_KIND, "access_log", log, "true or false")
        cluster = waits.access(_KIND, args)
        super().__init__("waypoint-lab:index:Waypoint", name, {**args}, opts)

        # The provider's own wait has the same limit.
        timeouts = pulumi.CustomTimeouts(create=f"{limit:g}s", update=f"{limit:g}s")
        gateways: list[objects.KubernetesObject] = []
        before_labels: list[pulumi.ResourceHook] = []
        enrolled = None if enroll is Enroll.NOTHING else services
        for gateway, revision in revisions.items():
            suffix = _suffix(gateway)
            collected = gateway_cleanup.hook(f"{name}-collected{suffix}", cluster, limit, enrolled, labels)
            first = pulumi.ResourceOptions(
                parent=self,
                custom_timeouts=timeouts,
                hooks=pulumi.ResourceHookBinding(before_create=[collected]),
            )
            document = gateway_objects.gateway(namespace, gateway, str(scope), revision)
            gateways.append(objects.KubernetesObject(f"{name}-gateway{suffix}", document, first))
            before_labels.append(migration.rolled_out(f"{name}-rollout{suffix}", cluster, gateway, limit))
        if log:
            # One for both, because istioctl reports two without a workload selector (IST0160).
            bound = pulumi.ResourceOptions(
                parent=self, depends_on=gateways, hooks=sync.hooks(f"{name}-access-log", cluster, limit)
            )
            telemetry = gateway_objects.telemetry(namespace, [*revisions])
            objects.KubernetesObject(f"{name}-access-log{_suffix(primary)}", telemetry, bound)
        before_labels.append(migration.before_labels(f"{name}-drain", cluster, services, limit))
        for suffix, place in _places(enroll, namespace, services).items():
            after: list[pulumi.ResourceHook] = []
            if scope is not WaypointFor.WORKLOAD:
                # Of each Service's own patch, that Service alone: the others may not have their labels yet.
                own = [suffix[1:]] if suffix else []
                after.append(migration.after_labels(f"{name}-synced{suffix}", cluster, primary, own, limit))
            # Before the label, not after the Gateway: a wait that failed is then repeated by the next up.
            hooks = pulumi.ResourceHookBinding(
                before_create=[*before_labels],
                before_update=[*before_labels],
                after_create=[*after],
                after_update=[*after],
            )
            ready = pulumi.ResourceOptions(parent=self, depends_on=gateways, hooks=hooks)
            document = _with(place, "labels", labels)
            labelled = objects.KubernetesObject(f"{name}-enrollment{suffix}", document, ready, patch=True)
            if canary:
                # A patch of its own, after the label's: until it comes, the canary gets the Services at 0 %.
                pair = (primary, canary["gateway"])
                synced = migration.before_weight(f"{name}-weight{suffix}", cluster, pair, services, limit)
                last = pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[labelled],
                    hooks=pulumi.ResourceHookBinding(before_create=[synced], before_update=[synced]),
                )
                document = _with(place, "annotations", {enrollment.WEIGHT: f"{canary['weight']}"})
                objects.KubernetesObject(f"{name}-weight{suffix}", document, last, patch=True)
        self.name = pulumi.Output.from_input(primary)
        self.address = gateways[0].status.apply(gateway_objects.address)
        self.gateway_class = pulumi.Output.from_input("istio-waypoint")
        self.register_outputs({"name": self.name, "address": self.address, "gatewayClass": self.gateway_class})


def _revision(args: Mapping[str, Any], field: str) -> pulumi.Input[str]:
    return objects.passed_on(_KIND, field, args["revision"]) if args.get("revision", "") != "" else ""


def _canary(args: WaypointArgs, primary: str, enroll: Enroll, scope: WaypointFor) -> CanaryWaypoint | None:
    """Return the canary with its weight filled in; None where there is none. Raise RunError."""
    given = args.get("canary")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise objects.refuse(_KIND, "canary", given, "an object with gateway and weight")
    for field in set(given) - CanaryWaypoint.__annotations__.keys():
        raise objects.refuse(_KIND, "a field of canary", field, ", ".join(CanaryWaypoint.__annotations__))
    gateway = objects.text(_KIND, "canary.gateway", given.get("gateway"))
    if gateway == primary:
        raise objects.refuse(_KIND, "canary.gateway", gateway, "another name than the primary's")
    if enroll is Enroll.NOTHING:
        raise objects.refuse(_KIND, "canary", given, "absent where enroll is nothing: no connections come to share")
    if scope is WaypointFor.WORKLOAD:
        raise objects.refuse(_KIND, "canary", given, "absent with workload: Istio shares Services' traffic only")
    weight = objects.whole(_KIND, "canary.weight", given.get("weight", 0), 0, 100)
    return {**given, "gateway": gateway, "weight": weight}


def _places(enroll: Enroll, namespace: pulumi.Input[str], services: list[str]) -> dict[str, dict[str, Any]]:
    """Return the objects that get the labels, by the end of the name of each one's resource."""
    if enroll is Enroll.NAMESPACE:
        return {"": {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}}
    # The provider's own wait for a Service takes ten seconds and more, and a label is there at once.
    quick = {"annotations": {"pulumi.com/skipAwait": "true"}}
    return {
        f"-{service}": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": namespace, **quick},
        }
        for service in services
    }


def _with(place: dict[str, Any], field: str, values: dict[str, str]) -> dict[str, Any]:
    metadata = place["metadata"]
    return {**place, "metadata": {**metadata, field: {**metadata.get(field, {}), **values}}}


def _suffix(gateway: str) -> str:
    """Return the end of the name of a Gateway's resource: a canary that becomes the primary is the same resource."""
    return "" if gateway == _DEFAULT else f"-{gateway}"
