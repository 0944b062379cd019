"""AuthorizationPolicies and RequestAuthentications with their patches applied, and a rule on Services they miss."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..fields import Fields, fields, items, plain, text
from ..mesh import MANAGED
from ..resources import ClusterSnapshot, Key, Parameters, Resource, Violations
from .authorization import is_dry_run, layer_7_fields

_KINDS = ("AuthorizationPolicy", "RequestAuthentication")
_GATEWAY_API = "gateway.networking.k8s.io"
# istiod ignores a name of another group, so that the policy is bound to nothing.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "Service": ("", "core"),
    "ServiceEntry": ("networking.istio.io",),
    "Gateway": (_GATEWAY_API,),
    "GatewayClass": (_GATEWAY_API,),
}
_BINDING = ("targetRef", "targetRefs", "selector")


class EffectivePolicy(NamedTuple):
    """A policy as it will be: its resources (patches last), its content as comparable text, and its targets."""

    parts: tuple[Resource, ...]
    content: str
    targets: frozenset[Key]


def effective_policies(snapshot: ClusterSnapshot) -> list[EffectivePolicy]:
    """Return each policy that is enforced, with its patches applied; those with the annotation dry-run are left out."""
    found = []
    for item, parts in snapshot.patched(*_KINDS):
        if is_dry_run(snapshot, item):
            continue
        kept = {field: item.spec[field] for field in item.spec if field not in _BINDING}
        content = item.base + _canonical(plain({"action": "ALLOW", **kept}))
        found.append(EffectivePolicy(tuple(parts), content, frozenset(_targets(item.spec, item.namespace))))
    return found


def policy_covers_same_pods(snapshot: ClusterSnapshot, _parameters: Parameters) -> Violations:
    """Check that a layer-7 policy on a Service is also on the other Services with the same Pods.

    Requests to another Service of the same Pods skip the policy. Services have the same Pods where the selector of one
    includes that of the other. The other Service may have another policy with the same content.
    """
    policies = effective_policies(snapshot)
    covered = {(policy.content, target) for policy in policies for target in policy.targets}
    selectors = dict(_selectors(snapshot))
    for policy in policies:
        if policy.parts[0].base == "AuthorizationPolicy" and not any(map(_has_layer_7, policy.parts)):
            continue
        for target in sorted(policy.targets & selectors.keys()):
            others = [
                key for key, labels in selectors.items() if key[1] == target[1] and _overlap(labels, selectors[target])
            ]
            missed = [key for key in others if (policy.content, key) not in covered]
            item = snapshot.first_owned([*policy.parts, *(part for key in missed for part in snapshot.find(*key))])
            if item and missed and not any(kind.startswith("Gateway") for kind, _, _ in policy.targets):
                subject = "" if item in policy.parts else f"{policy.parts[0].title} "
                names = ", ".join(name for _kind, _namespace, name in sorted(missed))
                yield item, f"{subject}covers Service {target[2]}, but not {names} with the same Pods"


def _has_layer_7(policy: Resource) -> bool:
    return any(layer_7_fields(policy))


def _selectors(snapshot: ClusterSnapshot) -> Iterator[tuple[Key, frozenset[tuple[str, str]]]]:
    for item in snapshot.all("Service"):
        selector = fields(snapshot.spec(*item.key), "selector")
        if selector and MANAGED not in item.labels:
            yield item.key, frozenset((name, str(value)) for name, value in selector.items())


def _overlap(first: frozenset[tuple[str, str]], second: frozenset[tuple[str, str]]) -> bool:
    return first <= second or second <= first


def _targets(spec: Fields, namespace: str) -> Iterator[Key]:
    for ref in items(spec, "targetRefs") or [fields(spec, "targetRef")]:
        kind = text(ref, "kind")
        if text(ref, "group") in _GROUPS.get(kind, ()):
            yield kind, "" if kind == "GatewayClass" else namespace, text(ref, "name")


def _canonical(value: Any) -> str:
    """Return the same text for values that differ in order only: that of rules, sources and values has no meaning."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_canonical(value[name])}' for name in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(sorted(map(_canonical, value)))}]"
    return json.dumps(value)
