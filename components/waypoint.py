"""A waypoint proxy, and the enrolment of a namespace or of Services in it."""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from ._internal import gateway_cleanup, migration, objects, waits

_GATEWAY = "gateway.networking.k8s.io"
_DEFAULT = "waypoint"


class WaypointFor(StrEnum):
    """Which traffic the waypoint takes: to Services, to workloads' own addresses, or both."""

    SERVICE = "service"
    """Requests to Services."""
    WORKLOAD = "workload"
    """Requests to workloads' own addresses."""
    ALL = "all"
    """Both."""


class Enrol(StrEnum):
    """What gets the label that sends traffic through the waypoint."""

    NAMESPACE = "namespace"
    """The namespace, and so every Service in it."""
    SERVICES = "services"
    """The Services that are named."""
    NOTHING = "nothing"
    """Nothing yet: the waypoint is there, but no traffic goes through it."""


class CanaryWaypoint(TypedDict):
    """A second waypoint beside the primary, which takes a share of the same Services' connections."""

    gateway: str
    """Name of its Gateway, in the same namespace."""
    weight: NotRequired[int]
    """Whole percent of the new connections that it gets, 0 (unless given) to 100; open ones stay where they are."""
    revision: NotRequired[str]
    """Revision of Istio that programs it, such as `1-31-0`; the namespace's unless given."""


class WaypointArgs(TypedDict):
    """Arguments of `Waypoint`."""

    namespace: str
    """Where the waypoint runs, and the namespace that may be enrolled."""
    gateway: NotRequired[str]
    """Name of the Gateway; `waypoint` unless given."""
    revision: NotRequired[str]
    """Revision of Istio that programs it, such as `1-31-0`; the namespace's unless given."""
    canary: NotRequired[CanaryWaypoint]
    """A second waypoint that is to take over, by and by. Needs Istio 1.31."""
    waypoint_for: NotRequired[WaypointFor]
    """Which traffic it takes: `service` (the default), `workload` or `all`."""
    enrol: NotRequired[Enrol]
    """What is enrolled: `namespace` (the default), `services` or `nothing`."""
    services: NotRequired[list[str]]
    """The Services to enrol, with `enrol: services`."""
    access_log: NotRequired[bool]
    """Log each request to the waypoint's standard output, by the mesh's provider `envoy`."""
    limit_seconds: NotRequired[float]
    """How long each wait for a waypoint may take, 1 to 3600; 180 unless given."""
    kubeconfig: NotRequired[str]
    """Path of the kubeconfig that the wait uses; the ambient one unless given."""
    context: NotRequired[str]
    """Context in it; the current one unless given."""


