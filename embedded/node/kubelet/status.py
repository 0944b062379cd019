"""The status of a Pod, computed from its containers."""

from embedded.kube import Object, now
from embedded.node.kubelet.container import Container


def phase(policy: str, started: bool, init: list[Container], mains: list[Container]) -> str:
    """Return Pending, Running, Succeeded or Failed, by Kubernetes' rules."""
    # A sidecar container ends because its Pod ends; until then the Pod is running.
    sidecars = [each for each in init if each.spec.get("restartPolicy") == "Always"]
    if any(each.exit_code not in (None, 0) for each in init if each not in sidecars):
        return "Failed"
    if not started:
        return "Pending"
    codes = [each.exit_code for each in mains]
    if codes and all(code is not None for code in codes) and not any("running" in each.state for each in sidecars):
        return "Succeeded" if all(code == 0 for code in codes) else "Failed"
    if all("waiting" in each.state and not each.last_state for each in mains):
        return "Pending"
    return "Running"


def conditions(before: list[Object], given: dict[str, tuple[bool, str]]) -> list[Object]:
    """Return the conditions `given` (type → True or False, reason if False).

    Those that are the same in `before` keep their times.
    """
    old = {each["type"]: each for each in before}
    result = []
    for kind, (true, reason) in given.items():
        word = "True" if true else "False"
        was = old.get(kind)
        since = was["lastTransitionTime"] if was and was["status"] == word else now()
        why = None if true else reason or None
        made = {"type": kind, "status": word, "reason": why, "lastProbeTime": None, "lastTransitionTime": since}
        result.append(made)
    return result


def container(each: Container) -> Object:
    """Return one entry of containerStatuses."""
    ran = "waiting" not in each.state
    return {
        "name": each.name,
        "image": each.spec["image"],
        "imageID": each.spec["image"] if ran or each.last_state else "",
        "containerID": each.identity() if ran else "",
        "state": each.state,
        "lastState": each.last_state,
        "ready": each.ready,
        "started": each.started,
        "restartCount": each.restarts,
    }


def _init_container(each: Container) -> Object:
    """Return one entry of initContainerStatuses; an ordinary init container is ready once it has succeeded."""
    if each.spec.get("restartPolicy") == "Always":
        return container(each)
    return {**container(each), "ready": each.state.get("terminated", {}).get("exitCode") == 0}


def compose(
    pod: Object,
    *,
    before: list[Object],
    host_ip: str,
    pod_ip: str | None,
    start: str,
    initialized: bool,
    init: list[Container],
    mains: list[Container],
) -> Object:
    """Return the status without conditions of others (readiness gates, PodScheduled); `before` are our last ones."""
    now_in = phase(pod["spec"].get("restartPolicy", "Always"), initialized, init, mains)
    # A sidecar container counts for readiness; an ordinary one that is to run once does not.
    counted = [*mains, *(each for each in init if each.spec.get("restartPolicy") == "Always")]
    over = now_in in ("Succeeded", "Failed")
    ready = not over and initialized and all(each.ready for each in counted)
    others = (pod.get("status") or {}).get("conditions") or []
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    passed = all(any(c["type"] == gate and c["status"] == "True" for c in others) for gate in gates)
    reason = "PodCompleted" if over else "ContainersNotReady"
    return {
        "phase": now_in,
        "observedGeneration": pod["metadata"].get("generation"),
        "conditions": conditions(
            before,
            {
                "PodReadyToStartContainers": (pod_ip is not None, ""),
                "Initialized": (initialized, "ContainersNotInitialized"),
                "ContainersReady": (ready, reason),
                "Ready": (ready and passed, reason if not ready else "ReadinessGatesNotReady"),
            },
        ),
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": pod_ip,
        "podIPs": [{"ip": pod_ip}] if pod_ip else None,
        "startTime": start,
        "qosClass": (pod.get("status") or {}).get("qosClass") or "Burstable",
        "initContainerStatuses": [_init_container(each) for each in init] or None,
        "containerStatuses": [container(each) for each in mains],
    }
