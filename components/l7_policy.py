"""Layer-7 authorization in front of Services, enforced by their waypoint."""

from enum import StrEnum
from typing import Any, NotRequired, TypedDict

import pulumi

from ._internal import objects


class Action(StrEnum):
    """What happens to a request that a rule matches."""

    ALLOW = "ALLOW"
    """It is let through, and what no rule matches is refused."""
    DENY = "DENY"
    """It is refused, whatever other policies allow."""


class L7Rule(TypedDict):
    """One rule: a request must match every field that is given, by any of its values."""

    methods: NotRequired[list[str]]
    """HTTP methods, such as GET."""
    paths: NotRequired[list[str]]
    """Paths; a leading or trailing * is a wildcard."""
    hosts: NotRequired[list[str]]
    """Values of the Host header."""
    headers: NotRequired[dict[str, list[str]]]
    """For each header by its name, the values it may have."""
    principals: NotRequired[list[str]]
    """Identities of the caller, such as cluster.local/ns/NS/sa/ACCOUNT."""
    namespaces: NotRequired[list[str]]
    """Namespaces of the caller."""


class L7PolicyArgs(TypedDict):
    """Arguments of `L7Policy`."""

    namespace: str
    """Where the Services and the policy are."""
    services: list[str]
    """The Services it is bound to; each must have a waypoint."""
    action: NotRequired[Action]
    """What happens to a request that a rule matches: `ALLOW` (the default) or `DENY`."""
    rules: list[L7Rule]
    """Any of them may match."""
    everything: NotRequired[bool]
    """An explicit yes to a policy that refuses every request: ALLOW without rules, or DENY with an empty rule."""


_SOURCE = ("principals", "namespaces")
_OPERATION = ("methods", "paths", "hosts")


class L7Policy(pulumi.ComponentResource):
    """An AuthorizationPolicy bound by targetRefs; a waypoint ignores selectors.

    Raises RunError for bad arguments. Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """

    name: pulumi.Output[str]
    """Name of the AuthorizationPolicy."""

    def __init__(self, name: str, args: L7PolicyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the policy, and waits until the waypoint has accepted it."""
        namespace = objects.text("L7Policy", "namespace", args["namespace"])
        services = objects.names("L7Policy", "services", args["services"])
        action = objects.choice("L7Policy", "action", args.get("action", "ALLOW"), Action)
        rules = [_rule(rule) for rule in args["rules"]]
        refuses_all = not rules if action is Action.ALLOW else {} in rules
        if refuses_all and not args.get("everything", False):
            raise objects.refuse(
                "L7Policy", "rules", args["rules"], "less than a refusal of every request, unless everything is true"
            )
        if action is Action.DENY and not rules:
            raise objects.refuse("L7Policy", "rules", [], "at least one rule: DENY without rules refuses nothing")
        super().__init__("waypoint-lab:index:L7Policy", name, {**args}, opts)
        policy = objects.KubernetesObject(
            f"{name}-policy",
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "annotations": objects.wait_for(
                        'jsonpath={.status.conditions[?(@.type=="WaypointAccepted")].status}=True'
                    ),
                },
                "spec": {
                    "targetRefs": [{"group": "", "kind": "Service", "name": service} for service in services],
                    "action": str(action),
                    **({"rules": rules} if rules else {}),
                },
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.name = policy.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})


def _rule(rule: L7Rule) -> dict[str, Any]:
    for field in rule:
        if field not in (*_SOURCE, *_OPERATION, "headers"):
            raise objects.refuse("L7Policy", "a rule's field", field, ", ".join((*_OPERATION, "headers", *_SOURCE)))
    given: dict[str, Any] = {**rule}
    built: dict[str, Any] = {}
    if source := {field: _values(field, given[field]) for field in _SOURCE if field in given}:
        built["from"] = [{"source": source}]
    if operation := {field: _values(field, given[field]) for field in _OPERATION if field in given}:
        built["to"] = [{"operation": operation}]
    if headers := rule.get("headers", {}):
        built["when"] = [
            {"key": f"request.headers[{name}]", "values": _values(name, values)} for name, values in headers.items()
        ]
    return built


def _values(field: str, values: list[str]) -> list[str]:
    # An empty list would match nothing at all, which no one means.
    return objects.names("L7Policy", field, values)
