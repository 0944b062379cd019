"""Cases of the rules on backends in several namespaces and of several ports, and on ServiceEntries and Gateways."""

from collections.abc import Iterator
from typing import Any

from policies.pack.queries import kind_of
from policies.pack.resources import Resource
from tests.policies.builders import (
    AMBIENT,
    ENROLLED,
    Case,
    at,
    authorization,
    enrolled,
    gateway,
    namespace,
    operation,
    route,
    rule,
    service,
    service_entry,
    snapshot,
    source,
    thing,
    virtual_service,
)

GET = operation(methods=["GET"])
ISTIO = "networking.istio.io"


def backends(*refs: tuple[str, int, dict[str, Any]]) -> Resource:
    return route({"backendRefs": [{"name": name, "weight": weight, **more} for name, weight, more in refs]})


def jumps() -> Iterator[Case]:
    name = "canary-jump"
    away, web, admin = {"namespace": "next"}, {"port": 80}, {"port": 81}
    before, after = (backends(("reviews", 100 - weight, {}), ("reviews", weight, away)) for weight in (5, 100))
    sends = "HTTPRoute n/r: rule 1 sends 100 % to"
    said = f"{sends} next/reviews; the live route sends 5 %: a jump of 95"
    yield name, snapshot(after, live=(before,)), {}, said
    yield name, snapshot(before, live=(after,)), {}, ""  # the Service of the route itself
    yield name, snapshot(after, live=(before,)), {"baselines": ["reviews"]}, ""
    before, after = (backends(("s0", 100 - weight, web), ("s0", weight, admin)) for weight in (0, 100))
    yield name, snapshot(after, live=(before,)), {}, f"{sends} s0:81; the live route sends 0 %: a jump of 100"
    yield name, snapshot(backends(("s0", 100, admin)), live=(backends(("s0", 100, web)),)), {}, ""  # renumbered
    both, other = backends(("s1", 50, web), ("s1", 50, admin)), backends(("s0", 100, web))
    yield name, snapshot(both, live=(other,)), {}, f"{sends} s1; the live route sends 0 %: a jump of 100"


def entries() -> Iterator[Case]:
    name = "waypoint-exists"
    said = "ServiceEntry n/e: is enrolled in waypoint n/w, but that Gateway is not in the stack or the cluster"
    yield name, snapshot(service_entry(**ENROLLED), namespace()), {}, said
    yield name, snapshot(service_entry(**ENROLLED), live=(gateway(),)), {}, ""
    bound = authorization("p", GET, **at("e", kind="ServiceEntry", group=ISTIO))
    ambient = namespace(**AMBIENT)
    name = "layer-7-has-waypoint"
    said = "AuthorizationPolicy n/p: nothing enforces methods: ServiceEntry n/e has no waypoint"
    yield name, snapshot(bound, service_entry(), ambient), {}, said
    yield name, snapshot(bound, service_entry(**ENROLLED), ambient), {}, ""
    yield name, snapshot(bound, service_entry(), namespace(**AMBIENT, **ENROLLED)), {}, ""
    host = "db.n.svc.cluster.local"
    routed = virtual_service(host, {"route": [{"destination": {"host": host}}]})
    yield name, snapshot(routed, service_entry("db", host, **ENROLLED), ambient), {}, ""
    yield name, snapshot(routed, service("db", **ENROLLED), service_entry("db", host), ambient), {}, ""
    said = "VirtualService n/v: nothing enforces its routing: ServiceEntry n/db has no waypoint"
    yield name, snapshot(routed, service_entry("db", host), ambient), {}, said
    name = "waypoint-supports-api"
    agent = gateway(gatewayClassName="istio-agentgateway-waypoint")
    said = "has no effect: waypoint n/w of istio-agentgateway-waypoint ignores it"
    yield name, snapshot(bound, live=(service_entry(**ENROLLED), agent)), {}, f"AuthorizationPolicy n/p: {said}"
    name = "canary-waypoint-valid"
    said = "ServiceEntry n/e: canary waypoint n/b has no primary beside it: give it or its namespace the label"
    alone = service_entry(**{"istio.io/use-waypoint-canary": "b"})
    yield name, snapshot(alone), {}, f"{said} istio.io/use-waypoint, too"
    name = "canary-waypoint-steps"
    both = service_entry(**ENROLLED, **{"istio.io/use-waypoint-canary": "b"})
    before = both.marked(both.labels, {"istio.io/use-waypoint-canary-weight": "20"})
    scene = snapshot(service_entry(**ENROLLED), live=(gateway(), gateway("b")))
    live = (gateway(), gateway("b"), before)
    scene = snapshot(*scene.declared, live=scene.live, live_unfiltered=live)
    said = "ServiceEntry n/e: b still gets 20 % of new connections: set the weight to 0 before taking it away"
    yield name, scene, {}, said
    above = enrolled(primary="x")
    scene = snapshot(above, live=(gateway(), gateway("b")), live_unfiltered=(gateway(), gateway("b"), before))
    yield name, scene, {}, ""  # it has a primary of its own
    name = "targets-exist"
    to = {"route": [{"destination": {"host": "db.n.svc.cluster.local", "port": {"number": 80}}}]}
    rules = virtual_service("db.n.svc.cluster.local", to)
    yield name, snapshot(rules, service_entry(host="db.n.svc.cluster.local")), {}, ""
    yield (
        name,
        snapshot(thing("DestinationRule", "d", {"host": "db"}), live=(service_entry(host="db.n.svc.x"),)),
        {},
        "",
    )
    said = "HTTPRoute n/r: Service n/db is not in the stack or the cluster"
    lost = route(rule(100, names=("db",)), service="db")
    yield name, snapshot(lost, service_entry(host="db.n.svc.cluster.local")), {}, said


