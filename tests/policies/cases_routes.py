"""Cases of the rules on routes and on authorization."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from policies.pack.resources import ClusterSnapshot, Resource
from tests.policies.builders import (
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
    for host in ("s0.n", "s0.n.svc"):
        to = {"route": [{"destination": {"host": host}}]}
        said = f"VirtualService n/v: istiod does not complete the host {host}: write s0.n.svc.cluster.local"
        yield name, snapshot(virtual_service("example.com", to), *there), {}, said
        yield name, snapshot(virtual_service("example.com", to), *there[:2]), {}, ""  # a host outside the mesh
    said = "DestinationRule n/d: istiod does not complete the host s0.n: write s0.n.svc.cluster.local"
    yield name, snapshot(thing("DestinationRule", "d", {"host": "s0.n"}), *there), {}, said
    for group, shown in ((None, "gateway.networking.k8s.io"), ("core", "core")):
        parent = {"kind": "Service", "name": "reviews"} | ({} if group is None else {"group": group})
        said = f"HTTPRoute n/r: parentRef Service n/reviews has the group {shown}, so that it has no effect"
        inert = thing("HTTPRoute", "r", {"parentRefs": [parent], "rules": [refs]})
        yield name, snapshot(inert, *there), {}, f'{said}: write group ""'
        yield "one-owner-per-service", snapshot(virtual_service(), inert), {}, ""
    said = "AuthorizationPolicy n/p: Service n/away is not in the stack or the cluster"
    yield name, snapshot(authorization("p", GET, **on("away", "reviews")), *there), {}, said
    bound = {"targetRefs": [{"kind": "Gateway", "name": "w"}]}
    said = "Telemetry n/t: Gateway n/w is not in the stack or the cluster"
    yield name, snapshot(thing("Telemetry", "t", bound)), {}, said
    yield name, snapshot(thing("Telemetry", "t", bound), gateway()), {}, ""
    # Nobody could look: `cluster-readable` says so. In a namespace of the stack's own it is known all the same.
    yield name, snapshot(route(refs), error="unreachable"), {}, ""
    said = "HTTPRoute n/r: Service n/s0 is not in the stack (the cluster could not be compared)"
    yield name, snapshot(route(refs), *there[:2], error="unreachable"), {}, said
    yield name, snapshot(route(refs), namespace(patch=True), service(), error="unreachable"), {}, ""
    # A Helm Release may bring it.
    for place, missing in (("n", ""), ("other", "HTTPRoute n/r: Service n/s0 is not in the stack or the cluster")):
        yield name, snapshot(route(refs), *there[:2], Resource("Release", {"namespace": place})), {}, missing


def ported(item: Resource, port: int | None) -> Resource:
    """The route, bound to one port of the Service."""
    (parent,) = item.properties["spec"]["parentRefs"]
    spec = {**item.properties["spec"], "parentRefs": [parent if port is None else {**parent, "port": port}]}
    return replace(item, properties={**item.properties, "spec": spec})


def owners() -> Iterator[Case]:
    name = "one-owner-per-service"
    yield name, snapshot(route(rule(1)), virtual_service("ratings")), {}, ""
    said = "VirtualService n/v: HTTPRoute n/r routes Service n/reviews, too, and takes precedence"
    for host in ("reviews", "reviews.n.svc.cluster.local"):
        yield name, snapshot(route(rule(1)), virtual_service(host)), {}, said
    yield name, snapshot(route(rule(1)), virtual_service("reviews.n")), {}, ""  # no Service for istiod
    yield name, snapshot(virtual_service(), live=(route(rule(1)),)), {}, said
    said = "HTTPRoute n/r: VirtualService n/v routes Service n/reviews, too, and would have no effect"
    yield name, snapshot(route(rule(1)), live=(virtual_service(),)), {}, said
    yield name, snapshot(service(), live=(route(rule(1)), virtual_service())), {}, ""  # not of this stack
    for first, second, broken in ((80, 8080, False), (80, 80, True), (80, None, True)):
        pair = (ported(route(rule(1), name="q"), first), ported(route(rule(1)), second))
        hides = "a rule of the older one hides one of the newer"
        said = f"HTTPRoute n/r: HTTPRoute n/q routes Service n/reviews, too, and {hides}"
        yield name, snapshot(*pair), {}, said if broken else ""
        said = "VirtualService n/v: HTTPRoute n/r routes Service n/reviews, too, and takes precedence"
        matched = virtual_service("reviews", {"match": [{"port": second}] if second else []})
        yield name, snapshot(ported(route(rule(1)), first), matched), {}, said if broken else ""
    nameless = route(rule(1), name=""), route(rule(1), name="")  # Pulumi has yet to choose their names
    said = (
        "HTTPRoute n/: HTTPRoute n/ routes Service n/reviews, too, and a rule of the older one hides one of the newer"
    )
    yield name, snapshot(*nameless), {}, said
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
    closed = authorization("p", selector={"matchLabels": {"a": "b"}})
    yield name, snapshot(gateway(), closed), {}, ""
    asks = authorization("p", {}, action="CUSTOM", selector={"matchLabels": {"a": "b"}})
    yield name, snapshot(gateway(), asks), {}, said
    noted = Resource("AuthorizationPolicyPatch", {**picks.properties, "spec": {}})
    yield name, snapshot(noted, live=(gateway(), picks)), {}, ""  # the selector is not its own
    bare = Resource("AuthorizationPolicyPatch", closed.properties)
    said = said.replace("Policy n", "PolicyPatch n")
    yield name, snapshot(bare, live=(gateway(), authorization("p", GET))), {}, said
    name = "allow-has-rules"
    yield name, snapshot(authorization("p", GET), authorization("q", action="DENY")), {}, ""
    said = "AuthorizationPolicy n/p: ALLOW without rules refuses every request"
    yield name, snapshot(authorization("p")), {}, said
    yield name, snapshot(thing("AuthorizationPolicy", "p")), {}, said  # ALLOW is what no action means
    yield name, snapshot(authorization("p")), {"exceptions": ["n/*"]}, ""
    yield name, snapshot(dry_run(authorization("p"))), {}, ""
    yield name, snapshot(dry_run(authorization("p"), "false")), {}, said
    for spec, broken in (({}, False), ({"rules": []}, False), ({"rules": [], "action": "ALLOW"}, True)):
        patch = thing("AuthorizationPolicyPatch", "p", spec)
        yield name, snapshot(patch), {}, said.replace("Policy n", "PolicyPatch n") * broken


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
    less = thing("AuthorizationPolicyPatch", "d", {"rules": [operation(methods=["PUT"])]})
    yield name, snapshot(alone, less, live=(deny,)), {}, ""
    yield name, snapshot(dry_run(alone), deny), {}, ""
    yield name, snapshot(authorization("a", **reviews), deny), {}, ""  # nothing is allowed
    apps: list[dict[str, Any]] = [{"selector": {"matchLabels": {"app": app}}} for app in ("reviews", "ratings")]
    allow = authorization("a", GET, **apps[0])
    said = "AuthorizationPolicy n/d: refuses all that AuthorizationPolicy n/a allows"
    for where, broken in ((apps[0], True), (apps[1], False), (reviews, False)):
        yield name, snapshot(allow, authorization("d", GET, action="DENY", **where)), {}, said * broken


PARTS = (weights, jumps, existence, owners, binding, shadows)
