"""Cases of the rules on Services, and on which waypoint or route has an effect on them."""

from collections.abc import Iterator
from typing import Any

from policies.pack.resources import Resource
from tests.policies.builders import (
    AMBIENT,
    ENROLLED,
    Case,
    at,
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
SELECTOR = {"selector": {"matchLabels": {"app": "reviews"}}}
PLACE = namespace(**AMBIENT, **ENROLLED)


def selecting(name: str = "reviews", **selector: str) -> Resource:
    """A Service with a selector."""
    return thing("Service", name, {"ports": [{"port": 80}], "selector": selector or {"app": "reviews"}})


def to_subset(name: str = "v1", field: str = "route") -> dict[str, Any]:
    return {field: [{"destination": {"host": "reviews", "subset": name}}]}


def subsets() -> Iterator[Case]:
    name = "targets-exist"
    there = (namespace(), service())
    said = "VirtualService n/v: no DestinationRule defines subset v1 of Service n/reviews, so its requests fail"
    rules = thing("DestinationRule", "d", {"host": "reviews.n.svc.cluster.local", "subsets": [{"name": "v1"}]})
    yield name, snapshot(virtual_service("reviews", to_subset()), *there), {}, said
    yield name, snapshot(virtual_service("reviews", to_subset(field="mirrors")), *there), {}, said
    yield name, snapshot(virtual_service("reviews", to_subset()), *there, rules), {}, ""
    yield name, snapshot(virtual_service("reviews", to_subset()), live=(*there, rules)), {}, ""
    yield name, snapshot(virtual_service("reviews", to_subset("v2")), *there, rules), {}, said.replace("v1", "v2")
    yield name, snapshot(virtual_service("reviews", to_subset()), error="unreachable"), {}, ""


def headless() -> Iterator[Case]:
    name = "service-has-cluster-ip"
    bare = thing("Service", "reviews", {"clusterIP": "None"})
    outside = thing("Service", "reviews", {"type": "ExternalName", "externalName": "example.com"})
    rest = "n/reviews, whose traffic passes by every waypoint"
    for item in (route(rule(1)), virtual_service(), authorization("p", GET, **on("reviews"))):
        yield name, snapshot(item, bare, PLACE), {}, f"{item.title}: is for the headless Service {rest}"
        yield name, snapshot(item, service(), PLACE), {}, ""
        yield name, snapshot(item, bare), {}, ""  # not in the ambient mesh
        yield (
            name,
            snapshot(bare, live=(item, PLACE)),
            {},
            f"Service n/reviews: {item.title} is for the headless Service {rest}",
        )
    yield (
        name,
        snapshot(route(rule(1)), live=(outside, PLACE)),
        {},
        f"HTTPRoute n/r: is for the ExternalName Service {rest}",
    )
    yield name, snapshot(authorization("p", GET, **at("reviews")), bare, PLACE), {}, ""  # it is for a Gateway


def second_owners() -> Iterator[Case]:
    name = "one-owner-per-service"
    hides = "routes Service n/reviews, too, and a rule of the older one hides one of the newer"
    said = f"HTTPRoute n/new: HTTPRoute n/r {hides}"
    yield name, snapshot(route(rule(1), name="new"), live=(route(rule(1)),)), {}, said
    yield name, snapshot(route(rule(1)), route(rule(1), name="new")), {}, said
    parent = {"group": "", "kind": "Service", "name": "reviews", "port": 9081}
    other_port = thing("HTTPRoute", "new", {"parentRefs": [parent], "rules": [rule(1)]})
    yield name, snapshot(other_port, live=(route(rule(1)),)), {}, said
    yield name, snapshot(route(rule(1), name="new", service="other"), live=(route(rule(1)),)), {}, ""
    yield name, snapshot(route(rule(1)), live=(route(rule(1)),)), {}, ""  # the route itself
    consumer = thing("HTTPRoute", "c", {"parentRefs": [{**parent, "namespace": "n"}]}, namespace="clients")
    yield name, snapshot(consumer, live=(route(rule(1)),)), {}, ""
    said = f"VirtualService n/w: VirtualService n/v {hides}"
    yield name, snapshot(virtual_service(name="w"), live=(virtual_service(),)), {}, said
    yield name, snapshot(service(), live=(route(rule(1)), route(rule(1), name="new"))), {}, ""


def equal_parts() -> Iterator[Case]:
    name = "weights-add-up"
    bare = {"backendRefs": [{"name": "s0"}, {"name": "s1"}]}
    yield name, snapshot(route(bare), route(rule(1, 1))), {}, ""
    mixed = {"backendRefs": [{"name": "s0", "weight": 100}, {"name": "s1"}]}
    yield name, snapshot(route(mixed)), {}, "HTTPRoute n/r: weights of rule 1 add up to 101, not to 100"


def safe_methods() -> Iterator[Case]:
    name = "retried-writes"
    retries = {"retries": {"attempts": 3, "retryOn": "5xx"}, **to_subset()}
    said = "VirtualService n/v: rule 1 repeats writes up to 3 times, without a budget"
    for pattern in ("GET|HEAD|OPTIONS", "^(GET|HEAD)$", "(?:GET)", "GET"):
        yield name, snapshot(virtual_service("r", {**retries, "match": [{"method": {"regex": pattern}}]})), {}, ""
    for pattern in ("GET|POST", ".*", "GET|.*", "(GET|HEAD)?", "", "GET|"):
        yield name, snapshot(virtual_service("r", {**retries, "match": [{"method": {"regex": pattern}}]})), {}, said


def same_pods() -> Iterator[Case]:
    name = "same-pods-covered"
    policy = authorization("p", GET, **on("reviews"))
    versions = (selecting(), selecting("reviews-v1", app="reviews", version="v1"), selecting("ratings", app="ratings"))
    said = "AuthorizationPolicy n/p: covers Service reviews, but not reviews-v1 with the same Pods"
    yield name, snapshot(policy, *versions), {}, said
    yield name, snapshot(policy, live=versions), {}, said
    said = "Service n/reviews-v1: AuthorizationPolicy n/p covers Service reviews, but not reviews-v1 with the same Pods"
    yield name, snapshot(versions[1], live=(policy, versions[0])), {}, said
    yield name, snapshot(authorization("p", GET, **on("reviews", "reviews-v1")), *versions), {}, ""
    yield name, snapshot(policy, authorization("q", GET, **on("reviews-v1")), *versions), {}, ""
    yield name, snapshot(policy, versions[0], versions[2]), {}, ""
    yield name, snapshot(service("another"), live=(policy, *versions)), {}, ""  # not of this stack
    said = "AuthorizationPolicy n/p: covers Service reviews-v1, but not reviews with the same Pods"
    yield name, snapshot(authorization("p", GET, **on("reviews-v1")), *versions), {}, said
    waypoints_own = selecting("w").marked({"gateway.istio.io/managed": "istio.io-mesh-controller"}, {})
    yield name, snapshot(policy, versions[0], waypoints_own), {}, ""
    yield name, snapshot(policy, selecting(), thing("Service", "other", {})), {}, ""
    yield name, snapshot(authorization("p", source(namespaces=["a"]), **on("reviews")), *versions), {}, ""  # layer 4
    refs = [*on("reviews")["targetRefs"], *at("w")["targetRefs"]]
    yield name, snapshot(authorization("p", GET, targetRefs=refs), *versions), {}, ""


def identities() -> Iterator[Case]:
    name = "allow-includes-waypoint"
    shop, own = source(principals=["cluster.local/ns/shop/sa/shop"]), source(principals=["cluster.local/ns/n/sa/w"])
    refuses = "refuses waypoint n/w, and so every request: allow cluster.local/ns/n/sa/w"
    said = f"AuthorizationPolicy n/p: {refuses}"
    for bound in (SELECTOR, {}):
        yield name, snapshot(authorization("p", shop, **bound), live=(PLACE, selecting())), {}, said
        yield name, snapshot(authorization("p", shop, **bound), live=(PLACE,)), {}, said
        yield name, snapshot(authorization("p", shop, own, **bound), live=(PLACE, selecting())), {}, ""
        yield name, snapshot(authorization("p", shop, **bound), live=(selecting(),)), {}, ""
        yield name, snapshot(dry_run(authorization("p", shop, **bound)), live=(PLACE, selecting())), {}, ""
        allowing = dry_run(authorization("q", own, **bound))
        yield name, snapshot(authorization("p", shop, **bound), allowing, live=(PLACE, selecting())), {}, said
    yield (
        name,
        snapshot(namespace(patch=True, **ENROLLED), live=(authorization("p", shop), selecting())),
        {},
        (f"NamespacePatch n: AuthorizationPolicy n/p {refuses}"),
    )
    for allowed in (
        source(namespaces=["n"]),
        source(principals=["*"]),
        source(principals=["*/sa/w"]),
        source(principals=["mesh.example/ns/n/sa/w"]),
        source(principals=["mesh.example/ns/n/*"]),
        source(serviceAccounts=["w"]),
        source(serviceAccounts=["n/w"]),
        source(ipBlocks=["10.0.0.0/8"]),
        operation(ports=["9080"]),
    ):
        yield name, snapshot(authorization("p", allowed, **SELECTOR), live=(PLACE, selecting())), {}, ""
    for refused in (
        {**own, **GET},  # ztunnel never matches a rule of layer 7
        source(notPrincipals=["cluster.local/ns/n/sa/w"]),
        source(serviceAccounts=["shop/w"]),
        source(principals=["mesh.example/ns/shop/*"]),
        source(namespaces=["n"], notNamespaces=["n"]),
    ):
        yield name, snapshot(authorization("p", refused, **SELECTOR), live=(PLACE, selecting())), {}, said
    patch = Resource("AuthorizationPolicyPatch", authorization("p", own).properties)
    yield name, snapshot(patch, live=(PLACE, selecting(), authorization("p", shop, **SELECTOR))), {}, ""
    # One policy that allows it is enough; it must be in effect at the same Pods.
    yield (
        name,
        snapshot(authorization("p", shop, **SELECTOR), live=(PLACE, selecting(), authorization("q", own))),
        {},
        "",
    )
    other = authorization("q", own, selector={"matchLabels": {"app": "ratings"}})
    yield name, snapshot(authorization("p", shop, **SELECTOR), live=(PLACE, selecting(), other)), {}, said
    yield name, snapshot(authorization("p", shop, action="DENY", **SELECTOR), live=(PLACE, selecting())), {}, ""
    yield name, snapshot(authorization("p", shop, **on("reviews")), live=(PLACE, selecting())), {}, ""
    away = selecting("ratings", app="ratings")
    yield name, snapshot(authorization("p", shop, **SELECTOR), live=(PLACE, away)), {}, ""
    other = selecting().marked({"istio.io/use-waypoint": "x"}, {})  # further Services use the namespace's
    yield name, snapshot(authorization("p", source(serviceAccounts=["x"])), live=(PLACE, other)), {}, said
    account = thing("Gateway", "w", {}, annotations={"gateway.istio.io/service-account": "edge"})
    said = said.replace("sa/w", "sa/edge")
    yield name, snapshot(authorization("p", own, **SELECTOR), live=(PLACE, selecting(), account)), {}, said


def agentgateway() -> Iterator[Case]:
    name = "waypoint-supports-api"
    other = gateway(gatewayClassName="istio-agentgateway-waypoint")
    effect = "has no effect: waypoint n/w of istio-agentgateway-waypoint ignores it"
    to = {"host": "reviews"}
    for item in (
        virtual_service(),
        thing("DestinationRule", "d", to),
        authorization("p", GET, **on("reviews")),
        authorization("p", GET, **at("w")),
        thing("RequestAuthentication", "a", on("reviews")),
        thing("Telemetry", "t", at("w")),
    ):
        yield name, snapshot(item, live=(other, PLACE, service())), {}, f"{item.title}: {effect}"
        yield name, snapshot(item, live=(gateway(), PLACE, service())), {}, ""
        yield name, snapshot(other, live=(item, PLACE, service())), {}, f"Gateway n/w: {item.title} {effect}"
        yield name, snapshot(service(), live=(item, other, PLACE)), {}, ""
    yield name, snapshot(route(rule(1)), live=(other, PLACE, service())), {}, ""
    yield name, snapshot(virtual_service(), live=(other, service())), {}, ""
    enrolling = namespace(patch=True, **ENROLLED)
    yield (
        name,
        snapshot(enrolling, live=(other, virtual_service())),
        {},
        f"NamespacePatch n: VirtualService n/v {effect}",
    )


PARTS = (
    subsets,
    headless,
    second_owners,
    equal_parts,
    safe_methods,
    same_pods,
    identities,
    agentgateway,
)
