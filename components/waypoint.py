"""A waypoint proxy, and the enrolment of a namespace or of Services in it."""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from . import gates, objects

_GATEWAY = "gateway.networking.k8s.io"
_LABEL = "istio.io/use-waypoint"


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


class WaypointArgs(TypedDict):
    """Arguments of `Waypoint`."""

    namespace: str
    """Where the waypoint runs, and the namespace that may be enrolled."""
    gateway: NotRequired[str]
    """Name of the Gateway; `waypoint` unless given."""
    waypoint_for: NotRequired[WaypointFor]
    """Which traffic it takes: `service` (the default), `workload` or `all`."""
    enrol: NotRequired[Enrol]
    """What is enrolled: `namespace` (the default), `services` or `nothing`."""
    services: NotRequired[list[str]]
    """The Services to enrol, with `enrol: services`."""
    access_log: NotRequired[bool]
    """Log each request to the waypoint's standard output, by the mesh's provider `envoy`."""
    limit_seconds: NotRequired[float]
    """How long to wait for the rollout, 1 to 3600; 180 unless given."""
    kubeconfig: NotRequired[str]
    """Path of the kubeconfig that the wait uses; the ambient one unless given."""
    context: NotRequired[str]
    """Context in it; the current one unless given."""


class Waypoint(pulumi.ComponentResource):
    """A Gateway of class istio-waypoint; enrols only once it is Programmed and its Deployment rolled out.

    A label whose waypoint does not answer fails open, past every policy: so it comes last, and goes first. Raises
    RunError for bad arguments. Source: https://istio.io/latest/docs/ambient/usage/waypoint/
    """

    name: pulumi.Output[str]
    """Name of the Gateway."""
    address: pulumi.Output[str]
    """Where the waypoint listens, as the Gateway's status reports it."""
    gateway_class: pulumi.Output[str]
    """The GatewayClass."""

    def __init__(self, name: str, args: WaypointArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the Gateway, the enrolment, and the access log where asked for."""
        namespace = objects.text("Waypoint", "namespace", args["namespace"])
        gateway_name = objects.text("Waypoint", "gateway", args.get("gateway", "waypoint"))
        scope = objects.choice("Waypoint", "waypoint_for", args.get("waypoint_for", "service"), WaypointFor)
        enrol = objects.choice("Waypoint", "enrol", args.get("enrol", "namespace"), Enrol)
        limit = objects.number("Waypoint", "limit_seconds", args.get("limit_seconds", 180), 1, 3600)
        services = args.get("services", [])
        if enrol is Enrol.SERVICES:
            services = objects.names("Waypoint", "services", services)
        elif services:
            raise objects.refuse("Waypoint", "services", services, "absent unless enrol is services")
        target = gates.target("Waypoint", args)
        super().__init__("waypoint-lab:index:Waypoint", name, {**args}, opts)
        own = pulumi.ResourceOptions(parent=self)

        gateway = objects.KubernetesObject(f"{name}-gateway", _gateway(namespace, gateway_name, scope), own)
        # Before the label, not after the Gateway: a wait that failed is then asked again by the next up.
        rollout = gates.hook(
            f"{name}-rollout", target, gates.one("deployment", namespace, gateway_name), gates.rollout_problem, limit
        )
        ready = pulumi.ResourceOptions(
            parent=self,
            depends_on=[gateway],
            hooks=pulumi.ResourceHookBinding(before_create=[rollout], before_update=[rollout]),
        )
        labels = {_LABEL: gateway_name}
        if enrol is Enrol.NAMESPACE:
            place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
            objects.KubernetesObject(f"{name}-enrolment", place, ready, patch=True)
        for service in services:
            metadata = {"name": service, "namespace": namespace, "labels": labels}
            enrolled = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
            objects.KubernetesObject(f"{name}-enrolment-{service}", enrolled, ready, patch=True)
        if args.get("access_log", False):
            objects.KubernetesObject(
                f"{name}-access-log",
                _telemetry(namespace, gateway_name),
                pulumi.ResourceOptions(parent=self, depends_on=[gateway]),
            )
        self.name = pulumi.Output.from_input(gateway_name)
        self.address = gateway.status.apply(_address)
        self.gateway_class = pulumi.Output.from_input("istio-waypoint")
        self.register_outputs({"name": self.name, "address": self.address, "gatewayClass": self.gateway_class})


def _gateway(namespace: str, name: str, scope: WaypointFor) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GATEWAY}/v1",
        "kind": "Gateway",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"istio.io/waypoint-for": str(scope)},
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


def _telemetry(namespace: str, gateway: str) -> dict[str, Any]:
    return {
        "apiVersion": "telemetry.istio.io/v1",
        "kind": "Telemetry",
        "metadata": {"name": f"{gateway}-access-logging", "namespace": namespace},
        "spec": {
            "targetRefs": [{"group": _GATEWAY, "kind": "Gateway", "name": gateway}],
            "accessLogging": [{"providers": [{"name": "envoy"}]}],
        },
    }


def _address(status: Any) -> str:
    addresses = (status or {}).get("addresses") or [{}]
    return str(addresses[0].get("value", ""))
