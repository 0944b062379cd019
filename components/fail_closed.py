"""Policy that lets backends accept connections from their waypoint only."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import arguments, http_text, objects, owners, sync, waits

_KIND = "FailClosed"


class FailClosedArgs(TypedDict):
    """Arguments of `FailClosed`."""

    namespace: pulumi.Input[str]
    """Namespace of the backends and the policy."""
    labels: dict[str, pulumi.Input[str]]
    """Labels of the backends' Pods; at least one, and none that the waypoint's own Pods have."""
    waypoint: NotRequired[pulumi.Input[str]]
    """Service account of the waypoint, which is the Gateway's name; `waypoint` unless given."""
    canary: NotRequired[pulumi.Input[str]]
    """Service account of a canary waypoint, where there is one: allowed before it gets its first connection."""
    waypoint_namespace: NotRequired[pulumi.Input[str]]
    """Its namespace; the backends' unless given."""
    trust_domain: NotRequired[pulumi.Input[str]]
    """The mesh's trust domain; `cluster.local` unless given."""
    limit_seconds: NotRequired[float]
    """Seconds that each wait may take, 1 to 3600; 60 unless given."""
    kubeconfig: NotRequired[pulumi.Input[str]]
    """Kubeconfig that the waits use: its path, `~` included, or its contents; the default provider's unless given."""
    context: NotRequired[pulumi.Input[str]]
    """Context in it; the current one unless given."""


class FailClosed(pulumi.ComponentResource):
    """An AuthorizationPolicy of layer 4 that lets only the waypoint's identity reach the Pods; ztunnel enforces it.

    Without a waypoint, traffic is refused and cannot bypass the rules of layer 7. The policy is bound by a selector,
    because it must apply without a waypoint. Waits until istiod has accepted it for ztunnel. Raises RunError for bad
    arguments. Source: https://istio.io/latest/docs/ambient/usage/l4-policy/
    """

    name: pulumi.Output[str]
    """Name of the AuthorizationPolicy."""

    def __init__(self, name: str, args: FailClosedArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Register the policy."""
        http_text.domain(_KIND, "name", name)  # the policy gets it
        args = arguments.read(_KIND, args, FailClosedArgs)
        namespace = http_text.label(_KIND, "namespace", args["namespace"])
        labels = args["labels"]
        if not labels:
            raise objects.refuse(_KIND, "labels", labels, "at least one label: all Pods would include the waypoint's")
        http_text.object_labels(_KIND, "labels", labels)
        accounts = [http_text.label(_KIND, "waypoint", args.get("waypoint", "waypoint"))]
        if "canary" in args:
            accounts.append(http_text.label(_KIND, "canary", args["canary"]))
        place = http_text.label(_KIND, "waypoint_namespace", args.get("waypoint_namespace", namespace))
        domain = http_text.trust_domain(_KIND, "trust_domain", args.get("trust_domain", "cluster.local"))
        limit = objects.limit_seconds(_KIND, args, 60)
        super().__init__(f"waypoint-lab:index:{_KIND}", name, {**args}, opts)
        cluster = waits.access(args, self)
        hooks = sync.hooks(f"{name}-fail-closed", cluster, limit, waits.condition_problem("ZtunnelAccepted"))
        principals = [pulumi.Output.format("{0}/ns/{1}/sa/{2}", domain, place, account) for account in accounts]
        policy = objects.KubernetesObject(
            f"{name}-policy",
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": name, "namespace": namespace, "annotations": owners.annotation()},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "action": "ALLOW",
                    "rules": [{"from": [{"source": {"principals": principals}}]}],
                },
            },
            pulumi.ResourceOptions(parent=self, hooks=hooks),
        )
        self.name = policy.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})
