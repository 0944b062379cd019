"""Rule on the policies that a canary waypoint enforces.

Source: istiod 1.31, pilot/pkg/model/policyattachment.go (ShouldAttachPolicy): a policy that names a Gateway applies to
that one waypoint of its own namespace; one that names a Service applies to every waypoint of the Service, and one that
names the GatewayClass to every waypoint.
"""

from ..mesh import USE_CANARY, WAYPOINT_CLASS, GatewayName, enrolled_services, enrolling_resources
from ..resources import ClusterSnapshot, Key, Parameters, Violations
from .effective_policies import EffectivePolicy, effective_policies

_EVERY_WAYPOINT: Key = ("GatewayClass", "", WAYPOINT_CLASS)


def canary_waypoint_policies(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that a policy bound to the Gateway of a primary waypoint is also enforced at its canary.

    It is bound to the canary's Gateway, to the GatewayClass, or to each Service that has the two; itself, or by another
    policy with the same content. The stack is responsible for its own policies, and for those of others where its own
    label names the canary. A policy of the canary alone is allowed: so a new policy is tried on a share.
    """
    pairs: dict[tuple[GatewayName, GatewayName], list[Key]] = {}
    for key, (primary, canary, _weight) in enrolled_services(snapshot, "Service", "ServiceEntry").items():
        if primary and canary:
            pairs.setdefault((primary, canary), []).append(key)
    policies = effective_policies(snapshot) if pairs else []
    bound: dict[str, set[Key]] = {}
    for policy in policies:
        bound.setdefault(policy.content, set()).update(policy.targets)
    for policy in policies:
        for (primary, canary), users in pairs.items():
            found = bound[policy.content]
            past = [key for key in users if key not in found]
            at_canary = found & {("Gateway", *canary), _EVERY_WAYPOINT}
            if ("Gateway", *primary) in policy.targets and past and not at_canary:
                yield from _violation(snapshot, policy, primary, canary, past)


def _violation(
    snapshot: ClusterSnapshot, policy: EffectivePolicy, primary: GatewayName, canary: GatewayName, past: list[Key]
) -> Violations:
    enrolling = (item for key in past for item in enrolling_resources(snapshot, key, USE_CANARY))
    item = snapshot.first_owned([*policy.parts, *enrolling])
    if not item:
        return
    subject = "" if item in policy.parts else f"{policy.parts[0].title} "
    where = "" if canary[0] == policy.parts[0].namespace else f" (in namespace {canary[0]} by another policy)"
    lacks = f"is bound to Gateway {'/'.join(primary)}, but not to its canary {'/'.join(canary)}{where}"
    yield item, f"{subject}{lacks}: requests through the canary skip it"