def ingress() -> Iterator[Case]:
    """Policies that select a Gateway that is no waypoint, which enforces them."""
    front = thing("Gateway", "front", {"gatewayClassName": "istio"})
    place = namespace(**AMBIENT, **ENROLLED)
    selector = {"selector": {"matchLabels": {"gateway.networking.k8s.io/gateway-name": "front"}}}
    waypoint = gateway("front")
    deny = authorization("p", operation(paths=["/admin*"]), action="DENY", **selector)
    tokens = thing("RequestAuthentication", "a", {"jwtRules": [{"issuer": "me"}], **selector})
    logs = thing("Telemetry", "t", selector)
    for item in (deny, tokens, logs):
        for found, broken in ((front, False), (waypoint, True), (gateway(), True)):
            said = f"{item.title}: has a selector, which a waypoint ignores"
            yield "target-refs-only", snapshot(item, live=(place, found)), {}, said * broken
    for item, what in ((deny, "paths"), (tokens, "jwtRules")):
        said = f"{item.title}: has no targetRefs, so no waypoint enforces {what}"
        yield "layer-7-has-waypoint", snapshot(item, live=(place, front)), {}, ""
        yield "layer-7-has-waypoint", snapshot(item, live=(place, waypoint)), {}, said
    name = "allow-includes-waypoint"
    allow = authorization("p", source(namespaces=["shop"]), **selector)
    said = "AuthorizationPolicy n/p: refuses waypoint n/w, and so every request: allow cluster.local/ns/n/sa/w"
    yield name, snapshot(allow, live=(place, front)), {}, ""
    yield name, snapshot(allow, live=(place,)), {}, said


def other_groups() -> Iterator[Case]:
    """Kinds of another API group with the name of one that the rules read."""
    classic = Resource(kind_of("kubernetes:networking.istio.io/v1:Gateway"), gateway().properties)
    foreign = Resource(kind_of("kubernetes:serving.knative.dev/v1:Service"), service().properties)
    said = "Telemetry n/t: Gateway n/w is not in the stack or the cluster"
    yield "targets-exist", snapshot(thing("Telemetry", "t", at("w")), classic), {}, said
    yield "targets-exist", snapshot(thing("Telemetry", "t", at("w")), classic, live=(gateway(),)), {}, ""
    said = "DestinationRule n/d: Service n/reviews is not in the stack or the cluster"
    yield "targets-exist", snapshot(thing("DestinationRule", "d", {"host": "reviews"}), foreign), {}, said
    messages = [{"code": "IST0109", "level": "Error", "origin": "Gateway n/w", "message": "no"}]
    yield "istio-analysis", snapshot(classic, messages=messages), {}, "Gateway n/w: Error IST0109: no"


def other_protocols() -> Iterator[Case]:
    name = "one-owner-per-service"
    for protocol in ("tcp", "tls"):
        other = thing("VirtualService", "v", {"hosts": ["reviews"], protocol: [{"match": [{"port": 81}]}]})
        yield name, snapshot(route(rule(1)), other), {}, ""
    said = "VirtualService n/v: HTTPRoute n/r routes Service n/reviews, too, and takes precedence"
    both = thing("VirtualService", "v", {"hosts": ["reviews"], "http": [{}], "tcp": [{}]})
    yield name, snapshot(route(rule(1)), both), {}, said


def no_requests() -> Iterator[Case]:
    name = "no-faults-in-production"
    for percent in (0, 1):
        share = {"percentage": {"value": percent}}
        for fault in ({"abort": {"httpStatus": 503, **share}}, {"delay": {"fixedDelay": "2s", **share}}):
            said = "VirtualService n/v: injects a fault, and stack prod is production"
            yield name, snapshot(virtual_service("r", {"fault": fault}), stack="prod"), {}, said * percent


PARTS = (jumps, entries, ingress, other_groups, other_protocols, no_requests)
