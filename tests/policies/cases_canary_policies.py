"""Cases of the rule on the policies that a canary waypoint enforces."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from policies.pack.resources import Resource
from tests.policies.builders import (
    Case,
    at,
    authorization,
    enrolled,
    gateway,
    namespace,
    on,
    operation,
    service,
    snapshot,
    source,
    thing,
)

NAME = "canary-waypoint-policies"
GET, ADMIN = operation(methods=["GET"]), operation(paths=["/admin"])
BOTH = {"primary": "w", "canary": "w-b"}
PAST = "is bound to Gateway n/w, but not to its canary n/w-b: requests through the canary skip it"
POLICY_SAID = f"AuthorizationPolicy n/p: {PAST}"
PLACE_SAID = f"NamespacePatch n: AuthorizationPolicy n/p {PAST}"
BOUND = authorization("p", GET, **at("w"))
SERVED = enrolled(**BOTH, weight="20", patch=False)  # not by the stack


def elsewhere(item: Resource, place: str = "m") -> Resource:
    return replace(
        item, properties={**item.properties, "metadata": {**item.properties["metadata"], "namespace": place}}
    )


def described(item: Resource, **annotations: str) -> Resource:
    notes = {f"istio.io/{name.replace('_', '-')}": text for name, text in annotations.items()}
    return replace(
        item, properties={**item.properties, "metadata": {**item.properties["metadata"], "annotations": notes}}
    )


def bindings() -> Iterator[Case]:
    canary = enrolled(**BOTH)
    yield NAME, snapshot(canary, BOUND), {}, POLICY_SAID
    yield NAME, snapshot(canary, authorization("p", ADMIN, action="DENY", **at("w"))), {}, POLICY_SAID
    tokens = {"jwtRules": [{"issuer": "me"}]}
    said = f"RequestAuthentication n/p: {PAST}"
    yield NAME, snapshot(canary, thing("RequestAuthentication", "p", {**tokens, **at("w")})), {}, said
    yield NAME, snapshot(canary, thing("RequestAuthentication", "p", {**tokens, **at("w", "w-b")})), {}, ""
    yield NAME, snapshot(canary, authorization("p", GET, **at("w", "w-b"))), {}, ""
    yield NAME, snapshot(enrolled(primary="w"), enrolled(weight="20"), BOUND), {}, ""
    yield NAME, snapshot(enrolled(primary="w", canary="w"), BOUND), {}, ""
    yield NAME, snapshot(enrolled(primary="w-b", canary="w"), BOUND), {}, ""  # tried on a share
    # The older form, of which istiod looks only where the newer is not there.
    single = {"targetRef": at("w")["targetRefs"][0]}
    yield NAME, snapshot(canary, authorization("p", GET, **single)), {}, POLICY_SAID
    yield NAME, snapshot(canary, authorization("p", GET, **single, **at("w-c"))), {}, ""
    # What is of no waypoint's Gateway.
    for bound in (on("s"), at("istio-waypoint", kind="GatewayClass"), {"selector": {"matchLabels": {"app": "a"}}}, {}):
        yield NAME, snapshot(canary, authorization("p", GET, **bound)), {}, ""
    yield NAME, snapshot(canary, authorization("p", GET, **at("w", group="networking.istio.io"))), {}, ""
    yield NAME, snapshot(canary, elsewhere(BOUND)), {}, ""
    # Nobody is refused anything by one that is only logged.
    yield NAME, snapshot(canary, described(BOUND, dry_run="true")), {}, ""
    yield NAME, snapshot(canary, described(BOUND, dry_run="false")), {}, POLICY_SAID


def twins() -> Iterator[Case]:
    canary = enrolled(**BOTH)
    rules: tuple[dict[str, Any], ...] = ({**GET, **source(namespaces=["a", "b"])}, ADMIN)
    first = authorization("p", *rules, **at("w"))
    twin = authorization("q", ADMIN, {**source(namespaces=["b", "a"]), **GET}, **at("w-b"))
    yield NAME, snapshot(canary, first, twin), {}, ""
    yield NAME, snapshot(canary, first, live=(twin,)), {}, ""
    # Nobody has to write the action that is meant anyway, and Pulumi adds a field.
    short = thing("AuthorizationPolicy", "q", {"rules": [GET], "__fieldManager": "m", **at("w-b")})
    yield NAME, snapshot(canary, BOUND, short), {}, ""
    wide = at("istio-waypoint", kind="GatewayClass")
    yield NAME, snapshot(canary, BOUND, live=(elsewhere(authorization("q", GET, **wide), "istio-system"),)), {}, ""
    for other in (
        authorization("q", GET, **at("w-c")),
        authorization("q", ADMIN, **at("w-b")),
        authorization("q", GET, ADMIN, **at("w-b")),
        authorization("q", GET, action="DENY", **at("w-b")),
        authorization("q", GET, **at("w-b", group="")),
        described(authorization("q", GET, **at("w-b")), dry_run="true"),
        elsewhere(authorization("q", GET, **at("w-b"))),
    ):
        yield NAME, snapshot(canary, BOUND, other), {}, POLICY_SAID
    empty = thing("RequestAuthentication", "q", at("w-b"))
    yield NAME, snapshot(canary, authorization("p", **at("w")), empty), {}, POLICY_SAID
    # A policy can name only Gateways of its own namespace.
    away = enrolled(**BOTH, canary_namespace="m")
    there = "n/w, but not to its canary m/w-b (in namespace m by another policy): requests through the canary"
    said = f"AuthorizationPolicy n/p: is bound to Gateway {there} skip it"
    yield NAME, snapshot(away, authorization("p", GET, **at("w", "w-b"))), {}, said
    yield NAME, snapshot(away, BOUND, elsewhere(authorization("q", GET, **at("w-b")))), {}, ""


def services() -> Iterator[Case]:
    one, other = enrolled("s", **BOTH), enrolled("t", primary="w")
    yield NAME, snapshot(one, other, BOUND), {}, POLICY_SAID
    yield NAME, snapshot(other, BOUND), {}, ""
    yield NAME, snapshot(enrolled("s", canary="w-b"), enrolled(primary="w"), BOUND), {}, POLICY_SAID
    yield (
        NAME,
        snapshot(enrolled("s", primary="w"), enrolled(canary="w-b"), BOUND),
        {},
        "",
    )  # it does not inherit this one
    # What is bound to every Service with the canary, too, holds there.
    refs = [*at("w")["targetRefs"], *on("s")["targetRefs"]]
    also = authorization("p", GET, targetRefs=refs)
    yield NAME, snapshot(one, other, also), {}, ""
    yield NAME, snapshot(one, BOUND, authorization("q", GET, **on("s"))), {}, ""
    yield NAME, snapshot(one, enrolled("t", **BOTH), also), {}, POLICY_SAID
    yield NAME, snapshot(enrolled(**BOTH), service("s"), also), {}, ""
    yield NAME, snapshot(enrolled(**BOTH), service("s"), service("t"), also), {}, POLICY_SAID
    yield NAME, snapshot(enrolled(**BOTH), service("s"), enrolled("t", primary="none"), also), {}, ""
    yield NAME, snapshot(enrolled(**BOTH), also), {}, POLICY_SAID  # any may come
    waypoints_own = service("w", **{"gateway.istio.io/managed": "istio.io-mesh-controller"})
    yield NAME, snapshot(enrolled(**BOTH), service("s"), also, live=(waypoints_own, gateway())), {}, ""
    outside = thing("ServiceEntry", "e", {})
    yield NAME, snapshot(enrolled(**BOTH), service("s"), also, live=(outside,)), {}, POLICY_SAID
    refs = [*refs, *at("e", kind="ServiceEntry", group="networking.istio.io")["targetRefs"]]
    both = authorization("p", GET, targetRefs=refs)
    yield NAME, snapshot(enrolled(**BOTH), service("s"), both, live=(outside,)), {}, ""


def owners() -> Iterator[Case]:
    yield NAME, snapshot(BOUND, live=(SERVED,)), {}, POLICY_SAID
    yield NAME, snapshot(authorization("p", GET, **at("w", "w-b")), live=(SERVED,)), {}, ""
    yield NAME, snapshot(enrolled(**BOTH), live=(BOUND,)), {}, PLACE_SAID
    yield NAME, snapshot(enrolled(**BOTH), live=(authorization("p", GET, **at("w", "w-b")),)), {}, ""
    yield NAME, snapshot(enrolled(**BOTH), service("s"), service("t"), live=(BOUND,)), {}, PLACE_SAID
    said = PLACE_SAID.replace("NamespacePatch n:", "ServicePatch n/s:")
    yield NAME, snapshot(enrolled("s", canary="w-b"), live=(enrolled(primary="w", patch=False), BOUND)), {}, said
    # A conflict between two objects of others is not reported.
    yield NAME, snapshot(service("s"), live=(SERVED, BOUND)), {}, ""
    yield NAME, snapshot(enrolled(primary="w"), live=(SERVED, BOUND)), {}, ""
    # A patch has the last word, of one field only.
    patch = replace(authorization("p"), kind="AuthorizationPolicyPatch", properties={**BOUND.properties, "spec": {}})
    wider = replace(patch, properties={**patch.properties, "spec": at("w", "w-b")})
    yield NAME, snapshot(enrolled(**BOTH), wider, live=(BOUND,)), {}, ""
    narrower = replace(patch, properties={**patch.properties, "spec": at("w")})
    live = (authorization("p", GET, **at("w", "w-b")),)
    yield NAME, snapshot(enrolled(**BOTH), narrower, live=live), {}, POLICY_SAID.replace("Policy n", "PolicyPatch n")
    # Names that Pulumi has yet to choose do not make one policy of two.
    nameless = [authorization("", GET, **at("w", "w-b")), authorization("", ADMIN, **at("w", "w-b"))]
    yield NAME, snapshot(enrolled(**BOTH), *nameless), {}, ""
    # Nobody could look into the cluster: what the stack says is enough.
    yield NAME, snapshot(enrolled(**BOTH), BOUND, error="unreachable"), {}, POLICY_SAID
    yield NAME, snapshot(BOUND, namespace(), error="unreachable"), {}, ""


PARTS = (bindings, twins, services, owners)
