"""A rule on what a canary waypoint enforces.

Source: istiod 1.31, pilot/pkg/model/policyattachment.go (ShouldAttachPolicy): a policy that names a Gateway is for that
one waypoint of its own namespace; one that names a Service is for every waypoint of the Service, and one that names the
GatewayClass for every waypoint.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .canary_waypoints import enrolment
from .objects import WAYPOINT_CLASS, Findings, Key, Object, Settings, World, plain
from .waypoints import CANARY, Name

_KINDS = ("AuthorizationPolicy", "RequestAuthentication")
_GATEWAY_API = "gateway.networking.k8s.io"
# Under another group istiod ignores the name, so that it binds to nothing.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Service": ("", "core"),
    "ServiceEntry": ("networking.istio.io",),
    "Gateway": (_GATEWAY_API,),
    "GatewayClass": (_GATEWAY_API,),
}
_BINDING = ("targetRef", "targetRefs", "selector")
_DRY_RUN = "istio.io/dry-run"
_YES = ("1", "t", "T", "true", "TRUE", "True")  # what Go's strconv.ParseBool takes for yes
_MANAGED = "gateway.istio.io/managed"  # on a waypoint's own Service, which is in no waypoint
_EVERY_WAYPOINT: Key = ("GatewayClass", "", WAYPOINT_CLASS)


class _Enforced(NamedTuple):
    """A policy as it will be."""

    parts: tuple[Object, ...]  # itself, and what patches it
    what: str  # the same text for all policies that ask for the same
    targets: frozenset[Key]


def canary_waypoint_policies(world: World, _settings: Settings) -> Findings:
    """What is bound to the Gateway of a primary waypoint holds for connections through its canary as well.

    It is bound to the canary's Gateway, to the GatewayClass, or to each Service that has the two; itself, or another
    policy that asks for the same. The stack answers for policies of its own, and for those of others where its own
    label names the canary. What only the canary enforces is left alone: so a new policy is tried on a share.
    """
    pairs = _pairs(world)
    policies = list(_policies(world)) if pairs else []
    bound: dict[str, set[Key]] = {}
    for policy in policies:
        bound.setdefault(policy.what, set()).update(policy.targets)
    for policy in policies:
        for (primary, canary), users in pairs.items():
            found = bound[policy.what]
            past = [key for key in users if key not in found]
            if ("Gateway", *primary) in policy.targets and past and not found & {("Gateway", *canary), _EVERY_WAYPOINT}:
                yield from _line(world, policy, primary, canary, past)


def _line(world: World, policy: _Enforced, primary: Name, canary: Name, past: list[Key]) -> Findings:
    policys_own = filter(world.owns, policy.parts)
    canarys_own = filter(None, (_names_the_canary(world, key) for key in past))
    item = next(policys_own, None) or next(canarys_own, None)
    if not item:
        return
    subject = "" if item in policy.parts else f"{policy.parts[0].title} "
    there = "" if canary[0] == policy.parts[0].namespace else f" (in namespace {canary[0]} by another policy)"
    lacks = f"is bound to Gateway {'/'.join(primary)}, but not to its canary {'/'.join(canary)}{there}"
    yield item, f"{subject}{lacks}: what goes through the canary gets past it"


def _pairs(world: World) -> dict[tuple[Name, Name], list[Key]]:
    """Each primary and its canary, with the Services that have the two, or their Namespace where it has none yet."""
    found: dict[tuple[Name, Name], list[Key]] = {}
    for kind in ("Service", "ServiceEntry", "Namespace"):
        for key in dict.fromkeys(item.key for item in world.all(kind) if _MANAGED not in item.labels):
            primary, canary, _weight = enrolment(world, key)
            if not primary or not canary:
                continue
            users = found.setdefault((primary, canary), [])
            if kind != "Namespace" or all(user[1] != key[2] for user in users):
                users.append(key)
    return found


def _names_the_canary(world: World, key: Key) -> Object | None:
    """The stack's object with the label that names this one's canary; None where somebody else's does."""
    place = key if CANARY in world.labels(*key) else ("Namespace", "", key[1])
    return next((item for item in world.find(*place) if world.owns(item) and CANARY in item.labels), None)


def _policies(world: World) -> Iterator[_Enforced]:
    """Each policy that is enforced; one that is patched is what it is in the cluster, but for the patch's fields."""
    for item in world.all(*_KINDS):
        known = world.find(*item.key)
        whole = [part for part in known if not part.patch]
        if item.patch and whole:
            continue  # it comes with the whole one
        parts = (item, *(part for part in known if part.patch and part is not item))
        notes = {note: value for part in parts for note, value in part.annotations.items()}
        if notes.get(_DRY_RUN) in _YES:
            continue
        spec = {field: value for part in parts for field, value in part.spec.items()}
        asks = plain({"action": "ALLOW", **{field: spec[field] for field in spec if field not in _BINDING}})
        yield _Enforced(parts, item.base + _canonical(asks), frozenset(_targets(spec, item.namespace)))


def _targets(spec: Mapping[str, Any], namespace: str) -> Iterator[Key]:
    single = spec.get("targetRef")
    for ref in spec.get("targetRefs") or ([single] if single else []):
        kind, name = str(ref.get("kind")), str(ref.get("name"))
        if (ref.get("group") or "") in _GROUPS.get(kind, ()):
            yield kind, "" if kind == "GatewayClass" else namespace, name


def _canonical(value: Any) -> str:
    """The same text for the same in another order: that of rules, sources, conditions and values says nothing."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_canonical(value[name])}' for name in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(sorted(map(_canonical, value)))}]"
    return json.dumps(value)
