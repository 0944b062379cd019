"""A guard behind a waypoint: the backends take calls from the waypoint only."""

from typing import NotRequired, TypedDict

import pulumi

from ._internal import objects

_KIND = "FailClosed"


class FailClosedArgs(TypedDict):
    """Arguments of `FailClosed`."""

    namespace: str
    """Where the backends and the policy are."""
    labels: dict[str, str]
    """Labels of the backends' Pods; at least one, and none that the waypoint's own Pods have."""
    waypoint: NotRequired[str]
    """Service account of the waypoint, which is the Gateway's name; `waypoint` unless given."""
    canary: NotRequired[str]
    """Service account of a canary waypoint, where there is one: let in before it gets its first connection."""
    waypoint_namespace: NotRequired[str]
    """Its namespace; the backends' unless given."""
    trust_domain: NotRequired[str]
    """The mesh's trust domain; `cluster.local` unless given."""


class FailClosed(pulumi.ComponentResource):
    """An AuthorizationPolicy of layer 4 that lets only the waypoint's identity reach the Pods; ztunnel enforces it.

    Without a waypoint traffic is then refused, instead of going past every rule of layer 7. It is bound by a selector,
    not by targetRefs: it must hold where no waypoint is. Raises RunError for bad arguments. Source: https://istio.io/latest/docs/ambient/usage/l4-policy/
    """

    name: pulumi.Output[str]
    """Name of the AuthorizationPolicy."""

    def __init__(self, name: str, args: FailClosedArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Registers the policy, and waits until istiod has accepted it for ztunnel."""
        namespace = objects.text(_KIND, "namespace", args["namespace"])
        labels = args["labels"]
        if not labels:
            raise objects.refuse(_KIND, "labels", labels, "at least one label: all Pods would include the waypoint's")
        account = objects.text(_KIND, "waypoint", args.get("waypoint", "waypoint"))
        accounts = [account, *([objects.text(_KIND, "canary", args["canary"])] if "canary" in args else [])]
        place = objects.text(_KIND, "waypoint_namespace", args.get("waypoint_namespace", namespace))
        domain = objects.text(_KIND, "trust_domain", args.get("trust_domain", "cluster.local"))
        principals = [f"{domain}/ns/{place}/sa/{account}" for account in accounts]
        super().__init__(f"waypoint-lab:index:{_KIND}", name, {**args}, opts)
        policy = objects.KubernetesObject(
            f"{name}-policy",
            {
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "annotations": objects.wait_for(
                        'jsonpath={.status.conditions[?(@.type=="ZtunnelAccepted")].status}=True'
                    ),
                },
                "spec": {
                    "selector": {"matchLabels": labels},
                    "action": "ALLOW",
                    "rules": [{"from": [{"source": {"principals": principals}}]}],
                },
            },
            pulumi.ResourceOptions(parent=self),
        )
        self.name = policy.metadata.apply(lambda metadata: str(metadata["name"]))
        self.register_outputs({"name": self.name})
