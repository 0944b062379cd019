"""Retry budgets: the DestinationRule of a backend, which is the only one of its host with a traffic policy.

Source: istiod, mergeDestinationRule: of several rules for one host, the oldest with a traffic policy has an effect.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import pulumi

from . import objects, owners
from .traffic import Traffic
from .waits import Access, Failed, Session, plain


def claim(name: str, traffic: Traffic, host: pulumi.Input[str], cluster: Access) -> pulumi.Input[str]:
    """Claim the retry budget of a host for a component of the program.

    Args:
        name: Name of the component.
        traffic: Declared traffic.
        host: DNS name of a backend.
        cluster: Its cluster.

    Returns:
        The host, which fails where the claim does.

    Raises:
        pulumi.RunError: Another component gives the host a budget.
    """

    def refusal(known: Sequence[str], first: str) -> pulumi.RunError:
        want = f"left out where {first} has one for {known[0]}: a budget is for all ports of a backend"
        budget = traffic.retries and traffic.retries.get("budget_percent")
        return objects.refuse(traffic.component, "retries.budget_percent", budget, want)

    return owners.once(host, f"{traffic.component} {name}", [host, *cluster], refusal)


def hook(name: str, cluster: Access, limit: float) -> pulumi.ResourceHook:
    """Return a hook for before the write of a budget's DestinationRule, which is refused beside another one.

    Args:
        name: Start of the hook's name.
        cluster: The cluster that kubectl asks.
        limit: Limit of the wait, in seconds.
    """

    async def before(args: pulumi.ResourceHookArgs) -> None:
        rule = await plain(args.new_inputs)
        session = Session.of(cluster, rule, limit)
        await session.until(lambda: check(session, rule, create=not args.old_inputs))

    return pulumi.ResourceHook(f"{name}-host", before)


async def check(session: Session, rule: Mapping[str, Any], *, create: bool = False) -> str:
    """Check that no other DestinationRule of the namespace has a traffic policy for the host of a rule.

    Args:
        session: kubectl in the namespace of the rule.
        rule: The DestinationRule that is to be written.
        create: The rule is new, so one of its name in the cluster is refused unless this stack owns it.

    Returns:
        Nothing, as an empty text.

    Raises:
        Failed: There is another one; the message names it.
        RuntimeError: kubectl failed.
    """
    host, own = rule["spec"]["host"], rule["metadata"]
    path = f"/apis/networking.istio.io/v1/namespaces/{session.namespace}/destinationrules"
    answer = await session.optional(path, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) or {}
    for item in answer.get("items") or []:
        meta, spec = item["metadata"], item["spec"]
        mine = owners.of(item) == owners.of(rule)
        if create and meta["name"] == own["name"] and not mine and not meta.get("deletionTimestamp"):
            raise Failed(owners.TAKEN)
        # A rule with a selector is for other proxies than the waypoint.
        other = not mine and meta["name"] != own["name"] and "workloadSelector" not in spec
        if other and spec.get("trafficPolicy") and spec.get("host") in (host, host.split(".")[0]):
            text = f"DestinationRule {session.namespace}/{meta['name']} has a trafficPolicy for {host}, too"
            raise Failed(f"{text}, and only one of both would have an effect; add the retryBudget there, or delete it")
    return ""
