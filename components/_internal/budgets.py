"""Retry budgets: the DestinationRule of a backend, which is the only one of its host with a traffic policy.

Source: istiod, mergeDestinationRule: of several rules for one host, the oldest with a traffic policy has an effect.
"""

import weakref
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import pulumi

from . import objects, owners
from .traffic import Traffic
from .waits import Access, Failed, Session, plain

# Components of each run of a program by the host that they give a budget.
_claims: "weakref.WeakKeyDictionary[Any, dict[str, str]]" = weakref.WeakKeyDictionary()


def claim(name: str, traffic: Traffic, host: pulumi.Input[str]) -> pulumi.Input[str]:
    """Claim the retry budget of a host for a component of the program.

    Args:
        name: Name of the component.
        traffic: Declared traffic.
        host: DNS name of a backend.

    Returns:
        The host. Where it is an output, so is the check, which fails with it.

    Raises:
        pulumi.RunError: Another component gives the host a budget.
    """
    run = owners.run()
    mine = f"{traffic.component} {name}"

    def check(known: str) -> str:
        first = _claims.setdefault(run, {}).setdefault(known, mine)
        if first != mine:
            want = f"left out where {first} has one for {known}: a budget is for all ports of a backend"
            budget = traffic.retries and traffic.retries.get("budget_percent")
            raise objects.refuse(traffic.component, "retries.budget_percent", budget, want)
        return known

    return objects.applied(host, check) if run else host


def hook(name: str, cluster: Access, limit: float) -> pulumi.ResourceHook:
    """Return a hook for before the write of a budget's DestinationRule, which is refused beside another one.

    Args:
        name: Start of the hook's name.
        cluster: The cluster that kubectl asks.
        limit: Limit of the wait, in seconds.
    """

    async def before(args: pulumi.ResourceHookArgs) -> None:
        rule = await plain(args.new_inputs)
        space = rule["metadata"]["namespace"]
        session = Session(cluster, space, limit, where=f"DestinationRule {space}/{rule['metadata']['name']}")
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
