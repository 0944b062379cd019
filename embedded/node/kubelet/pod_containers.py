"""The containers of a Pod: their creation, their state after a restart of the node agent, and their common end."""

import asyncio

from embedded.kube import Object, now
from embedded.node.kubelet.container import KILLED, Container
from embedded.node.kubelet.container_end import LEAST_SECONDS, GracePeriod
from embedded.node.kubelet.context import PodContext

KILL_SECONDS = 1.0  # from SIGKILL to the end of the process


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


def resume(before: Object, init: list[Container], mains: list[Container], *, over: bool, once: bool) -> bool:
    """Take over the ends of containers that may not run again after a restart of the node agent.

    Args:
        before: The Pod's status from before the restart.
        init: The init containers.
        mains: The other containers.
        over: The Pod has completed.
        once: The Pod's containers run only once.

    Returns:
        True if no container of the Pod runs again.
    """
    rows = (before.get("initContainerStatuses") or []) + (before.get("containerStatuses") or [])
    ran = {row["name"]: row for row in rows if row.get("containerID")}
    over = over or (once and bool(ran))
    for each in mains:
        row = ran.get(each.name, {})
        if over or (row and not each.runs_after(_end(row)["exitCode"])):
            _take_over(each, row)
    over = all(each.exit_code is not None for each in mains)
    for each in init:
        if over and each.name in ran:
            _take_over(each, ran[each.name])
    return over


def _end(row: Object) -> Object:
    lost = {"exitCode": KILLED, "reason": "ContainerStatusUnknown", "finishedAt": now()}
    return (row.get("state") or {}).get("terminated") or lost


def _take_over(container: Container, row: Object) -> None:
    container.state, container.restarts = {"terminated": _end(row)}, row.get("restartCount", 0)
    container.exit_code = container.state["terminated"]["exitCode"]


async def stop(period: GracePeriod, init: list[Container], mains: list[Container]) -> None:
    """End the containers within one grace period, sidecar containers last; their states are then final.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (in reverse order)
    """
    sidecars = [each for each in init if each.spec.get("restartPolicy") == "Always"]
    first = [*mains, *(each for each in init if each not in sidecars)]
    async with period.limit(LEAST_SECONDS * (1 + len(sidecars)) + KILL_SECONDS):
        for group in (first, *([each] for each in reversed(sidecars))):
            await asyncio.gather(*(each.stop(period) for each in group))
