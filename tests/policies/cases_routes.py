"""Cases of the rules on routes and on authorization."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from policies.pack.resources import ClusterSnapshot, Resource
from tests.policies.builders import (
    AMBIENT,
    ENROLLED,
    Case,
    authorization,
    dry_run,
    gateway,
    namespace,
    on,
    operation,
    route,
    rule,
    service,
    snapshot,
    source,
    thing,
    virtual_service,
)

GET = operation(methods=["GET"])
CANARY = ("reviews-baseline", "reviews-next")


def weights() -> Iterator[Case]:
    name = "weights-add-up"
    yield name, snapshot(route(rule(80, 20)), route(rule(100)), route(rule(1)), route({"filters": []})), {}, ""
    yield name, snapshot(route(rule(80, 30))), {}, "HTTPRoute n/r: weights of rule 1 add up to 110, not to 100"
    yield name, snapshot(route(rule(8, 2))), {"total": 10}, ""
    yield name, snapshot(route(rule(999, 1))), {}, ""
    yield name, snapshot(route(rule(989, 1))), {}, "HTTPRoute n/r: weights of rule 1 add up to 990, not to 100"
    said = "HTTPRoute n/r: rule 1 has no weight above 0, so every request fails"
    yield name, snapshot(route(rule(0, 0))), {}, said


def jumps() -> Iterator[Case]:
    name = "canary-jump"
    five, ninety = rule(95, 5, names=CANARY), rule(10, 90, names=CANARY)
    said = "HTTPRoute n/r: rule 1 sends 90 % to reviews-next; the live route sends 5 %: a jump of 85"
    yield name, snapshot(route(ninety), live=(route(five),)), {}, said
    yield name, snapshot(route(ninety), live=(route(five),)), {"maxPoints": 85}, ""
    yield name, snapshot(route(five), live=(route(ninety),)), {}, ""  # a rollback
    yield name, snapshot(route(ninety), live=(route(five),)), {"baselines": ["*-next"]}, ""
    yield name, snapshot(route(ninety)), {}, ""  # nothing to compare with
    # What the API server makes of a rule without matches is the same rule.
    written = {**five, "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]}
    yield name, snapshot(route(ninety), live=(route(written),)), {}, said
    other_name = said.replace("n/r:", "n/new:")
    yield name, snapshot(route(ninety, name="new"), live=(route(five),)), {}, other_name
    yield name, snapshot(route(ninety, service="other"), live=(route(five, name="x"),)), {}, ""
    # A live route of another port is another one.
    eighty, admin = ported(route(ninety, name="x"), 80), ported(route(five, name="y"), 9090)
    yield name, snapshot(ported(route(ninety, name="new"), 9090), live=(eighty, admin)), {}, other_name
    yield name, snapshot(ported(route(ninety, name="new"), 80), live=(admin,)), {}, ""
    # Cohorts are compared with themselves.
    cohort = {"matches": [{"headers": [{"name": "end-user", "value": "me"}]}]}
    seen = {"matches": [{"headers": [{"type": "Exact", "name": "end-user", "value": "me"}]}]}
    live = (route({**five, **seen}, ninety),)
    yield name, snapshot(route({**five, **cohort}, ninety), live=live), {}, ""
    yield name, snapshot(route({**ninety, **cohort}, ninety), live=live), {}, said


def existence() -> Iterator[Case]:
    name = "targets-exist"
    refs = {"backendRefs": [{"name": "s0", "port": 80}]}
    there = (namespace(), service(), service("s0"))
    yield name, snapshot(route(refs), *there), {}, ""
    yield name, snapshot(route(refs), live=there), {}, ""
    said = "HTTPRoute n/r: Service n/s0 is not in the stack or the cluster"
    yield name, snapshot(route(refs), live=there[:2]), {}, said
    said = "HTTPRoute n/r: Service n/s0 has no port 80; it has 9080, 9090"
    yield name, snapshot(route(refs), *there[:2], service("s0", 9090, 9080)), {}, said
    said = "VirtualService n/v: Service n/away is not in the stack or the cluster"
    yield name, snapshot(virtual_service("reviews", {"route": [{"destination": {"host": "away"}}]}), *there), {}, said
    yield name, snapshot(virtual_service("example.com", {"route": [{"destination": {"host": "s0.n"}}]}), *there), {}, ""
    said = "AuthorizationPolicy n/p: Service n/away is not in the stack or the cluster"
    yield name, snapshot(authorization("p", GET, **on("away", "reviews")), *there), {}, said
    bound = {"targetRefs": [{"kind": "Gateway", "name": "w"}]}
    said = "Telemetry n/t: Gateway n/w is not in the stack or the cluster"
    yield name, snapshot(thing("Telemetry", "t", bound)), {}, said
    yield name, snapshot(thing("Telemetry", "t", bound), gateway()), {}, ""
    # Nobody could look: `cluster-readable` says so. In a namespace of the stack's own it is known all the same.
    yield name, snapshot(route(refs), error="unreachable"), {}, ""
    said = "HTTPRoute n/r: Service n/s0 is not in the stack (the cluster could not be read)"
    yield name, snapshot(route(refs), *there[:2], error="unreachable"), {}, said
    yield name, snapshot(route(refs), namespace(patch=True), service(), error="unreachable"), {}, ""


def ported(item: Resource, port: int | None) -> Resource:
    """The route, bound to one port of the Service."""
    (parent,) = item.properties["spec"]["parentRefs"]
    spec = {**item.properties["spec"], "parentRefs": [parent if port is None else {**parent, "port": port}]}
    return replace(item, properties={**item.properties, "spec": spec})


def owners() -> Iterator[Case]:
    name = "one-owner-per-service"
    yield name, snapshot(route(rule(1)), virtual_service("ratings")), {}, ""
    said = "VirtualService n/v: HTTPRoute n/r routes Service n/reviews, too, and takes precedence"
    for host in ("reviews", "reviews.n", "reviews.n.svc.cluster.local"):
        yield name, snapshot(route(rule(1)), virtual_service(host)), {}, said
    yield name, snapshot(route(rule(1)), virtual_service("reviews.other")), {}, ""
    yield name, snapshot(virtual_service(), live=(route(rule(1)),)), {}, said
    said = "HTTPRoute n/r: VirtualService n/v routes Service n/reviews, too, and would have no effect"
    yield name, snapshot(route(rule(1)), live=(virtual_service(),)), {}, said
    yield name, snapshot(service(), live=(route(rule(1)), virtual_service())), {}, ""  # not of this stack
    for first, second, broken in ((80, 8080, False), (80, 80, True), (80, None, True)):
        pair = (ported(route(rule(1), name="q"), first), ported(route(rule(1)), second))
        said = "HTTPRoute n/r: HTTPRoute n/q routes Service n/reviews, too, and only the older one has an effect"
        yield name, snapshot(*pair), {}, said if broken else ""
        said = "VirtualService n/v: HTTPRoute n/r routes Service n/reviews, too, and takes precedence"
        matched = virtual_service("reviews", {"match": [{"port": second}] if second else []})
        yield name, snapshot(ported(route(rule(1)), first), matched), {}, said if broken else ""
    at_ingress = thing("VirtualService", "v", {"hosts": ["reviews"], "gateways": ["front"]})
    yield name, snapshot(route(rule(1)), at_ingress), {}, ""


def binding() -> Iterator[Case]:
    name = "target-refs-only"
    picks = authorization("p", GET, selector={"matchLabels": {"a": "b"}})
    yield name, snapshot(gateway(), authorization("p", GET, **on("reviews"))), {}, ""
    yield name, snapshot(picks), {}, ""
    said = "AuthorizationPolicy n/p: has a selector, which a waypoint ignores"
    yield name, snapshot(gateway(), picks), {}, said
    yield name, snapshot(picks, live=(gateway(),)), {}, said
    guard = authorization("p", source(principals=["cluster.local/ns/n/sa/w"]), selector={"matchLabels": {"a": "b"}})
    yield name, snapshot(gateway(), guard), {}, ""  # of layer 4: ztunnel enforces it
    shared = {**ENROLLED, "istio.io/use-waypoint-namespace": "gateways"}
    for place in (namespace(**shared), service("reviews", **shared)):
        yield name, snapshot(picks, live=(place,)), {}, said
        yield name, snapshot(guard, live=(place,)), {}, ""
    yield name, snapshot(picks, live=(namespace("other", **shared),)), {}, ""
    name = "allow-has-rules"
    yield name, snapshot(authorization("p", GET), authorization("q", action="DENY")), {}, ""
    said = "AuthorizationPolicy n/p: ALLOW without rules refuses every request"
    yield name, snapshot(authorization("p")), {}, said
    yield name, snapshot(thing("AuthorizationPolicy", "p")), {}, said  # ALLOW is what no action means
    yield name, snapshot(authorization("p")), {"exceptions": ["n/*"]}, ""
    yield name, snapshot(dry_run(authorization("p"))), {}, ""
    yield name, snapshot(dry_run(authorization("p"), "false")), {}, said


def shadows() -> Iterator[Case]:
    name = "deny-shadows-allow"
    reviews = on("reviews")

    def pair(allow: Any, deny: Any, where: Any = reviews) -> ClusterSnapshot:
        return snapshot(authorization("a", allow, **reviews), authorization("d", deny, action="DENY", **where))

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
    yield name, pair(GET, {}, on("reviews", "ratings")), {}, said
    wide = authorization("a", GET, **on("reviews", "ratings"))
    yield name, snapshot(wide, authorization("d", {}, action="DENY", **reviews)), {}, ""  # ratings is still allowed
    alone = authorization("a", GET, **reviews)
    deny = authorization("d", GET, action="DENY", **reviews)
    said = "AuthorizationPolicy n/a: AuthorizationPolicy n/d refuses all that it allows"
    yield name, snapshot(alone, live=(deny,)), {}, said
    yield name, snapshot(service(), live=(alone, deny)), {}, ""
    yield name, snapshot(alone, dry_run(deny)), {}, ""
    yield name, snapshot(dry_run(alone), deny), {}, ""


def layer_7() -> Iterator[Case]:
    name = "layer-7-has-waypoint"
    ambient, enrolled = namespace(**AMBIENT), namespace(patch=True, **ENROLLED)
    bound = authorization("p", GET, **on("reviews"))
    said = "AuthorizationPolicy n/p: nothing enforces methods: Service n/reviews has no waypoint"
    yield name, snapshot(bound, service(), live=(ambient,)), {}, said
    yield name, snapshot(bound, enrolled, live=(ambient,)), {}, ""
    yield name, snapshot(bound, live=(ambient, service("reviews", **ENROLLED))), {}, ""
    opted_out = service("reviews", **{"istio.io/use-waypoint": "none"})
    yield name, snapshot(bound, enrolled, opted_out, live=(ambient,)), {}, said
    yield name, snapshot(bound, live=(namespace(),)), {}, ""  # sidecars, or no mesh at all
    layer_4 = authorization("p", source(namespaces=["shop"]), **on("reviews"))
    yield name, snapshot(layer_4, live=(ambient,)), {}, ""
    by_header = {"when": [{"key": "request.headers[x]", "values": ["1"]}]}
    said = "AuthorizationPolicy n/p: has no targetRefs, so no waypoint enforces request.headers[x]"
    yield name, snapshot(authorization("p", by_header), live=(ambient,)), {}, said
    for field, rule_of in (
        ("remoteIpBlocks", source(remoteIpBlocks=["203.0.113.0/24"])),
        ("notRemoteIpBlocks", source(notRemoteIpBlocks=["203.0.113.0/24"])),
        ("remote.ip", {"when": [{"key": "remote.ip", "values": ["203.0.113.0/24"]}]}),
        ("connection.sni", {"when": [{"key": "connection.sni", "values": ["x"]}]}),
    ):
        text = f"AuthorizationPolicy n/p: has no targetRefs, so no waypoint enforces {field}"
        yield name, snapshot(authorization("p", rule_of), live=(ambient,)), {}, text
    for key in ("source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port"):
        rule_of = {"when": [{"key": key, "values": ["1"]}]}
        yield name, snapshot(authorization("p", rule_of), live=(ambient,)), {}, ""
    tokens = {"jwtRules": [{"issuer": "me"}]}
    said = "RequestAuthentication n/a: has no targetRefs, so no waypoint enforces jwtRules"
    picks = {"selector": {"matchLabels": {"app": "reviews"}}}
    yield name, snapshot(thing("RequestAuthentication", "a", {**tokens, **picks}), live=(ambient,)), {}, said
    bound_tokens = thing("RequestAuthentication", "a", {**tokens, **on("reviews")})
    yield name, snapshot(bound_tokens, enrolled, live=(ambient,)), {}, ""
    said = "RequestAuthentication n/a: nothing enforces jwtRules: Service n/reviews has no waypoint"
    yield name, snapshot(bound_tokens, live=(ambient,)), {}, said
    said = "HTTPRoute n/r: nothing enforces its routing: Service n/reviews has no waypoint"
    yield name, snapshot(route(rule(1)), live=(ambient,)), {}, said
    yield name, snapshot(route(rule(1)), enrolled, live=(ambient,)), {}, ""


PARTS = (weights, jumps, existence, owners, binding, shadows, layer_7)
