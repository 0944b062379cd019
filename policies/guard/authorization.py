"""Rules on who may send which requests."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .objects import WAYPOINT_CLASS, Findings, Object, Settings, World, matches_any, waypoint_of
from .routes import services_of
from .targets import POLICIES, policy_targets

_OPERATION = ("methods", "paths", "hosts")
_LAYER_7 = (*_OPERATION, "notMethods", "notPaths", "notHosts", "requestPrincipals", "notRequestPrincipals")
_LAYER_7_KEYS = ("request.",)  # of `when`: headers, claims and the like

Rule = Mapping[str, Any]


def target_refs_only(world: World, _settings: Settings) -> Findings:
    """Where a waypoint is, policies are bound by targetRefs: it ignores what a selector picks.

    ztunnel enforces an AuthorizationPolicy of layer 4 alone at the Pods that a selector picks, so that one is in place.
    """
    places = {item.namespace for item in world.all("Gateway") if item.spec.get("gatewayClassName") == WAYPOINT_CLASS}
    for policy in world.own(*POLICIES):
        layer_4 = policy.base == "AuthorizationPolicy" and _rules(policy) and not any(_layer_7(policy))
        if policy.namespace in places and policy.spec.get("selector") and not layer_4:
            yield policy, "has a selector, which a waypoint ignores"


def allow_allows_something(world: World, settings: Settings) -> Findings:
    """An ALLOW has a rule: without one it refuses every request. `exceptions` (namespace/name) mean just that."""
    for policy in world.own("AuthorizationPolicy"):
        name = f"{policy.namespace}/{policy.name}"
        if _action(policy) == "ALLOW" and not _rules(policy) and not matches_any(name, settings["exceptions"]):
            yield policy, "ALLOW without rules refuses every request"


def layer_7_has_a_waypoint(world: World, _settings: Settings) -> Findings:
    """Layer-7 rules in an ambient namespace have a waypoint: nothing else there enforces them."""
    for item in world.own("AuthorizationPolicy", "HTTPRoute", "VirtualService"):
        if item.base != "AuthorizationPolicy":
            what, services = "its routing", set(services_of(item))
        else:
            what = ", ".join(sorted(set(_layer_7(item))))
            targets = list(policy_targets(item))
            services = {(target.namespace, target.name) for target in targets if target.kind == "Service"}
            if what and not targets and _ambient(world, item.namespace):
                yield item, f"has no targetRefs, so no waypoint enforces {what}"
        for namespace, name in sorted(services) if what else ():
            if _ambient(world, namespace) and not waypoint_of(world, namespace, name):
                yield item, f"nothing enforces {what}: Service {namespace}/{name} has no waypoint"


def deny_shadows_allow(world: World, _settings: Settings) -> Findings:
    """No DENY covers all that an ALLOW on the same target allows.

    Compared are source and operation fields and `when` conditions, pattern by pattern; what cannot be shown to be
    covered counts as not covered. So what is reported is surely dead; a shadow of several rules together is not seen.
    """
    policies = [item for item in world.all("AuthorizationPolicy") if _rules(item)]
    denies = [item for item in policies if _action(item) == "DENY"]
    for allow in (item for item in policies if _action(item) == "ALLOW"):
        for deny in (item for item in denies if _bound_to(item) & _bound_to(allow)):
            if all(any(_covers(wide, narrow) for wide in _rules(deny)) for narrow in _rules(allow)):
                if world.owns(deny):
                    yield deny, f"refuses all that {allow.title} allows"
                elif world.owns(allow):
                    yield allow, f"{deny.title} refuses all that it allows"


def _action(policy: Object) -> str:
    return str(policy.spec.get("action") or "ALLOW")


def _rules(policy: Object) -> Sequence[Rule]:
    return policy.spec.get("rules") or []


def _bound_to(policy: Object) -> set[tuple[str, ...]]:
    selector = (policy.spec.get("selector") or {}).get("matchLabels") or {}
    bound: set[tuple[str, ...]] = {(target.kind, target.namespace, target.name) for target in policy_targets(policy)}
    return bound or {("selector", policy.namespace, str(sorted(selector.items())))}


def _layer_7(policy: Object) -> Iterator[str]:
    """The fields of a policy that only a layer-7 proxy understands."""
    for rule in _rules(policy):
        for part in (*_parts(rule, "to"), *_parts(rule, "from")):
            yield from (field for field in part if field in _LAYER_7)
        for condition in rule.get("when") or []:
            if str(condition.get("key")).startswith(_LAYER_7_KEYS):
                yield str(condition["key"])


def _ambient(world: World, namespace: str) -> bool:
    return world.labels("Namespace", "", namespace).get("istio.io/dataplane-mode") == "ambient"


def _parts(rule: Rule, side: str) -> list[Rule]:
    """The sources or operations of a rule, any of which may match."""
    return [part.get("source" if side == "from" else "operation") or {} for part in rule.get(side) or []]


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether `wide` surely matches each request that `narrow` matches."""
    for side in ("from", "to"):
        if not wide.get(side):
            continue  # matches any
        for part in _parts(narrow, side) or [{}]:
            if not any(_part_covers(other, part) for other in _parts(wide, side)):
                return False
    conditions = narrow.get("when") or []
    return all(any(_condition_covers(other, mine) for mine in conditions) for other in wide.get("when") or [])


def _part_covers(wide: Rule, narrow: Rule) -> bool:
    return all(_values_cover(field, values, narrow.get(field) or []) for field, values in wide.items() if values)


def _condition_covers(wide: Rule, narrow: Rule) -> bool:
    if wide.get("key") != narrow.get("key") or wide.get("notValues"):
        return False
    return _values_cover("values", wide.get("values") or [], narrow.get("values") or [])


def _values_cover(field: str, wide: Sequence[str], narrow: Sequence[str]) -> bool:
    if field.startswith("not"):  # what the narrow one rules out, too
        return set(wide) <= set(narrow)
    return bool(narrow) and all(any(_pattern_covers(other, value) for other in wide) for value in narrow)


def _pattern_covers(wide: str, narrow: str) -> bool:
    """Source: AuthorizationPolicy's string matching: exact, `prefix*`, `*suffix`, or `*` for anything that is there."""
    if wide in (narrow, "*"):
        return True
    if "{" in wide:
        return False  # a path template: only the very same one is sure
    if wide.endswith("*"):
        return not narrow.startswith("*") and narrow.removesuffix("*").startswith(wide[:-1])
    return wide.startswith("*") and not narrow.endswith("*") and narrow.removeprefix("*").endswith(wide[1:])
