"""Cases of the rules on faults, retries and waypoints, and of those that report the results of tools."""

import json
from collections.abc import Iterator
from typing import Any

from components._internal import waypoint_parameters
from components._internal.fault_upstream import envoy_config
from components._internal.traffic import FaultSettings
from policies.pack.resources import ClusterSnapshot, Resource
from policies.pack.rules.faults import DURATION
from tests.policies.builders import ENROLLED, Case, gateway, namespace, service, snapshot, thing, virtual_service

PRODUCTION = {"environment": "production"}


def abort(percent: float) -> dict[str, Any]:
    return {"fault": {"abort": {"httpStatus": 503, "percentage": {"value": percent}}}}


def upstream(percent: float) -> Resource:
    fault = FaultSettings(0, 100, 503, percent, {})
    return thing("ConfigMap", "c", data={"envoy.json": json.dumps(envoy_config("h", 1, fault))})


def injected() -> Iterator[Case]:
    name = "fault-limits"
    slow = {"fault": {"delay": {"fixedDelay": "2s"}}}
    yield name, snapshot(virtual_service("r", abort(50)), virtual_service("r", slow), virtual_service("r", {})), {}, ""
    said = "VirtualService n/v: aborts 50 % of requests; the limit is 25 %"
    yield name, snapshot(virtual_service("r", abort(50))), {"maxPercent": 25}, said
    said = "VirtualService n/v: delays by 10.5 s; the limit is 10 s"
    yield name, snapshot(virtual_service("r", {"fault": {"delay": {"fixedDelay": "10500ms"}}})), {}, said
    yield name, snapshot(virtual_service("r", {"fault": {"delay": {"fixedDelay": "20s"}}})), {"maxDelaySeconds": 20}, ""
    said = "ConfigMap n/c: aborts 50 % of requests; the limit is 25 %"
    yield name, snapshot(upstream(50)), {"maxPercent": 25}, said
    yield name, snapshot(upstream(25), thing("ConfigMap", "t", data={"a": "HTTPFault"})), {"maxPercent": 25}, ""
    late = json.dumps(envoy_config("h", 1, FaultSettings(10_500, 100, 0, 0, {})))
    said = "ConfigMap n/c: delays by 10.5 s; the limit is 10 s"
    yield name, snapshot(thing("ConfigMap", "c", data={"envoy.json": late})), {}, said

    def lasting(text: str) -> ClusterSnapshot:
        return snapshot(virtual_service("r", slow, annotations={DURATION: text}))

    yield name, lasting("600"), {"requireDuration": True}, ""
    said = "VirtualService n/v: its fault lasts 7200 s; the limit is more than 0 s and at most 3600 s"
    yield name, lasting("7200"), {}, said
    yield name, lasting("7200"), {"maxSeconds": 7200}, ""
    said = "VirtualService n/v: its fault lasts nan s; the limit is more than 0 s and at most 3600 s"
    yield name, lasting("nan"), {}, said
    said = f"VirtualService n/v: annotation {DURATION} is 'soon', not a number of seconds"
    yield name, lasting("soon"), {}, said
    yield name, snapshot(virtual_service("r", {})), {"requireDuration": True}, ""  # it has no fault
    said = f"VirtualService n/v: has a fault without the annotation {DURATION}"
    yield name, snapshot(virtual_service("r", slow), upstream(1)), {"requireDuration": True}, said

    name = "no-faults-in-production"
    faulty = virtual_service("r", slow)
    yield name, snapshot(faulty, live=(namespace(environment="test"),), stack="dev"), {}, ""
    said = "VirtualService n/v: injects a fault, and stack prod is production"
    yield name, snapshot(faulty, stack="prod"), {}, said
    yield name, snapshot(faulty, stack="prod"), {"stacks": []}, ""
    said = "VirtualService n/v: injects a fault, and namespace n is production (environment=production)"
    yield name, snapshot(faulty, live=(namespace(**PRODUCTION),)), {}, said
    yield name, snapshot(faulty, live=(namespace(**PRODUCTION),)), {"namespaceLabels": {"tier": "live"}}, ""
    yield name, snapshot(virtual_service("r", {}), stack="prod"), {}, ""
    # A resource of another namespace, for Services of production.
    place, to = namespace(**PRODUCTION), {"route": [{"destination": {"host": "r.n.svc.cluster.local"}}]}
    outside = virtual_service("r.n.svc.cluster.local", slow, namespace="edge")
    yield name, snapshot(outside, live=(place,)), {}, said.replace(" n/v", " edge/v")
    at_ingress = thing(
        "VirtualService",
        "v",
        {"hosts": ["www.example.com"], "gateways": ["g"], "http": [{**slow, **to}, {}]},
        namespace="edge",
    )
    yield name, snapshot(at_ingress, live=(place,)), {}, said.replace(" n/v", " edge/v")
    healthy = virtual_service("other.edge", slow, to, namespace="edge")
    yield name, snapshot(healthy, live=(place,)), {}, ""  # only a rule without the fault goes there
    said = "ConfigMap n/c: injects a fault, and stack prod-eu is production"
    yield name, snapshot(upstream(1), stack="prod-eu"), {"stacks": ["prod-*"]}, said


