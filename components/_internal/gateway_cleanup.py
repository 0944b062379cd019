"""What istiod made for a Gateway that is gone: Kubernetes collects it later, and until then it is in the way."""

from collections.abc import Mapping
from typing import Any

import pulumi

from .migration import Cluster
from .waits import Target

# Kinds that istiod makes for a waypoint, and what owns them.
_KINDS = "deployments,services,gateways.gateway.networking.k8s.io"


def left(found: Mapping[str, Any], gateway: str) -> list[str]:
    """What still belongs to an earlier Gateway of this name, as `Kind name`."""
    living = {item["metadata"]["uid"] for item in found["items"] if item["kind"] == "Gateway"}
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in found["items"]
        for owner in item["metadata"].get("ownerReferences") or []
        if (owner["kind"], owner["name"]) == ("Gateway", gateway) and owner["uid"] not in living
    ]


async def wait(cluster: Cluster, gateway: str) -> None:
    """Waits until nothing is left of an earlier Gateway of this name. Raises RuntimeError after the cluster's limit.

    istiod writes over what it finds, and does not always make anew what is collected after that: the Gateway would
    wait for its Service for ever. Where the cluster cannot be asked, creating the Gateway says why.
    """
    while True:
        try:
            found = await cluster.get(_KINDS)
        except RuntimeError:
            return
        if not (there := left(found, gateway)):
            return
        await cluster.pause(f"{', '.join(there)} of an earlier Gateway {gateway} is not collected yet")


def hook(name: str, target: Target, namespace: str, gateway: str, limit: float) -> pulumi.ResourceHook:
    """A hook before a Gateway is created."""
    return pulumi.ResourceHook(name, lambda _args: wait(Cluster(target, namespace, limit), gateway))
