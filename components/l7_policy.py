"""Layer-7 authorization in front of Services, enforced by their waypoint."""

from enum import StrEnum
from typing import NotRequired, TypedDict

import pulumi

from ._internal import arguments, http_text, l7_rules, objects, owners, sync, waits

_KIND = "L7Policy"
_MAX_TARGETS = 16  # Source: AuthorizationPolicy, spec.targetRefs
_MAX_RULES = 512  # Source: AuthorizationPolicy, spec.rules


class Action(StrEnum):
    """Treatment of a request that a rule matches."""

    ALLOW = "ALLOW"
    """The request is allowed; a request that no rule matches is denied."""
    DENY = "DENY"
    """The request is denied, whatever other policies allow."""


class L7Rule(TypedDict):
    """One rule: a request must match every field that is given, by any of its values.

    Values are plain, and checked. A * at the start or the end of a value is a wildcard.
    """

    methods: NotRequired[list[str]]
    """HTTP methods in upper case, such as GET."""
    paths: NotRequired[list[str]]
    """Paths with their leading slash; {*} stands for one segment."""
    hosts: NotRequired[list[str]]
    """Values of the Host header; without a port, with any port too. DENY refuses *.example.com: it has no port."""
    headers: NotRequired[dict[str, list[str]]]
    """Allowed values of each header, by its name."""
    principals: NotRequired[list[str]]
    """Identities of the caller, such as cluster.local/ns/NS/sa/ACCOUNT."""
    namespaces: NotRequired[list[str]]
    """Namespaces of the caller."""


class L7PolicyArgs(TypedDict):
    """Arguments of `L7Policy`."""

    namespace: pulumi.Input[str]
    """Namespace of the Services and the policy."""
    services: list[pulumi.Input[str]]
    """The Services it is bound to, 1 to 16; each must have a waypoint and a cluster IP."""
    action: NotRequired[Action]
    """Treatment of a request that a rule matches: `ALLOW` (the default) or `DENY`."""
    rules: list[L7Rule]
    """Rules, at most 512; a request must match one of them."""
    everything: NotRequired[bool]
    """Accept a policy that denies every request: ALLOW without rules, or DENY with an empty rule."""
    limit_seconds: NotRequired[float]
    """Seconds that each wait may take, 1 to 3600; 60 unless given."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig that the waits use: its path, `~` included, or its contents; the default provider's unless given."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given."""


class L7Policy(pulumi.ComponentResource):
    """An AuthorizationPolicy bound by targetRefs; a waypoint ignores selectors.

    Waits until it is accepted for each Service, and until each Pod of the waypoint has it. Raises RunError for bad
    arguments. Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/
    """

    name: pulumi.Output[str]
    """Name of the AuthorizationPolicy."""

    def __init__(self, name: str, args: L7PolicyArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the policy."""
        http_text.domain(_KIND, "name", name)  # the policy gets it
        args = arguments.read(_KIND, args, L7PolicyArgs)
        namespace = http_text.label(_KIND, "namespace", args["namespace"])
        services = args["services"]
        if not 1 <= len(services) <= _MAX_TARGETS:
            raise objects.refuse(_KIND, "services", services, f"a list of 1 to {_MAX_TARGETS} Services")
        services = [http_text.label(_KIND, f"services[{i}]", service) for i, service in enumerate(services)]
        if known := [service for service in services if isinstance(service, str)]:
            objects.names(_KIND, "services", known)
        action = args.get("action", Action.ALLOW)
        given = args["rules"]
        if len(given) > _MAX_RULES:
            raise objects.refuse(_KIND, "rules", given, f"a list of at most {_MAX_RULES} rules")
        denies = action is Action.DENY
        rules = [l7_rules.rule(number, rule, denies=denies) for number, rule in enumerate(given, 1)]
        everything = args.get("everything", False)
        refuses_all = not rules if action is Action.ALLOW else {} in rules
        if refuses_all and not everything:
            raise objects.refuse(
                _KIND, "rules", given, "less than a refusal of every request, unless everything is true"
            )
        if action is Action.DENY and not rules:
            raise objects.refuse(_KIND, "rules", [], "at least one rule: DENY without rules refuses nothing")
        limit = objects.limit_seconds(_KIND, args, 60)
        super().__init__("waypoint-lab:index:L7Policy", name, {**args}, opts)
        cluster = waits.access(args, self)
        hooks = sync.hooks(f"{name}-l7-policy", cluster, limit, waits.condition_problem("WaypointAccepted"))
        policy = objects.KubernetesObject(
            f"{name}-policy",
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": name, "namespace": namespace, "annotations": owners.annotation()},
                "spec": {
                    "targetRefs": [{"group": "", "kind": "Service", "name": service} for service in services],
                    "action": str(action),
                    **({"rules": rules} if rules else {}),
                },
            },
            pulumi.ResourceOptions(parent=self, hooks=hooks),
        )
        self.name = policy.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})