def repeated() -> Iterator[Case]:
    name = "retries-within-timeout"
    three = {"retries": {"attempts": 3, "perTryTimeout": "500ms", "retryOn": "5xx"}}
    yield name, snapshot(virtual_service("r", {**three, "timeout": "2s"}), virtual_service("r", three)), {}, ""
    said = "VirtualService n/v: rule 1: 4 tries of 0.5 s may take 2 s; the caller waits 1.5 s"
    yield name, snapshot(virtual_service("r", {**three, "timeout": "1500ms"})), {}, said
    yield name, snapshot(virtual_service("r", {**three, "timeout": "10s"})), {"callerTimeoutSeconds": 1.5}, said
    name = "retried-abort"
    yield name, snapshot(virtual_service("r", abort(50)), virtual_service("r", three)), {}, ""
    said = "VirtualService n/v: rule 1 retries an abort that it injects itself, which is never retried"
    yield name, snapshot(virtual_service("r", {**abort(50), **three})), {}, said
    name = "retried-writes"
    to = {"route": [{"destination": {"host": "reviews.n.svc.cluster.local"}}]}
    said = "VirtualService n/v: rule 1 repeats writes up to 3 times, without a budget"
    yield name, snapshot(virtual_service("r", {**three, **to})), {}, said
    yield name, snapshot(virtual_service("r", {**three, **to})), {"maxAttempts": 3}, ""
    safe = {**three, **to, "match": [{"method": {"exact": "GET"}}]}
    unseen = {**to, "retries": {"attempts": 3, "retryOn": "connect-failure, refused-stream,"}}
    yield name, snapshot(virtual_service("r", safe), virtual_service("r", unseen)), {}, ""
    yield name, snapshot(virtual_service("r", {**safe, "match": [*safe["match"], {"uri": {"exact": "/"}}]})), {}, said
    budget = thing("DestinationRule", "b", {"host": "reviews", "trafficPolicy": {"retryBudget": {"percent": 20}}})
    yield name, snapshot(virtual_service("r", {**three, **to}), live=(budget,)), {}, ""
    elsewhere = thing("DestinationRule", "b", {"host": "other", "trafficPolicy": {"retryBudget": {}}})
    yield name, snapshot(virtual_service("r", {**three, **to}), elsewhere), {}, said


