"""Identity of a rollout, in the stack's state, so that the cookie of an earlier rollout does not count."""

import secrets
from dataclasses import replace

import pulumi

from .traffic import Traffic

_BYTES = 4


def identified(parent: pulumi.Resource, name: str, traffic: Traffic) -> Traffic:
    """Return the traffic with the identity of its rollout in the cookie of session affinity.

    The identity is kept in the stack's state from the update that gives the backend a weight until the one that sets
    its weight to 0, or that removes the session affinity.

    Args:
        parent: Component of the route.
        name: Name of the component.
        traffic: Declared traffic.
    """
    if traffic.affinity is None:
        return traffic
    # Its output is the input of the update that created it. Source: https://www.pulumi.com/docs/iac/concepts/stash/
    options = pulumi.ResourceOptions(parent=parent, ignore_changes=["input"], protect=False)  # a rollback deletes it
    kept = pulumi.Stash(f"{name}-rollout", input=secrets.token_hex(_BYTES), opts=options)
    return replace(traffic, affinity=replace(traffic.affinity, rollout=kept.output))
