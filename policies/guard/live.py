"""Asks kubectl, pulumi and istioctl, each at most once, while the pack does something else."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .objects import Key, Object, Objects, plain

LIMIT_SECONDS = 5.0
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


class Target(NamedTuple):
    """A cluster, as the Kubernetes provider is told: path or text of a kubeconfig, and a context in it.

    Empty means what the environment says.
    """

    kubeconfig: str = ""
    context: str = ""


class Cannot(Exception):
    """One line: what could not be read, and why."""


_BACKGROUND = ThreadPoolExecutor(4, "asking")


def _ask(command: Sequence[str], given: str = "") -> str:
    """A command's standard output. `given` is a file for it, whose path stands for `{}` in `command`. Raises Cannot."""
    try:
        # It may hold credentials: a file without a name cannot be left behind.
        with tempfile.TemporaryFile("w+") as file:
            file.write(given)
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
        raise Cannot(f"{command[0]} is not on PATH") from None
    except subprocess.TimeoutExpired:
        raise Cannot(f"{command[0]} gave no answer within {LIMIT_SECONDS:g} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise Cannot(f"{command[0]}: {last.removeprefix('error: ')}")
    return done.stdout


class Cluster:
    """The objects of one cluster, read once in the background."""

    def __init__(self, target: Target) -> None:
        """Starts kubectl."""
        command = ["kubectl", f"--request-timeout={LIMIT_SECONDS:g}s", "get", ",".join(KINDS), "--all-namespaces"]
        chosen = [f"--context={target.context}"] if target.context else []
        text = target.kubeconfig
        if "\n" in text or text.lstrip().startswith("{"):  # the provider takes a kubeconfig's own text, too
            chosen.append("--kubeconfig={}")
        elif text:
            chosen.append(f"--kubeconfig={Path(text).expanduser()}")
        self._asked = _BACKGROUND.submit(_ask, [*command, *chosen, "--output=json"], text)
        self._objects: Objects | None = None

    def objects(self) -> Objects:
        """All objects of KINDS. Raises Cannot."""
        if self._objects is None:
            items = json.loads(self._asked.result())["items"]
            self._objects = [Object(item["kind"], item) for item in items]
        return self._objects


class Recorded:
    """What the stack has applied before: it is in the cluster still, though the program may drop it now."""

    def __init__(self, stack: str) -> None:
        """Starts `pulumi stack export` for the project of this directory; secrets stay encrypted."""
        self._asked = _BACKGROUND.submit(_ask, ["pulumi", "stack", "export", "--stack", stack, "--non-interactive"])
        self._objects: Objects | None = None

    def objects(self) -> Objects:
        """The Kubernetes objects of the stack's last state, with the labels and annotations it gave. Raises Cannot."""
        if self._objects is None:
            resources = (json.loads(self._asked.result()).get("deployment") or {}).get("resources") or []
            self._objects = [_applied(item) for item in resources if item["type"].startswith("kubernetes:")]
        return self._objects


def _applied(item: Mapping[str, Any]) -> Object:
    """A resource of the state. Its outputs are the whole live object, with what others gave it, so they name it only.

    Source: pulumi-kubernetes, checkpointObject.
    """
    kind = kind_of(item["type"])
    given = Object(kind, item.get("inputs") or {})
    return marked(Object(kind, item.get("outputs") or {}, item["urn"]), given.labels, given.annotations)


def kind_of(token: str) -> str:
    """The kind in a Pulumi type token such as `kubernetes:apps/v1:Deployment`."""
    return token.rpartition(":")[2]


def without(live: Objects, recorded: Objects) -> list[Object]:
    """What is in the cluster without the stack: not its objects, and of those it patches not its labels."""
    whole = {item.key for item in recorded if not item.patch}
    return given_up([item for item in live if item.key not in whole], recorded)


def given_up(live: Objects, recorded: Objects) -> list[Object]:
    """The cluster's objects without the labels and annotations that `recorded` gave them.

    Source: Kubernetes, server-side apply: a field that its manager no longer names goes; those of others stay.
    """
    labels: dict[Key, set[str]] = {}
    annotations: dict[Key, set[str]] = {}
    for item in recorded:
        labels.setdefault(item.key, set()).update(item.labels)
        annotations.setdefault(item.key, set()).update(item.annotations)
    return [
        marked(item, _less(item.labels, labels[item.key]), _less(item.annotations, annotations[item.key]))
        if item.key in labels
        else item
        for item in live
    ]


def _less(given: Mapping[str, str], names: set[str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if name not in names}


def marked(item: Object, labels: Mapping[str, str], annotations: Mapping[str, str]) -> Object:
    """`item` with these labels and annotations in place of its own."""
    metadata = {**item.metadata, "labels": labels, "annotations": annotations}
    return Object(item.kind, {**item.properties, "metadata": metadata}, item.urn)


def analysis(objects: Objects) -> Sequence[Mapping[str, Any]]:
    """What `istioctl analyze` says of these objects as files; nothing where istioctl is not there. Raises Cannot."""
    given = [item for item in objects if item.properties.get("apiVersion")]
    if not given or not shutil.which("istioctl"):
        return []
    command = ["istioctl", "analyze", "--use-kube=false", "--all-namespaces", "--output=json", "-"]
    text = "\n---\n".join(json.dumps(plain(item.properties)) for item in given)
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        found: list[Mapping[str, Any]] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise Cannot(f"istioctl gave no answer within {LIMIT_SECONDS:g} s") from None
    except ValueError:
        raise Cannot(f"istioctl: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}") from None
    # It leaves out what it cannot parse, and only says so beside its answer.
    for number, why in re.findall(r"^\s*\* error processing -\[(\d+)\]: (.*)", done.stderr, re.MULTILINE):
        found.append({"code": "unreadable", "level": "Error", "message": why, "origin": given[int(number)].title})
    return found