def gateways() -> Iterator[Case]:
    name = "waypoint-exists"
    enrolled, opted_out = namespace(patch=True, **ENROLLED), service("s", **{"istio.io/use-waypoint": "none"})
    yield name, snapshot(gateway(), enrolled, opted_out), {}, ""
    yield name, snapshot(enrolled, live=(gateway(),)), {}, ""
    said = "NamespacePatch n: is enrolled in waypoint n/w, but that Gateway is not in the stack or the cluster"
    yield name, snapshot(gateway("other"), enrolled), {}, said
    away = {**ENROLLED, "istio.io/use-waypoint-namespace": "m"}
    yield name, snapshot(gateway(), service("s", **away), error="unreachable"), {}, ""  # nobody could look
    said = "Service n/s: is enrolled in waypoint m/w, but that Gateway is not in the stack (the cluster could not be"
    known = snapshot(gateway(), service("s", **away), namespace("m"), error="unreachable")
    yield name, known, {}, f"{said} compared)"
    yield name, snapshot(service("s", **away), Resource("Release", {"namespace": "m"})), {}, ""
    name = "waypoint-listens-on-hbone"
    ingress = thing("Gateway", "g", {"gatewayClassName": "istio", "listeners": [{"port": 80, "protocol": "HTTP"}]})
    yield name, snapshot(gateway(), ingress), {}, ""
    yield name, snapshot(gateway("w", 8080)), {}, "Gateway n/w: listens for HBONE on port 8080, not for HBONE on 15008"
    said = "Gateway n/w: listens for HTTP on port 15008, not for HBONE on 15008"
    yield name, snapshot(gateway("w", 15008, "HTTP")), {}, said
    yield name, snapshot(gateway(listeners=[])), {}, "Gateway n/w: has no listener"
    name = "waypoint-replicas"
    said = "Gateway n/w: has 1 replica, but stack prod is production and needs 2"
    yield name, snapshot(gateway(), stack="prod"), {}, said
    yield name, snapshot(gateway(), stack="dev"), {}, ""
    yield name, snapshot(gateway(), stack="prod"), {"minReplicas": 1}, ""
    yield name, snapshot(gateway(), stack="prod"), {"stacks": ["live"]}, ""
    yield name, snapshot(gateway(), live=(namespace(**PRODUCTION),)), {"namespaceLabels": {}}, ""
    tuned = gateway(infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": "c"}})
    for text in ("spec:\n  replicas: 3\n", '{"spec": {"replicas": 2}}'):
        yield name, snapshot(tuned, thing("ConfigMap", "c", data={"deployment": text}), stack="prod"), {}, ""
    yield name, snapshot(tuned, thing("ConfigMap", "c", data={"deployment": "spec: {}"}), stack="prod"), {}, said
    scaled = thing("ConfigMap", "c", data={"horizontalPodAutoscaler": "spec: {minReplicas: 2, maxReplicas: 5}"})
    yield name, snapshot(tuned, scaled, stack="prod"), {}, ""
    for given in ({"replicas": 2}, {"autoscaling": {"min": 2, "max": 3}}):  # as the component Waypoint writes them
        made = waypoint_parameters.build(waypoint_parameters.check("Waypoint", given), "w")
        assert made
        refers = gateway(infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": made.name}})
        data = thing("ConfigMap", made.name, data=made.config_map("n")["data"])
        yield name, snapshot(refers, data, stack="prod"), {}, ""
    yield name, snapshot(gateway(), thing("DeploymentPatch", "w", {"replicas": 2}), stack="prod"), {}, ""
    scaler = {"minReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "w"}}
    yield name, snapshot(gateway(), live=(thing("HorizontalPodAutoscaler", "h", scaler),), stack="prod"), {}, ""
    other = {**scaler, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}
    yield name, snapshot(gateway(), live=(thing("HorizontalPodAutoscaler", "h", other),), stack="prod"), {}, said
    three = said.replace("1 replica,", "2 replicas,").replace("needs 2", "needs 3")
    yield name, snapshot(gateway(), thing("Deployment", "w", {"replicas": 2}), stack="prod"), {"minReplicas": 3}, three


def tools() -> Iterator[Case]:
    name = "istio-analysis"

    def analysis(code: str, level: str, origin: str = "VirtualService n/v") -> ClusterSnapshot:
        messages = [{"code": code, "level": level, "origin": origin, "message": "no"}]
        return ClusterSnapshot((virtual_service(),), messages=messages)

    yield name, analysis("IST0109", "Error"), {}, "VirtualService n/v: Error IST0109: no"
    yield name, analysis("IST0109", "Error"), {"suppress": ["IST010*"]}, ""
    yield name, analysis("IST0101", "Error"), {}, ""
    yield name, analysis("IST0130", "Warning"), {}, ""
    yield name, analysis("IST0130", "Warning"), {"minimumLevel": "Warning"}, "VirtualService n/v: Warning IST0130: no"
    yield name, analysis("IST0109", "Error", "VirtualService n/other"), {}, ""
    name = "cluster-readable"
    yield name, snapshot(), {}, ""
    yield name, snapshot(error="kubectl is not on PATH"), {}, "Cluster: kubectl is not on PATH"


PARTS = (injected, repeated, gateways, tools)
