"""Waiting until an object is what its author asked for: `pulumi.com/waitFor`, or the kind's own idea of ready.

Source: pulumi-kubernetes, "Improved await logic" (condition=TYPE[=STATUS], jsonpath={…}[=VALUE], lists as JSON).
"""

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from embedded.pulumi_plugins.client import ApiError, Client, Unreachable

Object = dict[str, Any]
POLL_SECONDS = 0.05
SLOW_POLL_SECONDS = 0.5
DEFAULT_SECONDS = {"Deployment": 600, "Service": 600, "Pod": 300, "StatefulSet": 600, "Job": 600}
OTHER_SECONDS = 600
SETTLE_SECONDS = 10.0  # for which the official provider waits for Pods of a Service; none at all is fine after that
STEP = re.compile(r"""\.([\w-]+|\\.)|\[\?\(@\.([\w-]+)\s*==\s*["']([^"']*)["']\)\]|\[(\d+|\*)\]""")


class WaitFailed(Exception):
    """The wait ended without success; `live` is the object as last seen."""

    def __init__(self, message: str, live: Object) -> None:
        """`message` says what was waited for."""
        super().__init__(message)
        self.live = live


class BadWait(Exception):
    """The annotation cannot be read; the message is one line."""


def annotations(item: Object) -> dict[str, str]:
    """The annotations of an object's inputs."""
    found: dict[str, str] = item.get("metadata", {}).get("annotations") or {}
    return found


def find(item: Any, path: str) -> list[Any]:
    """What a JSONPath of the kubectl kind selects. Raises BadWait for syntax this does not know."""
    values, at = [item], 0
    body = path.strip().removeprefix("{").removesuffix("}")
    while at < len(body):
        step = STEP.match(body, at)
        if not step:
            raise BadWait(f"pulumi.com/waitFor: cannot read the JSONPath {path!r} from {body[at:]!r} on")
        field, test_field, test_value, index = step.groups()
        following: list[Any] = []
        for value in values:
            if field and isinstance(value, dict) and field in value:
                following.append(value[field])
            elif test_field and isinstance(value, list):
                following += [e for e in value if isinstance(e, dict) and str(e.get(test_field)) == test_value]
            elif index and isinstance(value, list):
                following += value if index == "*" else value[int(index) : int(index) + 1]
        values, at = following, step.end()
    return values


def _one(expression: str) -> Callable[[Object], str]:
    """A check that returns why it is not met, or an empty string."""
    if expression.startswith("condition="):
        kind, _, status = expression.removeprefix("condition=").partition("=")

        def condition(live: Object) -> str:
            for found in live.get("status", {}).get("conditions") or []:
                if found.get("type", "").lower() == kind.lower():
                    if found.get("status", "").lower() == (status or "true").lower():
                        return ""
                    return f"{kind} is {found.get('status')}: {found.get('message', '')}".strip(": ")
            return f"{kind} is not reported"

        return condition
    if expression.startswith("jsonpath="):
        path, _, wanted = expression.removeprefix("jsonpath=").partition("}")
        path, wanted = path + "}", wanted.removeprefix("=")
        find({}, path)

        def jsonpath(live: Object) -> str:
            values = find(live, path)
            if any(_text(value) == wanted for value in values) if wanted else values:
                return ""
            return f"{path} is {', '.join(map(_text, values)) or 'absent'}" + (f", not {wanted}" if wanted else "")

        return jsonpath
    raise BadWait(f"pulumi.com/waitFor: {expression!r} must start with condition= or jsonpath=")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) if not isinstance(value, dict) else "an object"


def deployment(live: Object) -> str:
    """Why a Deployment is not rolled out."""
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"]["generation"]:
        return "its controller has not seen this generation"
    for found in status.get("conditions") or []:
        if found["type"] == "Progressing" and found.get("reason") == "ProgressDeadlineExceeded":
            return f"it makes no progress: {found.get('message', '')}"
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < wanted or available < wanted or status.get("replicas", 0) > updated:
        return f"{available} of {wanted} replicas available, {updated} updated"
    return ""


def pod(live: Object) -> str:
    """Why a Pod is not ready."""
    status = live.get("status", {})
    if status.get("phase") == "Succeeded":
        return ""
    for found in status.get("conditions") or []:
        if found["type"] == "Ready":
            return "" if found["status"] == "True" else f"not ready: {found.get('message', found.get('reason', ''))}"
    return f"phase {status.get('phase', 'Pending')}"


def checks(client: Client, inputs: Object, settle_seconds: float = SETTLE_SECONDS) -> list[Callable[[Object], str]]:
    """What to wait for. Raises BadWait for an annotation that cannot be read."""
    given = annotations(inputs)
    if given.get("pulumi.com/skipAwait", "").lower() == "true":
        return []
    wait_for = given.get("pulumi.com/waitFor", "").strip()
    if wait_for:
        try:
            expressions = json.loads(wait_for) if wait_for.startswith("[") else [wait_for]
        except ValueError:
            raise BadWait(f"pulumi.com/waitFor: {wait_for!r} is not a JSON list") from None
        return [_one(str(expression)) for expression in expressions]
    return _kinds_own(client, inputs, settle_seconds)


