"""Waits that the provider's own `pulumi.com/waitFor` cannot express, as resource hooks; each has a limit."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pulumi

POLL_SECONDS = 0.1
Look = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


class Target(NamedTuple):
    """The cluster that kubectl is to ask: the same as the provider's. Empty means what the environment says."""

    kubeconfig: str = ""
    context: str = ""

    def kubectl(self, *arguments: str) -> list[str]:
        """A kubectl command for this cluster."""
        chosen = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        chosen += [f"--context={self.context}"] if self.context else []
        return ["kubectl", *chosen, "--request-timeout=10s", *arguments]


def _look(command: list[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except FileNotFoundError:
        raise RuntimeError("kubectl is not on PATH, and the wait for what was just written needs it") from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "kubectl gave no answer within 30 s")


def route_problem(route: dict[str, Any]) -> str:
    """Why a route does not yet serve what was last written to it; empty once it does.

    A condition counts only for the generation it was observed on: an older True says nothing about new weights.
    Source: Gateway API, RouteParentStatus and metav1.Condition.observedGeneration; ResolvedWaypoints is Istio's own.
    """
    generation = route["metadata"]["generation"]
    parents = route.get("status", {}).get("parents") or []
    if not parents:
        return "no controller has reported on it: does the Service have a waypoint?"
    for parent in parents:
        seen = {condition["type"]: condition for condition in parent.get("conditions") or []}
        wanted = ["Accepted", "ResolvedRefs", *(["ResolvedWaypoints"] if "ResolvedWaypoints" in seen else [])]
        for kind in wanted:
            condition = seen.get(kind)
            if condition is None:
                return f"{kind} is not reported"
            if condition.get("observedGeneration") != generation:
                return f"{kind} is of generation {condition.get('observedGeneration')}, not of {generation}"
            if condition.get("status") != "True":
                return f"{kind} is {condition.get('status')}: {condition.get('message', '')}"
    return ""


def rollout_problem(deployment: dict[str, Any]) -> str:
    """Why a Deployment is not rolled out; empty once it is. Source: kubectl's own `rollout status`."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "its newest generation is not observed"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        return f"{available} of {wanted} replicas available, {updated} updated"
    return ""


def wait(
    target: Target,
    what: tuple[str, str, str],
    problem: Callable[[dict[str, Any]], str],
    limit_seconds: float,
    look: Look = _look,
) -> None:
    """Asks for the object `what` (kind, namespace, name) until `problem` finds none.

    Raises RuntimeError, with the last problem, after `limit_seconds`.
    """
    kind, namespace, name = what
    command = target.kubectl("get", kind, name, "--namespace", namespace, "--output", "json")
    end = time.monotonic() + limit_seconds
    while True:
        answer = look(command)
        why = answer.stderr.strip() if answer.returncode else problem(json.loads(answer.stdout))
        if not why:
            return
        if time.monotonic() >= end:
            raise RuntimeError(f"{kind} {namespace}/{name} is not ready after {limit_seconds:g} s: {why}")
        time.sleep(POLL_SECONDS)


def hook(
    name: str,
    target: Target,
    what: tuple[str, str, str],
    problem: Callable[[dict[str, Any]], str],
    limit_seconds: float,
) -> pulumi.ResourceHook:
    """A named hook that waits, as `wait` does; previews do not run it."""
    return pulumi.ResourceHook(name, lambda _args: wait(target, what, problem, limit_seconds))
