"""Rules on authorization policies."""

from collections.abc import Iterator, Sequence

from ..fields import Fields, fields, items, sequence, text, texts
from ..mesh import (
    USE_CANARY,
    USE_WAYPOINT,
    WAYPOINT_CLASS,
    GatewayName,
    enrolled_services,
    enrolling_resources,
    is_ambient,
    matches_any,
    selects_gateway,
    unenforced_reason,
)
from ..resources import ClusterSnapshot, Parameters, Resource, Violations
from .patterns import pattern_covers, rule_covers, rule_part
from .references import BOUND_KINDS, host_owner, policy_targets
from .routes import services_of

_LAYER_7 = (
    "methods",
    "paths",
    "hosts",
    "notMethods",
    "notPaths",
    "notHosts",
    "requestPrincipals",
    "notRequestPrincipals",
    "remoteIpBlocks",
    "notRemoteIpBlocks",
)
# Of `when`: ztunnel knows no others. Source: istiod, l4WhenAttributes.
_LAYER_4_KEYS = ("source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port")
_BINDING = ("targetRef", "targetRefs")
_DRY_RUN = "istio.io/dry-run"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")  # Source: Go's strconv.ParseBool


def target_refs_only(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that policies in a namespace with a waypoint are bound by targetRefs: a waypoint ignores selectors.

    A namespace has one if its Gateway is there, or if it or a Service in it is enrolled in one of another namespace.
    ztunnel enforces an AuthorizationPolicy of layer 4 at the Pods of its selector, and a Gateway that is no waypoint
    each policy that selects it; they are allowed.
    """
    places = {item.namespace for item in snapshot.all("Gateway") if item.spec.get("gatewayClassName") == WAYPOINT_CLASS}
    places |= {key[1] or key[2] for key in enrolled_services(snapshot, "Service")}
    for policy, parts in snapshot.patched(*BOUND_KINDS):
        layer_4 = policy.base == "AuthorizationPolicy" and not any(layer_7_fields(policy))
        allowed = layer_4 or selects_gateway(snapshot, policy)
        owned = snapshot.first_owned(parts)
        if owned and policy.namespace in places and fields(policy.spec, "selector") and not allowed:
            yield owned, "has a selector, which a waypoint ignores"


def allow_has_rules(snapshot: ClusterSnapshot, parameters: Parameters) -> Violations:
    """Check that an ALLOW policy has a rule: without one it refuses every request. `exceptions` are meant to."""
    for policy in snapshot.own("AuthorizationPolicy"):
        if policy.patch and not {"action", "rules"} <= policy.spec.keys():
            continue  # the rest of the policy is not known here
        name = f"{policy.namespace}/{policy.name}"
        refuses = action(policy) == "ALLOW" and not rules(policy) and not is_dry_run(snapshot, policy)
        if refuses and not matches_any(name, parameters["exceptions"]):
            yield policy, "ALLOW without rules refuses every request"


def layer_7_has_waypoint(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that layer-7 rules in an ambient namespace have a waypoint: nothing else there enforces them."""
    for item, parts in snapshot.patched("AuthorizationPolicy", "RequestAuthentication", "HTTPRoute", "VirtualService"):
        owned = snapshot.first_owned(parts)
        if not owned:
            continue
        if item.base not in BOUND_KINDS:
            what, services = "its routing", {host_owner(snapshot, service) for service in services_of(item)}
        else:
            layer_7 = layer_7_fields(item) if item.base == "AuthorizationPolicy" else {"jwtRules"} & item.spec.keys()
            what = ", ".join(sorted(set(layer_7)))
            targets = list(policy_targets(item))
            services = {target[:3] for target in targets if target.kind in ("Service", "ServiceEntry")}
            bound = targets or selects_gateway(snapshot, item)
            if what and not bound and is_ambient(snapshot, item.namespace):
                yield owned, f"has no targetRefs, so no waypoint enforces {what}"
        for service in sorted(services) if what else ():
            if not is_ambient(snapshot, service[1]):
                continue
            # Routes of another namespace are for its sidecars.
            inert = item.base not in BOUND_KINDS and is_ambient(snapshot, item.namespace)
            place = item.namespace if inert else None
            if reason := unenforced_reason(snapshot, service, place):
                yield owned, f"nothing enforces {what}: {reason}"


def deny_shadows_allow(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that no DENY policy covers all that an ALLOW policy allows, on all targets of the ALLOW policy.

    Sources, operations and `when` conditions are compared pattern by pattern. A violation is certain; a shadow of
    several rules together is not found.
    """
    policies = _enforced(snapshot)
    denies = [each for each in policies if action(each[0]) == "DENY"]
    for allow, allow_parts in (each for each in policies if action(each[0]) == "ALLOW"):
        for deny, deny_parts in (each for each in denies if _bound_to(each[0]) >= _bound_to(allow)):
            if all(any(rule_covers(wide, narrow) for wide in rules(deny)) for narrow in rules(allow)):
                if owned := snapshot.first_owned(deny_parts):
                    yield owned, f"refuses all that {allow.title} allows"
                elif owned := snapshot.first_owned(allow_parts):
                    yield owned, f"{deny.title} refuses all that it allows"


def allow_includes_waypoint(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that ALLOW policies bound by selector or namespace allow the waypoint of the Pods.

    ztunnel enforces them at the Pods, where requests come from the waypoint. A request needs one policy that allows it.
    Source: https://istio.io/latest/docs/ambient/usage/l4-policy/#choosing-the-enforcement-point
    """
    policies: dict[str, list[tuple[Resource, list[Resource], set[tuple[str, str]]]]] = {}
    for item, parts in _enforced(snapshot):
        bound = any(item.spec.get(field) for field in _BINDING) or selects_gateway(snapshot, item)
        if action(item) == "ALLOW" and not bound:
            policies.setdefault(item.namespace, []).append((item, parts, _selector(item)))
    seen: set[tuple[int, GatewayName]] = set()
    for key, enrolled in enrolled_services(snapshot, "Service").items() if policies else ():
        namespace = key[2] if key[0] == "Namespace" else key[1]
        service_labels = _pairs(fields(snapshot.spec(*key), "selector")) if key[0] == "Service" else set()
        if key[0] == "Service" and not service_labels:
            continue  # it has no Pods of its own
        local = policies.get(namespace, [])
        for policy, parts, selector in local:
            if key[0] == "Service" and not (selector <= service_labels or service_labels <= selector):
                continue
            applied = [item for item, _parts, other in local if other <= service_labels | selector]
            for waypoint, label in ((enrolled.primary, USE_WAYPOINT), (enrolled.canary, USE_CANARY)):
                if not waypoint or any(_allows(snapshot, item, waypoint) for item in applied):
                    continue
                owned = snapshot.first_owned([*parts, *enrolling_resources(snapshot, key, label)])
                if owned and (id(policy), waypoint) not in seen:
                    seen.add((id(policy), waypoint))
                    subject = "" if owned in parts else f"{policy.title} "
                    principal = _principal(snapshot, waypoint)
                    yield (
                        owned,
                        f"{subject}refuses waypoint {'/'.join(waypoint)}, and so every request: allow {principal}",
                    )


def _enforced(snapshot: ClusterSnapshot) -> list[tuple[Resource, list[Resource]]]:
    """Return the AuthorizationPolicies with rules that are enforced, with their patches applied, and their parts."""
    found = snapshot.patched("AuthorizationPolicy")
    return [(item, parts) for item, parts in found if rules(item) and not is_dry_run(snapshot, item)]


def is_dry_run(snapshot: ClusterSnapshot, policy: Resource) -> bool:
    """Return True if a policy, with its patches applied, has the annotation dry-run: Istio does not enforce it."""
    return {**policy.annotations, **snapshot.annotations(*policy.key)}.get(_DRY_RUN) in _TRUE


def action(policy: Resource) -> str:
    """Return the action of an AuthorizationPolicy."""
    return text(policy.spec, "action", default="ALLOW")


def rules(policy: Resource) -> list[Fields]:
    """Return the rules of an AuthorizationPolicy."""
    return items(policy.spec, "rules")


def layer_7_fields(policy: Resource) -> Iterator[str]:
    """Yield the fields of an AuthorizationPolicy that only a layer-7 proxy enforces: ztunnel knows ALLOW and DENY."""
    if action(policy) not in ("ALLOW", "DENY"):
        yield f"action {action(policy)}"
    for rule in rules(policy):
        yield from _layer_7_of(rule)


def _layer_7_of(rule: Fields) -> Iterator[str]:
    for part in (*rule_part(rule, "to"), *rule_part(rule, "from")):
        yield from (field for field in part if field in _LAYER_7)
    for condition in items(rule, "when"):
        key = text(condition, "key")
        if key and key not in _LAYER_4_KEYS:
            yield key


def _bound_to(policy: Resource) -> set[tuple[str, ...]]:
    bound: set[tuple[str, ...]] = {(target.kind, target.namespace, target.name) for target in policy_targets(policy)}
    return bound or {("selector", policy.namespace, str(sorted(_selector(policy))))}


def _selector(policy: Resource) -> set[tuple[str, str]]:
    return _pairs(fields(policy.spec, "selector", "matchLabels"))


def _pairs(labels: Fields) -> set[tuple[str, str]]:
    return {(name, str(value)) for name, value in labels.items()}


def _principal(snapshot: ClusterSnapshot, waypoint: GatewayName) -> str:
    notes = snapshot.annotations("Gateway", *waypoint)
    return f"cluster.local/ns/{waypoint[0]}/sa/{text(notes, 'gateway.istio.io/service-account', default=waypoint[1])}"


def _allows(snapshot: ClusterSnapshot, policy: Resource, waypoint: GatewayName) -> bool:
    """Return True if a rule may allow the waypoint. Source: ztunnel never matches a rule with layer-7 fields."""
    principal = _principal(snapshot, waypoint)
    namespace, account = waypoint[0], principal.rpartition("/")[2]
    values = {
        "principals": principal,
        "namespaces": namespace,
        "serviceAccounts": f"{namespace}/{account}",
    }
    for rule in rules(policy):
        sources = rule_part(rule, "from")
        if not any(_layer_7_of(rule)) and (
            not sources or any(_source_allows(source, values, policy) for source in sources)
        ):
            return True
    return False


def _source_allows(source: Fields, values: dict[str, str], policy: Resource) -> bool:
    for field, value in values.items():
        patterns: Sequence[str] = texts(source, field)
        if field == "serviceAccounts":
            patterns = [name if "/" in name else f"{policy.namespace}/{name}" for name in patterns]
        if sequence(source, field) and not any(_matches(pattern, value) for pattern in patterns):
            return False
        refused = texts(source, f"not{field[0].upper()}{field[1:]}")
        if any(_matches(pattern, value) for pattern in refused):
            return False
    return True  # addresses are not known


def _matches(pattern: str, value: str) -> bool:
    # The trust domain of the mesh is not known here.
    account = pattern.partition("/ns/")[2]
    return pattern_covers(pattern, value) or bool(account and pattern_covers(account, value.partition("/ns/")[2]))
