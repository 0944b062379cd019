"""Queries of kubectl, pulumi and istioctl, which run in the background, each at most once."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .fields import Fields, fields, items, plain, text
from .resources import Key, Resource, Resources

LIMIT_SECONDS = 15.0  # a busy machine needs more than five to start kubectl and to read all kinds
_GATEWAY_API, _ISTIO, _SECURITY = "gateway.networking.k8s.io", "networking.istio.io", "security.istio.io"
KINDS = (
    "namespaces",
    "services",
    "horizontalpodautoscalers.autoscaling",
    f"gateways.{_GATEWAY_API}",
    f"httproutes.{_GATEWAY_API}",
    f"virtualservices.{_ISTIO}",
    f"destinationrules.{_ISTIO}",
    f"serviceentries.{_ISTIO}",
    f"authorizationpolicies.{_SECURITY}",
    f"requestauthentications.{_SECURITY}",
)

_GROUPS = {"Gateway": _GATEWAY_API, "Service": "core"}  # groups of the kinds that another group has, too


class ClusterConnection(NamedTuple):
    """Settings of a Kubernetes provider: path or text of a kubeconfig, and a context and a cluster in it.

    Empty settings mean those of the environment.
    """

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""


class QueryError(Exception):
    """Report a query that failed, in one line with the reason."""


_BACKGROUND = ThreadPoolExecutor(4, "query")


def _run(command: Sequence[str], file_text: str = "") -> str:
    """Return the output of a command. `{}` in it stands for the path of a file with `file_text`."""
    try:
        # The text may hold credentials: a file without a name cannot remain.
        with tempfile.TemporaryFile("w+") as file:
            file.write(file_text)
            file.seek(0)
            path = f"/dev/fd/{file.fileno()}"
            done = subprocess.run(
                [argument.replace("{}", path) for argument in command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LIMIT_SECONDS,
                check=False,
                pass_fds=[file.fileno()],
            )
    except FileNotFoundError:
        raise QueryError(f"{command[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise QueryError(f"{command[0]} gave no answer within {LIMIT_SECONDS:g} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise QueryError(f"{command[0]}: {last.removeprefix('error: ')}")
    return done.stdout


def cluster_query(connection: ClusterConnection, *what: str) -> "Future[Resources]":
    """Start kubectl in the background; the result is the resources, or a QueryError.

    Args:
        connection: The cluster.
        what: Arguments of `kubectl get`; absent for all resources of KINDS.
    """
    wanted = what or (",".join(KINDS), "--all-namespaces")
    command = ["kubectl", f"--request-timeout={LIMIT_SECONDS:g}s", "get", *wanted]
    named = {"context": connection.context, "cluster": connection.cluster}
    chosen = [f"--{flag}={value}" for flag, value in named.items() if value]
    text = connection.kubeconfig
    if "\n" in text or text.lstrip().startswith("{"):  # the provider takes a kubeconfig's own text, too
        chosen.append("--kubeconfig={}")
    elif text:
        chosen.append(f"--kubeconfig={Path(text).expanduser()}")

    def read() -> Resources:
        found = json.loads(_run([*command, *chosen, "--output=json"], text))
        return [Resource(item["kind"], item) for item in found["items"]]

    return _BACKGROUND.submit(read)


def state_query(stack: str) -> "Future[Resources]":
    """Start `pulumi stack export` in the background; secrets remain encrypted.

    The result is the Kubernetes resources that the stack applied earlier, with the labels and annotations that it gave,
    or a QueryError. The cluster has them although the program may now remove them.

    A policy pack in Python is not given the stack's organization: it is that of PULUMI_STACK, if this names the stack,
    or the user's default one. Source: pulumi 3.260, NewPolicyAnalyzer.
    """
    named = os.environ.get("PULUMI_STACK", "")
    if named.rpartition("/")[2] == stack:
        stack = named

    def read() -> Resources:
        exported = json.loads(_run(["pulumi", "stack", "export", "--stack", stack, "--non-interactive"]))
        resources = items(exported, "deployment", "resources")
        return [_applied(item) for item in resources if text(item, "type").startswith("kubernetes:")]

    return _BACKGROUND.submit(read)


def _applied(item: Fields) -> Resource:
    """Return a resource of the state with the labels and annotations of its inputs.

    Its outputs are the whole live resource, with the fields of others. Source: pulumi-kubernetes, checkpointObject.
    """
    kind = kind_of(item["type"])
    given = Resource(kind, fields(item, "inputs"))
    provider = text(item, "provider").rpartition("::")[0]  # the state has URN::ID
    found = Resource(kind, fields(item, "outputs"), text(item, "urn"), provider)
    return found.marked(given.labels, given.annotations)


def kind_of(token: str) -> str:
    """Return the kind of a Pulumi type token such as `kubernetes:apps/v1:Deployment`.

    A kind that another API group has, too, such as Istio's Gateway, is returned with its group.
    """
    version, _, kind = token.removeprefix("kubernetes:").rpartition(":")
    group = version.rpartition("/")[0]
    usual = _GROUPS.get(kind.removesuffix("Patch"), group)
    return kind if group in ("", usual) else f"{group}/{kind}"


def without_stack(live: Resources, recorded: Resources) -> list[Resource]:
    """Return the live resources without those of the stack, and without the labels that its patches gave."""
    whole = {item.key for item in recorded if not item.patch}
    return without_marks([item for item in live if item.key not in whole], recorded)


def without_marks(live: Resources, recorded: Resources) -> list[Resource]:
    """Return the live resources without the labels and annotations that `recorded` gave them.

    Source: Kubernetes, server-side apply removes a field that its manager no longer names, and keeps those of others.
    """
    labels: dict[Key, set[str]] = {}
    annotations: dict[Key, set[str]] = {}
    for item in recorded:
        labels.setdefault(item.key, set()).update(item.labels)
        annotations.setdefault(item.key, set()).update(item.annotations)
    return [
        item.marked(_less(item.labels, labels[item.key]), _less(item.annotations, annotations[item.key]))
        if item.key in labels
        else item
        for item in live
    ]


def _less(given: Fields, names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def analysis(resources: Resources) -> Sequence[Fields]:
    """Return the messages of `istioctl analyze` about these resources; none where istioctl is not on PATH.

    Raises:
        QueryError: istioctl failed.
    """
    given = [item for item in resources if item.properties.get("apiVersion")]
    if not given or not shutil.which("istioctl"):
        return []
    command = ["istioctl", "analyze", "--use-kube=false", "--all-namespaces", "--output=json", "-"]
    text = "\n---\n".join(json.dumps(plain(item.properties)) for item in given)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        found: list[Fields] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise QueryError(f"istioctl gave no answer within {LIMIT_SECONDS:g} s") from None
    except ValueError:
        raise QueryError(f"istioctl: {(done.stderr.strip().splitlines() or ['no output'])[-1]}") from None
    # istioctl leaves out resources that it cannot parse, and reports them on stderr only.
    for number, why in re.findall(r"^\s*\* error processing -\[(\d+)\]: (.*)", done.stderr, re.MULTILINE):
        found.append({"code": "unreadable", "level": "Error", "message": why, "origin": given[int(number)].title})
    return found
