"""Waits that `pulumi.com/waitFor` of the Kubernetes provider cannot express, as resource hooks; each has a limit."""

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pulumi

from . import api
from . import kubeconfig as kubeconfigs

FIRST_POLL_SECONDS = 0.02  # each pause between two polls is longer than the one before, up to POLL_SECONDS
POLL_FACTOR = 1.5
POLL_SECONDS = 0.1
_NO_KUBECTL = "kubectl is not on PATH, and the waits of the components need it; install it"
Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
Problem = Callable[[dict[str, Any]], str]  # of an object: the reason to wait longer; empty ends the wait
# Errors of readers of an answer whose shape is unknown: a cut answer, or that of another version.
_ODD = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


class Failed(RuntimeError):
    """A failure that waiting cannot change."""


class Access(NamedTuple):
    """Kubeconfig, by path or as contents, and context of the cluster that kubectl asks; empty: the environment's."""

    kubeconfig: pulumi.Input[str] = ""
    context: pulumi.Input[str] = ""

    async def program(self) -> list[str]:
        """Return kubectl with the options that name this cluster; contents of a kubeconfig are in a file."""
        kubeconfig, context = await plain(self.kubeconfig), await plain(self.context)
        chosen = [f"--kubeconfig={kubeconfigs.path(kubeconfig)}"] if kubeconfig else []
        chosen += [f"--context={context}"] if context else []
        return ["kubectl", *chosen]

    async def kubectl(self, *arguments: str) -> list[str]:
        """Return a kubectl command for this cluster."""
        return [*await self.program(), "--request-timeout=10s", *arguments]


def access(args: Mapping[str, Any], component: pulumi.Resource | None = None) -> Access:
    """Return the cluster that `kubeconfig` and `context` of a component's arguments name.

    Without both it is that of the default provider, unless the component has a provider of its own.
    """
    if component and not any(map(args.get, Access._fields)) and not component.get_provider("kubernetes:core/v1:Pod"):
        if kubeconfigs.configured("cluster") is not None:
            raise pulumi.RunError("kubernetes:cluster is set, which the waits do not read; set kubernetes:context")
        args = {field: kubeconfigs.configured(field) for field in Access._fields}
    given = (args.get(field) or "" for field in Access._fields)
    return Access(*(value if isinstance(value, str) else pulumi.Output.from_input(value) for value in given))


async def plain(value: Any) -> Any:
    """Return `value` with the values of all outputs in it; hooks get secrets as outputs."""
    if isinstance(value, pulumi.Output):
        return await plain(await value.future())
    if isinstance(value, Mapping):
        return {key: await plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [await plain(item) for item in value]
    return value


def read_api(command: Sequence[str], path: str) -> bytes:
    """Return the API server's answer to a GET request; see `api.read`. Raise Failed where there is no kubectl."""
    try:
        return api.read(command, path)
    except FileNotFoundError:
        raise Failed(_NO_KUBECTL) from None


def run_kubectl(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run one command of kubectl. Raise Failed where there is no kubectl."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=30)
    except FileNotFoundError:
        raise Failed(_NO_KUBECTL) from None
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", "kubectl gave no answer within 30 s")


class Session:
    """kubectl in one namespace of one cluster, until a limit is over. Methods raise RuntimeError in one line."""

    def __init__(
        self, cluster: Access, namespace: str, limit_seconds: float, run: Run | None = None, where: str = ""
    ) -> None:
        """Begin a session.

        Args:
            cluster: The cluster.
            namespace: The namespace; empty where commands name one themselves.
            limit_seconds: Seconds from now until every wait of the session fails.
            run: Runs one command of kubectl.
            where: The object that is waited for, as error messages name it.
        """
        self.namespace, self.limit = namespace, limit_seconds
        self._access, self._run, self._where = cluster, run or run_kubectl, f"{where}: " if where else ""
        self._end = time.monotonic() + limit_seconds
        self._pause = min(FIRST_POLL_SECONDS, POLL_SECONDS)

    @classmethod
    def of(cls, cluster: Access, document: Mapping[str, Any], limit_seconds: float) -> "Session":
        """Begin a session for an object, in its namespace if it has one."""
        space, name = document["metadata"].get("namespace", ""), document["metadata"]["name"]
        return cls(cluster, space, limit_seconds, where=f"{document['kind']} {f'{space}/' if space else ''}{name}")

    async def done(self, *arguments: str, namespace: str = "") -> "subprocess.CompletedProcess[str]":
        """Run kubectl and return its result, failed or not; the event loop is free meanwhile."""
        place = namespace or self.namespace
        scope = ["--namespace", place] if place else []
        return await asyncio.to_thread(self._run, await self._access.kubectl(arguments[0], *scope, *arguments[1:]))

    async def run(self, *arguments: str, namespace: str = "") -> str:
        """Return the output of kubectl."""
        done = await self.done(*arguments, namespace=namespace)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["kubectl failed without a message"])[-1])
        return done.stdout

    async def get(self, *what: str, namespace: str = "") -> dict[str, Any]:
        """Return an object, or a list of them."""
        found: dict[str, Any] = json.loads(await self.run("get", *what, "--output", "json", namespace=namespace))
        return found

    async def read(self, path: str, **query: str) -> dict[str, Any]:
        """Return an object, or a list of them, by its path and query in the API. Raises ApiReadError."""
        found: dict[str, Any] = json.loads(await self.text(path, **query))
        return found

    async def optional(self, path: str, *absent: HTTPStatus) -> dict[str, Any] | None:
        """Return `read(path)`; None where the answer has a status of `absent`, by default 404. Raises ApiReadError."""
        try:
            return await self.read(path)
        except api.ApiReadError as error:
            if error.status in (absent or (HTTPStatus.NOT_FOUND,)):
                return None
            raise

    async def text(self, path: str, **query: str) -> str:
        """Return the answer to a GET request to the API server. Raises ApiReadError."""
        whole = f"{path}?{urlencode(query)}" if query else path
        return (await asyncio.to_thread(read_api, await self._access.program(), whole)).decode()

    async def pause(self, why: str) -> None:
        """Wait until the next poll. Raise Failed with `why` after the limit."""
        if time.monotonic() >= self._end:
            raise Failed(f"{self._where}waited {self.limit:g} s: {why}")
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * POLL_FACTOR, POLL_SECONDS)

    async def until(self, check: Callable[[], Awaitable[str]]) -> None:
        """Call `check` until it returns no problem; an error of kubectl or an odd answer is one that may pass."""
        while True:
            try:
                why = await check()
            except Failed as error:
                raise Failed(f"{self._where}{error}") from None
            except RuntimeError as error:
                why = str(error)
            except _ODD as error:
                why = " ".join(f"an answer has an unknown shape ({type(error).__name__}: {error})".split())
            if not why:
                return
            await self.pause(why)


