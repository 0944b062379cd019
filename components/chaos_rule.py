"""Faults, retries and timeouts of one Service's traffic, for everyone or for one user group."""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from . import fault_upstream, objects


class Inject(StrEnum):
    """Where faults come from: the waypoint's own filter, or a workload behind it that really fails."""

    WAYPOINT = "waypoint"
    """The waypoint's fault filter, which retries do not see."""
    UPSTREAM = "upstream"
    """A workload behind the waypoint, whose failures are retried as any other's."""


class Delay(TypedDict):
    """A fixed delay before a request goes on."""

    seconds: float
    """Its length, 0.001 to 3600 seconds."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100; all unless given."""


class Abort(TypedDict):
    """An answer without the Service."""

    status: int
    """HTTP status, 200 to 599."""
    percent: NotRequired[float]
    """Share of requests, 0 to 100; all unless given."""


class Retries(TypedDict):
    """A retry policy. Retries undo no abort that the waypoint injects: its fault filter answers before the router."""

    attempts: int
    """Retries after the first try, 0 to 100."""
    per_try_timeout: NotRequired[str]
    """Limit of each try, such as 500ms."""
    retry_on: NotRequired[str]
    """Envoy's retry conditions, with commas between them; 5xx unless given."""


class ChaosRuleArgs(TypedDict):
    """Arguments of `ChaosRule`."""

    namespace: str
    """Where the Service and the rule are."""
    service: str
    """The Service whose traffic is touched; it must have a waypoint."""
    port: int
    """Its port, 1 to 65535."""
    baseline: NotRequired[str]
    """The Service that `upstream` puts its failures in front of; must not be `service` itself."""
    inject: NotRequired[Inject]
    """Where delay and abort come from: `waypoint` (the default) or `upstream`."""
    delay: NotRequired[Delay]
    """The delay, where there is to be one."""
    abort: NotRequired[Abort]
    """The abort, where there is to be one."""
    retries: NotRequired[Retries]
    """The retry policy, where there is to be one."""
    timeout: NotRequired[str]
    """Limit of a request with all its tries, such as 10s."""
    headers: NotRequired[dict[str, str]]
    """Only requests with these exact headers are touched; all others go straight to the Service."""
    cluster_domain: NotRequired[str]
    """The cluster's DNS domain; `cluster.local` unless given."""


class ChaosRule(pulumi.ComponentResource):
    """A VirtualService with all of it on one rule: Istio takes one VirtualService per host.

    Raises RunError for bad arguments. Source: https://istio.io/latest/docs/reference/config/networking/virtual-service/
    and, on retries of an injected abort, https://github.com/istio/istio/issues/13705.
    """

    name: pulumi.Output[str]
    """Name of the VirtualService."""

    def __init__(self, name: str, args: ChaosRuleArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the rule, and the failing workload where faults come from upstream."""
        namespace = objects.text("ChaosRule", "namespace", args["namespace"])
        service = objects.text("ChaosRule", "service", args["service"])
        port = objects.whole("ChaosRule", "port", args["port"], 1, 65535)
        inject = objects.choice("ChaosRule", "inject", args.get("inject", "waypoint"), Inject)
        fault = _fault(args)
        policy = _policy(args)
        if not fault and not policy:
            raise objects.refuse("ChaosRule", "rule", {}, "more than nothing: give delay, abort, retries or timeout")
        baseline = args.get("baseline", "")
        upstream = bool(fault) and inject is Inject.UPSTREAM
        if upstream and baseline in ("", service):
            # Its own Service would send each request through this same rule again, without end.
            raise objects.refuse("ChaosRule", "baseline", baseline, f"a Service other than {service}, with upstream")
        super().__init__("waypoint-lab:index:ChaosRule", name, {**args}, opts)
        domain = f"{namespace}.svc.{args.get('cluster_domain', 'cluster.local')}"
        depends: list[pulumi.Resource] = []
        to = service
        if upstream:
            to = f"{name}-upstream"
            depends = fault_upstream.build(self, to, namespace, f"{baseline}.{domain}", port, fault)
        plain = {"route": [_destination(f"{service}.{domain}", port)]}
        rule = {"route": [_destination(f"{to}.{domain}", port)], **policy}
        if fault and not upstream:
            rule["fault"] = fault
        rules = [rule]
        if headers := args.get("headers"):
            match = [{"headers": {header: {"exact": value} for header, value in headers.items()}}]
            rules = [{"match": match, **rule}, plain]
        virtual_service = objects.KubernetesObject(
            f"{name}-rule",
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"hosts": [f"{service}.{domain}"], "http": rules},
            },
            pulumi.ResourceOptions(parent=self, depends_on=depends),
        )
        self.name = virtual_service.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})


def _destination(host: str, port: int) -> dict[str, Any]:
    return {"destination": {"host": host, "port": {"number": port}}}


def _percent(field: str, given: dict[str, Any]) -> dict[str, float]:
    return {"value": objects.number("ChaosRule", f"percent of {field}", given.get("percent", 100), 0, 100)}


def _fault(args: ChaosRuleArgs) -> dict[str, Any]:
    fault: dict[str, Any] = {}
    if delay := args.get("delay"):
        length = objects.number("ChaosRule", "seconds of delay", delay["seconds"], 0.001, 3600)
        fault["delay"] = {"fixedDelay": f"{round(length * 1000)}ms", "percentage": _percent("delay", {**delay})}
    if abort := args.get("abort"):
        status = objects.whole("ChaosRule", "status of abort", abort["status"], 200, 599)
        fault["abort"] = {"httpStatus": status, "percentage": _percent("abort", {**abort})}
    return fault


def _policy(args: ChaosRuleArgs) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if retries := args.get("retries"):
        policy["retries"] = {
            "attempts": objects.whole("ChaosRule", "attempts of retries", retries["attempts"], 0, 100),
            "retryOn": retries.get("retry_on", "5xx"),
            **({"perTryTimeout": retries["per_try_timeout"]} if "per_try_timeout" in retries else {}),
        }
    if timeout := args.get("timeout"):
        policy["timeout"] = timeout
    return policy
