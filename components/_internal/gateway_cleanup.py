"""Wait before a Gateway is created: for the garbage collection of an earlier one. Check labels of other tools."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from . import label_checks, waits
from .waits import Access, Failed, Session

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
    """Wait until nothing is left of an earlier Gateway of this name.

    istiod updates existing objects, and does not always create them again after their garbage collection: the Gateway
    would then never get its Service. If the cluster does not answer, the write of the Gateway reports the error.
    """

    async def check() -> str:
        try:
            there = uncollected(await session.get(_KINDS), gateway)
        except Failed:
            raise
        except RuntimeError:
            return ""
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
        metadata = (await waits.plain(args.new_inputs))["metadata"]
        session = Session(cluster, metadata["namespace"], limit, where=f"Gateway {metadata['namespace']}")
        if places is not None:
            await label_checks.check_labels(session, places, wanted)
        await wait(session, metadata["name"])

    return pulumi.ResourceHook(name, before)
