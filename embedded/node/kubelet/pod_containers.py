"""The containers of a Pod: their creation and their common end."""

import asyncio

from embedded.kube import Object
from embedded.node.kubelet.container import Container
from embedded.node.kubelet.container_end import LEAST_SECONDS, GracePeriod
from embedded.node.kubelet.context import PodContext

KILL_SECONDS = LEAST_SECONDS + 1.0  # from the end of the grace period to the end of the last process


def create(context: PodContext, pod: Object) -> tuple[list[Container], list[Container]]:
    """Return the init containers and the other containers, with the restarts of the Pod's status so far.

    Args:
        context: The Pod as its containers see it.
        pod: The object of the API server.
    """
    policy = pod["spec"].get("restartPolicy", "Always")
    once = "OnFailure" if policy != "Never" else "Never"
    before = pod.get("status") or {}
    ran = {
        each["name"]: each["restartCount"] + (1 if each.get("containerID") else 0)
        for each in (before.get("containerStatuses") or []) + (before.get("initContainerStatuses") or [])
    }

    def containers(specs: list[Object], usual: str) -> list[Container]:
        return [Container(context, spec, spec.get("restartPolicy", usual), ran.get(spec["name"], 0)) for spec in specs]

    return containers(pod["spec"].get("initContainers") or [], once), containers(pod["spec"]["containers"], policy)


async def stop(period: GracePeriod, *groups: list[Container]) -> None:
    """End the containers, one group after the other, within one grace period; their states are then final.

    Args:
        period: The grace period.
        groups: Containers that end together.
    """
    async with period.limit(KILL_SECONDS):
        for group in groups:
            await asyncio.gather(*(each.stop(period) for each in group))
