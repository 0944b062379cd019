"""Cases of the rules on what a waypoint enforces, and on routes of which one hides another."""

from collections.abc import Iterator

from policies.pack.resources import Resource
from tests.policies.builders import (
    AMBIENT,
    ENROLLED,
    Case,
    authorization,
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


def merged_routes() -> Iterator[Case]:
    name = "one-owner-per-service"
    hides = "routes Service n/reviews, too, and a rule of the older one hides one of the newer"
    said = f"HTTPRoute n/q: HTTPRoute n/r {hides}"
    cart, admin, regex = (
        {"matches": [{"path": {"type": kind, "value": value}}]}
        for kind, value in (("PathPrefix", "/cart"), ("PathPrefix", "/admin"), ("RegularExpression", "/a.*"))
    )
    for first, second, broken in (
        (cart, admin, False),
        (cart, cart, True),
        ({}, admin, False),  # istiod sorts the rules: the one without conditions is the last
        ({}, regex, True),
        ({"matches": [*cart["matches"], *admin["matches"]]}, admin, True),
    ):
        yield name, snapshot(route(rule(1, **second), name="q"), live=(route(rule(1, **first)),)), {}, said * broken
    # A route of all ports and one of a port are not merged.
    parent = {"group": "", "kind": "Service", "name": "reviews", "port": 80}
    for first, broken in (({}, True), (cart, False)):
        ported = thing("HTTPRoute", "q", {"parentRefs": [parent], "rules": [rule(1, **first)]})
        yield name, snapshot(ported, live=(route(rule(1, **admin)),)), {}, said * broken
    exact, prefix = {"match": [{"uri": {"exact": "/a"}}]}, {"match": [{"uri": {"prefix": "/"}, "gateways": ["mesh"]}]}
    said = f"VirtualService n/w: VirtualService n/v {hides}"
    for one, broken in ((exact, True), (prefix, True), ({"match": [{"uri": {"exact": "/b"}}]}, False)):
        pair = snapshot(virtual_service("reviews", one, name="w"), live=(virtual_service("reviews", exact),))
        yield name, pair, {}, said * broken
    # An HTTPRoute comes before a VirtualService.
    yield name, snapshot(virtual_service(), live=(route(rule(1, **cart)),)), {}, ""


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
    patch = thing("AuthorizationPolicyPatch", "p", {"rules": [GET]})
    yield name, snapshot(patch, enrolled, live=(ambient, bound)), {}, ""  # the targetRefs are not its own
    yield name, snapshot(bound, Resource("Release", {"namespace": "n"}), live=(ambient,)), {}, ""


def custom_actions() -> Iterator[Case]:
    name = "layer-7-has-waypoint"
    ambient, enrolled = namespace(**AMBIENT), namespace(**AMBIENT, **ENROLLED)
    for action in ("CUSTOM", "AUDIT"):  # ztunnel knows neither
        said = f"AuthorizationPolicy n/p: has no targetRefs, so no waypoint enforces action {action}"
        for place in (ambient, enrolled):
            yield name, snapshot(authorization("p", {}, action=action), live=(place,)), {}, said
        yield name, snapshot(authorization("p", {}, action=action, **on("reviews")), live=(enrolled,)), {}, ""


def refused_services() -> Iterator[Case]:
    name = "layer-7-has-waypoint"
    ambient = namespace(**AMBIENT, **ENROLLED)
    bound = authorization("p", GET, action="DENY", **on("reviews"))
    said = "AuthorizationPolicy n/p: nothing enforces methods:"
    for traffic, broken in (("workload", True), ("none", True), ("service", False), ("all", False)):
        waypoint = gateway().marked({"istio.io/waypoint-for": traffic}, {})
        text = f"{said} waypoint n/w of Service n/reviews takes no traffic to Services"
        yield name, snapshot(bound, live=(ambient, waypoint)), {}, text * broken
    away = namespace(**AMBIENT, **ENROLLED, **{"istio.io/use-waypoint-namespace": "infra"}, team="a")
    for places, broken in (
        (None, True),
        ({"from": "Same"}, True),
        ({"from": "All"}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": "n"}}}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, False),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}, True),
    ):
        listener = {"port": 15008, "protocol": "HBONE"} | ({"allowedRoutes": {"namespaces": places}} if places else {})
        waypoint = thing("Gateway", "w", {"listeners": [listener]}, namespace="infra")
        text = f"{said} allowedRoutes of waypoint infra/w do not include the namespace of Service n/reviews"
        yield name, snapshot(bound, live=(away, waypoint)), {}, text * broken
        text = (
            "Namespace n: is enrolled in waypoint infra/w, but allowedRoutes of its listener do not include namespace n"
        )
        yield "waypoint-exists", snapshot(away, live=(waypoint,)), {}, text * broken
    # istiod uses the routes of the Service's and of the waypoint's namespace; those of others are for their sidecars.
    ambient = namespace("client", **AMBIENT)
    for place, broken in (("client", True), ("sidecars", False), ("n", False), ("infra", False)):
        there = virtual_service("reviews.n.svc.cluster.local", {"timeout": "2s"}, namespace=place)
        text = f"VirtualService {place}/v: nothing enforces its routing: it is neither in the namespace of"
        said = f"{text} Service n/reviews nor in that of its waypoint"
        yield name, snapshot(there, live=(away, ambient)), {}, said * broken


PARTS = (merged_routes, layer_7, custom_actions, refused_services)