class Waypoint(pulumi.ComponentResource):
    """A Gateway of class istio-waypoint; enrols only once it is Programmed and its Deployment rolled out.

    A label whose waypoint does not answer fails open, past every policy: so it comes last, and goes first. Another
    waypoint takes over without a lost request as `canary`: raise its weight to 100, then make it the `gateway`. The one
    that leaves is let go in order: its open connections are ended first. Raises RunError for bad arguments.
    Source: https://istio.io/latest/docs/ambient/usage/waypoint/
    and, on canaries, https://github.com/istio/istio/issues/60801.
    """

    name: pulumi.Output[str]
    """Name of the Gateway."""
    address: pulumi.Output[str]
    """Where the waypoint listens, as the Gateway's status reports it."""
    gateway_class: pulumi.Output[str]
    """The GatewayClass."""

    def __init__(self, name: str, args: WaypointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the Gateways, the enrolment, the canary's weight, and the access logs where asked for."""
        namespace = objects.text("Waypoint", "namespace", args["namespace"])
        primary = objects.text("Waypoint", "gateway", args.get("gateway", _DEFAULT))
        scope = objects.choice("Waypoint", "waypoint_for", args.get("waypoint_for", "service"), WaypointFor)
        enrol = objects.choice("Waypoint", "enrol", args.get("enrol", "namespace"), Enrol)
        limit = objects.number("Waypoint", "limit_seconds", args.get("limit_seconds", 180), 1, 3600)
        services = args.get("services", [])
        if enrol is Enrol.SERVICES:
            services = objects.names("Waypoint", "services", services)
        elif services:
            raise objects.refuse("Waypoint", "services", services, "absent unless enrol is services")
        canary = _canary(args, primary, enrol, scope)
        target = waits.target("Waypoint", args)
        super().__init__("waypoint-lab:index:Waypoint", name, {**args}, opts)

        revisions, labels = {primary: args.get("revision", "")}, {migration.PRIMARY: primary}
        if canary:
            revisions[canary["gateway"]] = canary.get("revision", "")
            labels[migration.CANARY] = canary["gateway"]
        gateways: list[objects.KubernetesObject] = []
        rollouts: list[pulumi.ResourceHook] = []
        for gateway, revision in revisions.items():
            suffix = _suffix(gateway)
            document = _gateway(namespace, gateway, scope, revision)
            collected = gateway_cleanup.hook(f"{name}-collected{suffix}", target, namespace, gateway, limit)
            first = pulumi.ResourceOptions(parent=self, hooks=pulumi.ResourceHookBinding(before_create=[collected]))
            gateways.append(objects.KubernetesObject(f"{name}-gateway{suffix}", document, first))
            what = waits.one("deployment", namespace, gateway)
            rollouts.append(waits.hook(f"{name}-rollout{suffix}", target, what, waits.rollout_problem, limit))
        if args.get("access_log", False):
            # One for both: istioctl takes two without a workload selector for a mistake (IST0160).
            bound = pulumi.ResourceOptions(parent=self, depends_on=gateways)
            objects.KubernetesObject(f"{name}-access-log{_suffix(primary)}", _telemetry(namespace, [*revisions]), bound)
        places = _places(enrol, namespace, services)
        asked = [[place["kind"].lower(), place["metadata"]["name"]] for place in places.values()]
        leaving = migration.leaving(f"{name}-leaving", target, namespace, asked, limit)
        # Before the label, not after the Gateway: a wait that failed is then asked again by the next up.
        ready = pulumi.ResourceOptions(
            parent=self,
            depends_on=gateways,
            hooks=pulumi.ResourceHookBinding(before_create=[*rollouts, leaving], before_update=[*rollouts, leaving]),
        )
        for suffix, place in places.items():
            document = _with(place, "labels", labels)
            enrolment = objects.KubernetesObject(f"{name}-enrolment{suffix}", document, ready, patch=True)
            if canary:
                # A patch of its own, after the label's: until it comes, the canary is told of the Services at 0 %.
                pair = (primary, canary["gateway"])
                told = migration.telling(f"{name}-share{suffix}", target, namespace, pair, services, limit)
                informed = pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[enrolment],
                    hooks=pulumi.ResourceHookBinding(before_create=[told], before_update=[told]),
                )
                document = _with(place, "annotations", {migration.WEIGHT: f"{canary['weight']}"})
                objects.KubernetesObject(f"{name}-share{suffix}", document, informed, patch=True)
        self.name = pulumi.Output.from_input(primary)
        self.address = gateways[0].status.apply(_address)
        self.gateway_class = pulumi.Output.from_input("istio-waypoint")
        self.register_outputs({"name": self.name, "address": self.address, "gatewayClass": self.gateway_class})


def _canary(args: WaypointArgs, primary: str, enrol: Enrol, scope: WaypointFor) -> CanaryWaypoint | None:
    """The canary with its weight filled in; None where there is none. Raises RunError."""
    given = args.get("canary")
    if given is None:
        return None
    for field in set(given) - CanaryWaypoint.__annotations__.keys():
        raise objects.refuse("Waypoint", "a field of canary", field, ", ".join(CanaryWaypoint.__annotations__))
    gateway = objects.text("Waypoint", "canary.gateway", given.get("gateway"))
    if gateway == primary:
        raise objects.refuse("Waypoint", "canary.gateway", gateway, "another name than the primary's")
    if enrol is Enrol.NOTHING:
        raise objects.refuse("Waypoint", "canary", given, "absent where enrol is nothing: no connections come to share")
    if scope is WaypointFor.WORKLOAD:
        raise objects.refuse("Waypoint", "canary", given, "absent with workload: Istio shares Services' traffic only")
    return {
        **given,
        "gateway": gateway,
        "weight": objects.whole("Waypoint", "canary.weight", given.get("weight", 0), 0, 100),
    }


def _places(enrol: Enrol, namespace: str, services: list[str]) -> dict[str, dict[str, Any]]:
    """What carries the labels, by the end of its resource's name."""
    if enrol is Enrol.NAMESPACE:
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
    """The end of the name of a Gateway's resource: a canary that becomes the primary is the same resource still."""
    return "" if gateway == _DEFAULT else f"-{gateway}"


def _gateway(namespace: str, name: str, scope: WaypointFor, revision: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GATEWAY}/v1",
        "kind": "Gateway",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"istio.io/waypoint-for": str(scope), **({"istio.io/rev": revision} if revision else {})},
            "annotations": objects.wait_for("condition=Programmed"),
        },
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [
                {
                    "name": "mesh",
                    "port": 15008,
                    "protocol": "HBONE",
                    "allowedRoutes": {"namespaces": {"from": "All"}},
                }
            ],
        },
    }


def _telemetry(namespace: str, gateways: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": f"{gateways[0]}-access-logging", "namespace": namespace},
        "spec": {
            "targetRefs": [{"group": _GATEWAY, "kind": "Gateway", "name": gateway} for gateway in gateways],
            "accessLogging": [{"providers": [{"name": "envoy"}]}],
        },
    }


def _address(status: Any) -> str:
    addresses = (status or {}).get("addresses") or [{}]
    return str(addresses[0].get("value", ""))
