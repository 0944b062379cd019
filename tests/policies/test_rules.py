"""Every rule by itself: what breaks it, and what keeps it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from components.fault_upstream import envoy_config
from policies.guard.faults import DURATION
from policies.guard.objects import Object, World, seconds, service_of
from policies.guard.table import BY_NAME, TABLE
from tests.policies.scenes import (
    AMBIENT,
    ENROLLED,
    authorization,
    gateway,
    namespace,
    on,
    operation,
    route,
    rule,
    service,
    source,
    thing,
    virtual_service,
    world,
)

Case = tuple[str, World, dict[str, Any], str]
GET = operation(methods=["GET"])
CANARY = ("reviews-baseline", "reviews-next")
PRODUCTION = {"environment": "production"}


def abort(percent: float) -> dict[str, Any]:
    return {"fault": {"abort": {"httpStatus": 503, "percentage": {"value": percent}}}}


def upstream(percent: float) -> Object:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": percent}}}
    return thing("ConfigMap", "c", data={"envoy.json": json.dumps(envoy_config("h", 1, fault))})


def weights() -> Iterator[Case]:
    name = "weights-add-up"
    yield name, world(route(rule(80, 20)), route(rule(100)), route(rule(1)), route({"filters": []})), {}, ""
    yield name, world(route(rule(80, 30))), {}, "HTTPRoute n/r: weights of rule 1 add up to 110, not to 100"
    yield name, world(route(rule(8, 2))), {"total": 10}, ""
    said = "HTTPRoute n/r: rule 1 has no weight above 0, so every request fails"
    yield name, world(route(rule(0, 0))), {}, said


def jumps() -> Iterator[Case]:
    name = "canary-jump"
    five, ninety = rule(95, 5, names=CANARY), rule(10, 90, names=CANARY)
    said = "HTTPRoute n/r: rule 1 sends 90 % to reviews-next; the live route sends 5 %: a jump of 85"
    yield name, world(route(ninety), live=(route(five),)), {}, said
    yield name, world(route(ninety), live=(route(five),)), {"maxPoints": 85}, ""
    yield name, world(route(five), live=(route(ninety),)), {}, ""  # the way back
    yield name, world(route(ninety), live=(route(five),)), {"baselines": ["*-next"]}, ""
    yield name, world(route(ninety)), {}, ""  # nothing to compare with
    # What the API server makes of a rule without matches is the same rule.
    written = {**five, "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    yield name, world(route(ninety), live=(route(written),)), {}, said
    other_name = said.replace("n/r:", "n/new:")
    yield name, world(route(ninety, name="new"), live=(route(five),)), {}, other_name
    yield name, world(route(ninety, service="other"), live=(route(five, name="x"),)), {}, ""
    # Cohorts are compared with themselves.
    cohort = {"matches": [{"headers": [{"name": "end-user", "value": "me"}]}]}
    seen = {"matches": [{"headers": [{"type": "Exact", "name": "end-user", "value": "me"}]}]}
    live = (route({**five, **seen}, ninety),)
    yield name, world(route({**five, **cohort}, ninety), live=live), {}, ""
    yield name, world(route({**ninety, **cohort}, ninety), live=live), {}, said


def existence() -> Iterator[Case]:
    name = "targets-exist"
    refs = {"backendRefs": [{"name": "s0", "port": 80}]}
    there = (namespace(), service(), service("s0"))
    yield name, world(route(refs), *there), {}, ""
    yield name, world(route(refs), live=there), {}, ""
    said = "HTTPRoute n/r: Service n/s0 is not in the stack or the cluster"
    yield name, world(route(refs), live=there[:2]), {}, said
    said = "HTTPRoute n/r: Service n/s0 has no port 80; it has 9080, 9090"
    yield name, world(route(refs), *there[:2], service("s0", 9090, 9080)), {}, said
    said = "VirtualService n/v: Service n/away is not in the stack or the cluster"
    yield name, world(virtual_service("reviews", {"route": [{"destination": {"host": "away"}}]}), *there), {}, said
    yield name, world(virtual_service("example.com", {"route": [{"destination": {"host": "s0.n"}}]}), *there), {}, ""
    said = "AuthorizationPolicy n/p: Service n/away is not in the stack or the cluster"
    yield name, world(authorization("p", GET, **on("away", "reviews")), *there), {}, said
    bound = {"targetRefs": [{"kind": "Gateway", "name": "w"}]}
    said = "Telemetry n/t: Gateway n/w is not in the stack or the cluster"
    yield name, world(thing("Telemetry", "t", bound)), {}, said
    yield name, world(thing("Telemetry", "t", bound), gateway()), {}, ""
    # Nobody could look: `cluster-was-read` says so. In a namespace of the stack's own it is known all the same.
    yield name, world(route(refs), problem="unreachable"), {}, ""
    said = "HTTPRoute n/r: Service n/s0 is not in the stack (the cluster could not be read)"
    yield name, world(route(refs), *there[:2], problem="unreachable"), {}, said


def owners() -> Iterator[Case]:
    name = "one-owner-per-service"
    yield name, world(route(rule(1)), virtual_service("ratings")), {}, ""
    said = "VirtualService n/v: HTTPRoute n/r has Service n/reviews already, and hides this one"
    for host in ("reviews", "reviews.n", "reviews.n.svc.cluster.local"):
        yield name, world(route(rule(1)), virtual_service(host)), {}, said
    yield name, world(route(rule(1)), virtual_service("reviews.other")), {}, ""
    yield name, world(virtual_service(), live=(route(rule(1)),)), {}, said
    said = "HTTPRoute n/r: VirtualService n/v has Service n/reviews already, and would be hidden"
    yield name, world(route(rule(1)), live=(virtual_service(),)), {}, said
    yield name, world(service(), live=(route(rule(1)), virtual_service())), {}, ""  # not this stack's to mend
    at_ingress = thing("VirtualService", "v", {"hosts": ["reviews"], "gateways": ["front"]})
    yield name, world(route(rule(1)), at_ingress), {}, ""


def binding() -> Iterator[Case]:
    name = "target-refs-only"
    picks = authorization("p", GET, selector={"matchLabels": {"a": "b"}})
    yield name, world(gateway(), authorization("p", GET, **on("reviews"))), {}, ""
    yield name, world(picks), {}, ""
    said = "AuthorizationPolicy n/p: has a selector, which a waypoint ignores"
    yield name, world(gateway(), picks), {}, said
    yield name, world(picks, live=(gateway(),)), {}, said
    name = "allow-allows-something"
    yield name, world(authorization("p", GET), authorization("q", action="DENY")), {}, ""
    said = "AuthorizationPolicy n/p: ALLOW without rules refuses every request"
    yield name, world(authorization("p")), {}, said
    yield name, world(thing("AuthorizationPolicy", "p")), {}, said  # ALLOW is what no action means
    yield name, world(authorization("p")), {"exceptions": ["n/*"]}, ""


def shadows() -> Iterator[Case]:
    name = "deny-shadows-allow"
    reviews = on("reviews")

    def pair(allow: Any, deny: Any, where: Any = reviews) -> World:
        return world(authorization("a", allow, **reviews), authorization("d", deny, action="DENY", **where))

    said = "AuthorizationPolicy n/d: refuses all that AuthorizationPolicy n/a allows"
    from_shop = source(namespaces=["shop"])
    for allow, deny in (
        (GET, {}),
        (GET, GET),
        (GET, operation(methods=["GET", "PUT"])),
        (operation(paths=["/a/b", "/a/c*"]), operation(paths=["/a*"])),
        (operation(hosts=["x.example.com"]), operation(hosts=["*.example.com"])),
        ({**GET, **from_shop}, from_shop),
        (source(principals=["td/ns/shop/sa/a"]), source(principals=["td/ns/shop/*"])),
        (operation(paths=["/a"], notMethods=["PUT", "GET"]), operation(notMethods=["GET"])),
        ({**GET, "when": [{"key": "request.headers[x]", "values": ["1"]}]}, GET),
    ):
        yield name, pair(allow, deny), {}, said
    for allow, deny in (
        (GET, operation(methods=["PUT"])),
        (operation(methods=["GET", "PUT"]), GET),
        (operation(paths=["/a*"]), operation(paths=["/a/*"])),
        (operation(paths=["*a"]), operation(paths=["/*"])),
        (GET, {**GET, **from_shop}),
        (GET, operation(methods=["GET"], paths=["/admin"])),
        (GET, {**GET, "when": [{"key": "request.headers[x]", "values": ["1"]}]}),
        (operation(notMethods=["GET"]), operation(notMethods=["GET", "PUT"])),
    ):
        yield name, pair(allow, deny), {}, ""
    yield name, pair(GET, GET, on("ratings")), {}, ""
    alone = authorization("a", GET, **reviews)
    deny = authorization("d", GET, action="DENY", **reviews)
    said = "AuthorizationPolicy n/a: AuthorizationPolicy n/d refuses all that it allows"
    yield name, world(alone, live=(deny,)), {}, said
    yield name, world(service(), live=(alone, deny)), {}, ""


def layer_7() -> Iterator[Case]:
    name = "layer-7-has-a-waypoint"
    ambient, enrolled = namespace(**AMBIENT), namespace(patch=True, **ENROLLED)
    bound = authorization("p", GET, **on("reviews"))
    said = "AuthorizationPolicy n/p: nothing enforces methods: Service n/reviews has no waypoint"
    yield name, world(bound, service(), live=(ambient,)), {}, said
    yield name, world(bound, enrolled, live=(ambient,)), {}, ""
    yield name, world(bound, live=(ambient, service("reviews", **ENROLLED))), {}, ""
    opted_out = service("reviews", **{"istio.io/use-waypoint": "none"})
    yield name, world(bound, enrolled, opted_out, live=(ambient,)), {}, said
    yield name, world(bound, live=(namespace(),)), {}, ""  # sidecars, or no mesh at all
    layer_4 = authorization("p", source(namespaces=["shop"]), **on("reviews"))
    yield name, world(layer_4, live=(ambient,)), {}, ""
    by_header = {"when": [{"key": "request.headers[x]", "values": ["1"]}]}
    said = "AuthorizationPolicy n/p: has no targetRefs, so no waypoint enforces request.headers[x]"
    yield name, world(authorization("p", by_header), live=(ambient,)), {}, said
    said = "HTTPRoute n/r: nothing enforces its routing: Service n/reviews has no waypoint"
    yield name, world(route(rule(1)), live=(ambient,)), {}, said
    yield name, world(route(rule(1)), enrolled, live=(ambient,)), {}, ""


def injected() -> Iterator[Case]:
    name = "fault-limits"
    slow = {"fault": {"delay": {"fixedDelay": "2s"}}}
    yield name, world(virtual_service("r", abort(50)), virtual_service("r", slow), virtual_service("r", {})), {}, ""
    said = "VirtualService n/v: aborts 50 % of requests; the limit is 25 %"
    yield name, world(virtual_service("r", abort(50))), {"maxPercent": 25}, said
    said = "VirtualService n/v: delays by 10.5 s; the limit is 10 s"
    yield name, world(virtual_service("r", {"fault": {"delay": {"fixedDelay": "10500ms"}}})), {}, said
    yield name, world(virtual_service("r", {"fault": {"delay": {"fixedDelay": "20s"}}})), {"maxDelaySeconds": 20}, ""
    said = "ConfigMap n/c: aborts 50 % of requests; the limit is 25 %"
    yield name, world(upstream(50)), {"maxPercent": 25}, said
    yield name, world(upstream(25), thing("ConfigMap", "t", data={"a": "HTTPFault"})), {"maxPercent": 25}, ""

    def lasting(text: str) -> World:
        return world(virtual_service("r", slow, annotations={DURATION: text}))

    yield name, lasting("600"), {"requireDuration": True}, ""
    said = "VirtualService n/v: its fault stays 7200 s; allowed are more than 0 s, at most 3600 s"
    yield name, lasting("7200"), {}, said
    yield name, lasting("7200"), {"maxSeconds": 7200}, ""
    said = "VirtualService n/v: its fault stays nan s; allowed are more than 0 s, at most 3600 s"
    yield name, lasting("nan"), {}, said
    said = f"VirtualService n/v: annotation {DURATION} is 'soon', not a number of seconds"
    yield name, lasting("soon"), {}, said
    said = f"VirtualService n/v: has a fault without the annotation {DURATION}"
    yield name, world(virtual_service("r", slow), upstream(1)), {"requireDuration": True}, said

    name = "no-faults-in-production"
    faulty = virtual_service("r", slow)
    yield name, world(faulty, live=(namespace(environment="test"),), stack="dev"), {}, ""
    said = "VirtualService n/v: injects a fault, and stack prod is production"
    yield name, world(faulty, stack="prod"), {}, said
    yield name, world(faulty, stack="prod"), {"stacks": []}, ""
    said = "VirtualService n/v: injects a fault, and namespace n is production (environment=production)"
    yield name, world(faulty, live=(namespace(**PRODUCTION),)), {}, said
    yield name, world(faulty, live=(namespace(**PRODUCTION),)), {"namespaceLabels": {"tier": "live"}}, ""
    yield name, world(virtual_service("r", {}), stack="prod"), {}, ""
    said = "ConfigMap n/c: injects a fault, and stack prod-eu is production"
    yield name, world(upstream(1), stack="prod-eu"), {"stacks": ["prod-*"]}, said


def repeated() -> Iterator[Case]:
    name = "retries-within-timeout"
    three = {"retries": {"attempts": 3, "perTryTimeout": "500ms", "retryOn": "5xx"}}
    yield name, world(virtual_service("r", {**three, "timeout": "2s"}), virtual_service("r", three)), {}, ""
    said = "VirtualService n/v: rule 1: 4 tries of 0.5 s may take 2 s; the caller waits 1.5 s"
    yield name, world(virtual_service("r", {**three, "timeout": "1500ms"})), {}, said
    yield name, world(virtual_service("r", {**three, "timeout": "10s"})), {"callerTimeoutSeconds": 1.5}, said
    name = "retried-abort"
    yield name, world(virtual_service("r", abort(50)), virtual_service("r", three)), {}, ""
    said = "VirtualService n/v: rule 1 retries an abort that it injects itself, which is never retried"
    yield name, world(virtual_service("r", {**abort(50), **three})), {}, said
    name = "retried-writes"
    to = {"route": [{"destination": {"host": "reviews.n.svc.cluster.local"}}]}
    said = "VirtualService n/v: rule 1 repeats writes up to 3 times, without a budget"
    yield name, world(virtual_service("r", {**three, **to})), {}, said
    yield name, world(virtual_service("r", {**three, **to})), {"maxAttempts": 3}, ""
    safe = {**three, **to, "match": [{"method": {"exact": "GET"}}]}
    unseen = {**to, "retries": {"attempts": 3, "retryOn": "connect-failure,refused-stream"}}
    yield name, world(virtual_service("r", safe), virtual_service("r", unseen)), {}, ""
    yield name, world(virtual_service("r", {**safe, "match": [*safe["match"], {"uri": {"exact": "/"}}]})), {}, said
    budget = thing("DestinationRule", "b", {"host": "reviews", "trafficPolicy": {"retryBudget": {"percent": 20}}})
    yield name, world(virtual_service("r", {**three, **to}), live=(budget,)), {}, ""
    elsewhere = thing("DestinationRule", "b", {"host": "other", "trafficPolicy": {"retryBudget": {}}})
    yield name, world(virtual_service("r", {**three, **to}), elsewhere), {}, said


def gateways() -> Iterator[Case]:
    name = "enrolled-with-its-gateway"
    enrolled, opted_out = namespace(patch=True, **ENROLLED), service("s", **{"istio.io/use-waypoint": "none"})
    yield name, world(gateway(), enrolled, opted_out), {}, ""
    yield name, world(enrolled, live=(gateway(),)), {}, ""
    said = "NamespacePatch n: enrolled in n/w, but that Gateway is not in the stack or the cluster"
    yield name, world(gateway("other"), enrolled), {}, said
    said = "Service n/s: enrolled in m/w, but that Gateway is not in the stack (the cluster could not be read)"
    away = {**ENROLLED, "istio.io/use-waypoint-namespace": "m"}
    yield name, world(gateway(), service("s", **away), problem="unreachable"), {}, said
    name = "waypoint-listens-for-hbone"
    ingress = thing("Gateway", "g", {"gatewayClassName": "istio", "listeners": [{"port": 80, "protocol": "HTTP"}]})
    yield name, world(gateway(), ingress), {}, ""
    yield name, world(gateway("w", 8080)), {}, "Gateway n/w: listens for HBONE on port 8080, not for HBONE on 15008"
    said = "Gateway n/w: listens for HTTP on port 15008, not for HBONE on 15008"
    yield name, world(gateway("w", 15008, "HTTP")), {}, said
    yield name, world(gateway(listeners=[])), {}, "Gateway n/w: has no listener"
    name = "waypoint-replicas"
    said = "Gateway n/w: has 1 replica, and stack prod is production; wanted are 2"
    yield name, world(gateway(), stack="prod"), {}, said
    yield name, world(gateway(), stack="dev"), {}, ""
    yield name, world(gateway(), stack="prod"), {"minReplicas": 1}, ""
    yield name, world(gateway(), stack="prod"), {"stacks": ["live"]}, ""
    yield name, world(gateway(), live=(namespace(**PRODUCTION),)), {"namespaceLabels": {}}, ""
    tuned = gateway(infrastructure={"parametersRef": {"group": "", "kind": "ConfigMap", "name": "c"}})
    for text in ("spec:\n  replicas: 3\n", '{"spec": {"replicas": 2}}'):
        yield name, world(tuned, thing("ConfigMap", "c", data={"deployment": text}), stack="prod"), {}, ""
    yield name, world(tuned, thing("ConfigMap", "c", data={"deployment": "spec: {}"}), stack="prod"), {}, said
    scaled = thing("ConfigMap", "c", data={"horizontalPodAutoscaler": "spec: {minReplicas: 2, maxReplicas: 5}"})
    yield name, world(tuned, scaled, stack="prod"), {}, ""
    yield name, world(gateway(), thing("DeploymentPatch", "w", {"replicas": 2}), stack="prod"), {}, ""
    scaler = {"minReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "w"}}
    yield name, world(gateway(), live=(thing("HorizontalPodAutoscaler", "h", scaler),), stack="prod"), {}, ""
    other = {**scaler, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}
    yield name, world(gateway(), live=(thing("HorizontalPodAutoscaler", "h", other),), stack="prod"), {}, said
    three = said.replace("1 replica,", "2 replicas,").replace("are 2", "are 3")
    yield name, world(gateway(), thing("Deployment", "w", {"replicas": 2}), stack="prod"), {"minReplicas": 3}, three


def tools() -> Iterator[Case]:
    name = "istio-analysis"

    def told(code: str, level: str, origin: str = "VirtualService n/v") -> World:
        messages = [{"code": code, "level": level, "origin": origin, "message": "no"}]
        return World((virtual_service(),), messages=messages)

    yield name, told("IST0109", "Error"), {}, "VirtualService n/v: Error IST0109: no"
    yield name, told("IST0109", "Error"), {"suppress": ["IST010*"]}, ""
    yield name, told("IST0101", "Error"), {}, ""
    yield name, told("IST0130", "Warning"), {}, ""
    yield name, told("IST0130", "Warning"), {"minimumLevel": "Warning"}, "VirtualService n/v: Warning IST0130: no"
    yield name, told("IST0109", "Error", "VirtualService n/somebody-elses"), {}, ""
    name = "cluster-was-read"
    yield name, world(), {}, ""
    yield name, world(problem="kubectl is not on PATH"), {}, "Cluster: kubectl is not on PATH"


PARTS = (weights, jumps, existence, owners, binding, shadows, layer_7, injected, repeated, gateways, tools)
CASES = [case for part in PARTS for case in part()]


@pytest.mark.parametrize(("name", "scene", "settings", "said"), CASES)
def test_a_rule_says_one_line_where_it_is_broken_and_nothing_where_it_is_kept(
    name: str, scene: World, settings: dict[str, Any], said: str
) -> None:
    row = BY_NAME[name]
    assert [line for _urn, line in row.broken(scene, settings)] == ([f"{said}; {row.remedy}"] if said else [])


def test_every_rule_has_a_passing_and_a_failing_case() -> None:
    seen = {(name, bool(said)) for name, _scene, _settings, said in CASES}
    assert seen == {(row.name, broken) for row in TABLE for broken in (True, False)}


def test_every_parameter_changes_the_verdict_of_some_case() -> None:
    changed = {(name, key) for name, _scene, settings, _said in CASES for key in settings}
    assert changed == {(row.name, key) for row in TABLE for key in row.parameters}


def test_a_host_of_the_mesh_is_told_from_one_of_the_outside() -> None:
    assert service_of("reviews", "n") == ("n", "reviews")
    assert service_of("reviews.m.svc.cluster.local", "n") == ("m", "reviews")
    assert service_of("api.example.com", "n") is None
    assert service_of("*.n.svc.cluster.local", "n") is None


def test_durations_are_read_as_go_writes_them() -> None:
    assert seconds("1m30s") == 90
    assert seconds("1500ms") == 1.5
    assert seconds(None) == 0
