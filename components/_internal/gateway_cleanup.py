"""Checks before a Gateway is created: other owners of the labels, and objects that an earlier Gateway left."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from . import api, label_checks, owners, waits
from .waits import Access, Session

# Kinds that istiod makes for a waypoint, and what owns them.
_KINDS = "deployments,services,gateways.gateway.networking.k8s.io"


def uncollected(found: Mapping[str, Any], gateway: str) -> list[str]:
    """Return the objects of an earlier Gateway of this name, as `Kind name`."""
    living = {item["metadata"]["uid"] for item in found["items"] if item["kind"] == "Gateway"}
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in found["items"]
        for owner in item["metadata"].get("ownerReferences") or []
        if (owner["kind"], owner["name"]) == ("Gateway", gateway) and owner["uid"] not in living
    ]


async def wait(session: Session, gateway: str) -> None:
    """Wait until nothing is left of an earlier Gateway of this name, as far as the user may read it.

    istiod updates existing objects, and does not always create them again after their garbage collection: the Gateway
    would then never get its Service.
    """

    async def check() -> str:
        try:
            found = await session.get(_KINDS)
        except RuntimeError as error:
            if api.absent(error):
                return ""
            raise
        there = uncollected(found, gateway)
        return f"{', '.join(there)} of an earlier Gateway {gateway} is not collected yet" if there else ""

    await session.until(check)


def hook(
    name: str, cluster: Access, limit: float, places: Sequence[str] | None, wanted: Mapping[str, str]
) -> pulumi.ResourceHook:
    """Return a hook before a Gateway is created.

    Args:
        name: Name of the hook.
        cluster: The cluster that kubectl asks.
        limit: Seconds that the wait may take.
        places: The Services and namespaces that will be enrolled; none for the waypoint's own, None where nothing is.
        wanted: The labels that they will get.
    """

    async def before(args: pulumi.ResourceHookArgs) -> None:
        document = await waits.plain(args.new_inputs)
        session = Session.of(cluster, document, limit)
        if places is not None:
            await label_checks.check_labels(session, places, wanted, owners.of(document))
        await wait(session, document["metadata"]["name"])

    return pulumi.ResourceHook(name, before)