def problems(client: Client, inputs: Object, live: Object) -> list[str]:
    """Why `live` is not what its kind calls ready; a refresh looks at it once and does not wait."""
    if annotations(inputs).get("pulumi.com/skipAwait", "").lower() == "true":
        return []
    return [problem for check in _kinds_own(client, inputs, 0) if (problem := check(live))]


def _kinds_own(client: Client, inputs: Object, settle_seconds: float) -> list[Callable[[Object], str]]:
    version, kind = inputs.get("apiVersion", ""), inputs.get("kind")
    if version.startswith("apps/") and kind == "Deployment":
        return [deployment]
    if version == "v1" and kind == "Pod":
        return [pod]
    if version == "v1" and kind == "Service":
        return [_service(client, settle_seconds)]
    return []


def _service(client: Client, settle_seconds: float) -> Callable[[Object], str]:
    """As the official provider, but without its ten seconds of settling where a Pod is ready.

    Source: pulumi-kubernetes 4.32, provider/pkg/await/service.go.
    """
    began = time.monotonic()

    def endpoints(live: Object) -> str:
        spec, meta = live["spec"], live["metadata"]
        if spec.get("type") == "ExternalName" or spec.get("clusterIP") == "None" or not spec.get("selector"):
            return ""
        if spec.get("type") == "LoadBalancer" and not live.get("status", {}).get("loadBalancer", {}).get("ingress"):
            return "the load balancer has no address"
        base = f"/apis/discovery.k8s.io/v1/namespaces/{meta['namespace']}/endpointslices"
        listed = client.request("GET", base, params={"labelSelector": f"kubernetes.io/service-name={meta['name']}"})
        found = [e.get("conditions") or {} for item in listed.get("items") or [] for e in item.get("endpoints") or []]
        waiting = [one for one in found if one.get("ready") is False and not one.get("terminating")]
        if waiting:
            return f"{len(waiting)} of its Pods are not ready"
        if not found and time.monotonic() - began < settle_seconds:
            return "it has no Pods: does its selector match any?"
        return ""

    return endpoints


def seconds_for(inputs: Object, given: float) -> float:
    """The limit: customTimeouts, the annotation `pulumi.com/timeoutSeconds`, or the kind's own."""
    if given:
        return given
    text = annotations(inputs).get("pulumi.com/timeoutSeconds", "")
    return float(text) if text.isdigit() else DEFAULT_SECONDS.get(str(inputs.get("kind")), OTHER_SECONDS)


def until(
    client: Client,
    inputs: Object,
    live: Object,
    seconds: float,
    cancelled: threading.Event,
    tell: Callable[[str], None],
) -> Object:
    """Waits for all that `inputs` ask for; returns the live object. Raises WaitFailed, BadWait."""
    todo = checks(client, inputs, min(seconds, SETTLE_SECONDS))
    if not todo:
        return live
    began, told, waits = time.monotonic(), 0.0, SLOW_POLL_SECONDS
    name = f"{inputs['kind']} {live['metadata'].get('namespace', '')}/{live['metadata']['name']}"
    while True:
        try:
            fresh = client.get(live)
        except (ApiError, Unreachable) as error:
            fresh, problems = live, [f"the API server does not answer: {error}"]
        else:
            if fresh is None:
                raise WaitFailed(f"{name} was deleted while it was waited for", live)
            live = fresh
            problems = [problem for check in todo if (problem := check(live))]
        if not problems:
            return live
        passed = time.monotonic() - began
        if cancelled.is_set():
            raise WaitFailed(f"cancelled while waiting for {name}: {'; '.join(problems)}", live)
        if passed > seconds:
            raise WaitFailed(f"{name} is not ready after {seconds:.0f} s: {'; '.join(problems)}", live)
        if passed - told > 1:
            told = passed
            tell(f"waiting for {name}: {'; '.join(problems)}")
        waits = POLL_SECONDS if passed < 3 else SLOW_POLL_SECONDS
        cancelled.wait(waits)


def gone(client: Client, item: Object, seconds: float, cancelled: threading.Event, tell: Callable[[str], None]) -> None:
    """Waits until `item` (with its uid) is no longer there. Raises WaitFailed."""
    began, told = time.monotonic(), 0.0
    name = f"{item['kind']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
    while True:
        live = client.get(item)
        if live is None or live["metadata"]["uid"] != item["metadata"].get("uid", live["metadata"]["uid"]):
            return
        passed = time.monotonic() - began
        if passed > seconds or cancelled.is_set():
            why = "cancelled" if cancelled.is_set() else f"not gone after {seconds:.0f} s"
            held = live["metadata"].get("finalizers")
            raise WaitFailed(f"{name}: {why}" + (f"; held by finalizers {held}" if held else ""), live)
        if passed - told > 2:
            told = passed
            tell(f"waiting for {name} to be gone")
        cancelled.wait(POLL_SECONDS if passed < 3 else SLOW_POLL_SECONDS)
