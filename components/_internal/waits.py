"""Waits that the provider's own `pulumi.com/waitFor` cannot express, as resource hooks; each has a limit."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pulumi

from . import objects

POLL_SECONDS = 0.1
Look = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
Problem = Callable[[dict[str, Any]], str]  # of an object: why it is not as wanted, empty where it is


class Target(NamedTuple):
    """The cluster that kubectl is to ask: the same as the provider's. Empty means what the environment says."""

    kubeconfig: str = ""
    context: str = ""

    def kubectl(self, *arguments: str) -> list[str]:
        """A kubectl command for this cluster."""
        chosen = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        chosen += [f"--context={self.context}"] if self.context else []
        return ["kubectl", *chosen, "--request-timeout=10s", *arguments]


def target(component: str, args: Mapping[str, Any]) -> Target:
    """The cluster that `args` name with `kubeconfig` and `context`. Raises RunError where one of them is an output."""
    for field in ("kubeconfig", "context"):
        if isinstance(args.get(field), pulumi.Output):
            raise objects.refuse(component, field, args[field], "text")
    return Target(args.get("kubeconfig", ""), args.get("context", ""))


def look(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Runs one command of kubectl. Raises RuntimeError where there is no kubectl."""
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
    if deployment["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "its newest generation is not observed"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        return f"{available} of {wanted} replicas available, {updated} updated"
    return ""


def endpoints_problem(services: Sequence[str]) -> Problem:
    """A check of a list of EndpointSlices: each of `services` must have a ready Pod, or its traffic would be lost."""

    def problem(slices: dict[str, Any]) -> str:
        ready = {
            item["metadata"]["labels"].get("kubernetes.io/service-name")
            for item in slices["items"]
            # Source: discovery/v1, EndpointConditions: an absent `ready` is to be read as true.
            for endpoint in item.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready", True)
        }
        missing = [service for service in services if service not in ready]
        return f"no Pod of {', '.join(missing)} is ready" if missing else ""

    return problem


def one(kind: str, namespace: str, name: str) -> list[str]:
    """What to ask for: a single object."""
    return [kind, name, "--namespace", namespace]


def slices(namespace: str, services: Sequence[str]) -> list[str]:
    """What to ask for: the EndpointSlices of some Services."""
    return [
        "endpointslices",
        "--namespace",
        namespace,
        f"--selector=kubernetes.io/service-name in ({','.join(services)})",
    ]


async def wait(target: Target, what: list[str], problem: Problem, limit_seconds: float, look: Look = look) -> None:
    """Asks kubectl for `what` until `problem` finds none; the event loop is free meanwhile, for all other components.

    Raises RuntimeError, with the last problem, after `limit_seconds`.
    """
    command = target.kubectl("get", *what, "--output", "json")
    end = time.monotonic() + limit_seconds
    while True:
        answer = await asyncio.to_thread(look, command)
        why = answer.stderr.strip() if answer.returncode else problem(json.loads(answer.stdout))
        if not why:
            return
        if time.monotonic() >= end:
            raise RuntimeError(f"waited {limit_seconds:g} s for {' '.join(what)}: {why}")
        await asyncio.sleep(POLL_SECONDS)


def hook(name: str, target: Target, what: list[str], problem: Problem, limit_seconds: float) -> pulumi.ResourceHook:
    """A named hook that waits, as `wait` does; previews do not run it."""
    return pulumi.ResourceHook(name, lambda _args: wait(target, what, problem, limit_seconds))