def conditions_problem(item: Mapping[str, Any], conditions: Sequence[Mapping[str, Any]], *wanted: str) -> str:
    """Return why not all `wanted` conditions are True for the newest generation of an object; empty if they are.

    Source: metav1.Condition.observedGeneration: an older True says nothing about the spec that was just written. A
    policy of which only some targets are bound is True with the reason PartiallyInvalid (istiod, flattenConditions).
    """
    generation = item["metadata"]["generation"]
    seen = {condition["type"]: condition for condition in conditions}
    for kind in wanted:
        condition = seen.get(kind)
        if condition is None:
            return f"{kind} is not reported"
        # Istio's own kinds give the number as text.
        if int(condition.get("observedGeneration", generation)) != generation:
            return f"{kind} is of generation {condition.get('observedGeneration')}, not of {generation}"
        if condition.get("status") != "True" or condition.get("reason") == "PartiallyInvalid":
            state = "PartiallyInvalid" if condition.get("status") == "True" else condition.get("status")
            return f"{kind} is {state}: {condition.get('message', '')}"
    return ""


def condition_problem(*wanted: str) -> Problem:
    """Return a check of the conditions in an object's status."""
    return lambda item: conditions_problem(item, item.get("status", {}).get("conditions") or [], *wanted)


def route_problem(route: dict[str, Any]) -> str:
    """Return the reason why the newest generation of a route is not in effect at each parent; empty if it is.

    Source: Gateway API, RouteParentStatus; ResolvedWaypoints is Istio's own.
    """
    parents = route.get("status", {}).get("parents") or []
    reported = {parent.get("parentRef", {}).get("name") for parent in parents}
    for ref in route.get("spec", {}).get("parentRefs") or [{}]:
        if ref.get("name") not in reported:
            return f"no controller has reported on parent {ref.get('name')}; does the Service have a waypoint?"
    for parent in parents:
        conditions = parent.get("conditions") or []
        waypoints = ["ResolvedWaypoints"] if any(item["type"] == "ResolvedWaypoints" for item in conditions) else []
        if why := conditions_problem(route, conditions, "Accepted", "ResolvedRefs", *waypoints):
            return why
    return ""


def rollout_problem(deployment: dict[str, Any]) -> str:
    """Return the reason why a Deployment is not rolled out; empty if it is. Source: kubectl's own `rollout status`."""
    if deployment["metadata"].get("deletionTimestamp"):
        return "it is being deleted"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "its newest generation is not observed"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        failed = [item for item in status.get("conditions") or [] if item["type"] == "ReplicaFailure"]
        reason = f": {failed[0].get('message', '')}" if failed and failed[0]["status"] == "True" else ""
        return f"{available} of {wanted} replicas available, {updated} updated{reason}"
    return ""


def endpoints_problem(services: Sequence[str]) -> Problem:
    """Return a check of a list of EndpointSlices: each of `services` must have a ready Pod."""

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
