"""A namespace with waypoints that answers as kubectl does, and records every command in order."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pytest

from components._internal import waits
from components._internal.waits import Access, Session

PRIMARY, CANARY = "istio.io/use-waypoint", "istio.io/use-waypoint-canary"
WEIGHT = "istio.io/use-waypoint-canary-weight"
LISTENERS, REQUESTS = "config_dump", "clusters?format=json"
DRAIN = "drain_listeners?graceful&skip_exit"
_SELECTOR = "--selector=gateway.networking.k8s.io/gateway-name="


def service(name: str, labels: dict[str, str] | None = None, namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    given = {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "protocol": "TCP"}], **spec}
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels or {}}, "spec": given}


def dump(*hosts: str) -> dict[str, Any]:
    """Return the config dump of an Envoy with filter chains for `hosts`, of Services and others."""
    names = [f"inbound-vip|80|http|{host if '://' in host else f'{host}.svc.cluster.local'}" for host in hosts]
    chains = [{"name": name.replace("https://", "")} for name in [*names, "inbound|8080||", "direct-http"]]
    listeners = [{"filter_chains": chains}, {"filter_chains": [{"name": "encap"}]}, {}]
    clusters = [{"cluster": chain} for chain in chains]
    states = [{"active_state": {"listener": item}} for item in listeners]
    return {"configs": [{"dynamic_active_clusters": clusters}, {"dynamic_listeners": states}, {"@type": "other"}]}


def busy(*active: int) -> dict[str, Any]:
    """Return Envoy's statistics of its clusters, with as many active requests at each endpoint."""

    def cluster(name: str, count: int) -> dict[str, Any]:
        stats = [{"name": "rq_total", "value": "99"}, {"name": "rq_active", **({"value": f"{count}"} if count else {})}]
        return {"name": name, "host_statuses": [{"stats": stats}]}

    names = [f"inbound-vip|80|http|s{number}.shop.svc.cluster.local" for number in range(len(active))]
    serving = [cluster(name, count) for name, count in zip(names, active, strict=True)]
    return {"cluster_statuses": [*serving, cluster("xds-grpc", 1), {"name": "inbound-vip|81|http|s.shop.svc.x"}]}


@dataclass
class Pod:
    """`services` and `active` are the answers in turn, the last one repeatedly.

    An `ending` Pod still runs; it is gone after as many `looks`, or not by itself.
    """

    name: str
    services: list[set[str]] = field(default_factory=lambda: [set()])
    active: list[int] = field(default_factory=lambda: [0])
    ending: bool = False
    looks: int | None = None

    def end(self, looks: int | None = None) -> None:
        self.ending, self.looks = True, looks


def _next(answers: list[Any]) -> Any:
    return answers.pop(0) if len(answers) > 1 else answers[0]


class Namespace:
    """The namespace shop: `pods` by the name of their Gateway."""

    def __init__(self, **pods: list[Pod]) -> None:
        self.pods = pods
        self.services: list[dict[str, Any]] = []
        self.ready = True
        self.rollouts: list[tuple[int, int]] = [(1, 0)]  # new and old replicas of a canary's Deployment, in turn
        self.objects: dict[str, dict[str, Any]] = {}
        self.commands: list[str] = []
        self.then: dict[str, Callable[[], object]] = {}  # what else a command does, by its beginning
        self.refused: dict[str, list[str]] = {}  # why a command fails, once for each entry, by its beginning

    def __call__(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        tool, limit, verb, flag, namespace, *rest = command
        assert (tool, limit, flag, namespace) == ("kubectl", "--request-timeout=10s", "--namespace", "shop")
        line = " ".join([verb, *rest])
        self.commands.append(line)
        for beginning, reasons in self.refused.items():
            if line.startswith(beginning) and reasons:
                return subprocess.CompletedProcess(command, 1, "", reasons.pop(0))
        answer = self._answer(verb, rest)
        for beginning, effect in self.then.items():
            if line.startswith(beginning):
                effect()
        return subprocess.CompletedProcess(command, 0, answer, "")

    def _answer(self, verb: str, rest: list[str]) -> str:
        if verb == "get":
            *what, output, form = rest
            assert (output, form) == ("--output", "json")
            return json.dumps(self._get(*what))
        if verb == "exec":
            name, *pilot, method, path = rest
            assert pilot == ["--", "pilot-agent", "request"]
            (pod,) = [pod for pods in self.pods.values() for pod in pods if pod.name == name]
            return self._admin(pod, method, path)
        assert verb in ("rollout", "scale")
        return ""

    def _get(self, kind: str, *rest: str) -> dict[str, Any]:
        if kind == "services":
            assert rest == ()
            return {"items": self.services}
        if kind == "gateways.gateway.networking.k8s.io":
            return {"items": [{"spec": {}}]}
        if kind == "deployment":
            (name,) = rest
            new, old = _next(self.rollouts)
            status = {"observedGeneration": 1, "updatedReplicas": new, "availableReplicas": new, "replicas": new + old}
            return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": 1}, "status": status}
        if "--show-managed-fields" in rest:
            names = [kind, *rest[:-1]]
            return self.objects[kind] if len(names) == 1 else {"items": [self.objects[name] for name in names]}
        assert rest[0].startswith(_SELECTOR)
        gateway = rest[0].removeprefix(_SELECTOR)
        if kind == "deployments":
            assert rest[1:] == ()
            status = {"availableReplicas": 1} if self.ready else {}
            return {"items": [{"status": status}] if gateway in self.pods else []}
        assert rest[1:] == ("--field-selector=status.phase=Running",)
        here = self.pods[gateway] = [pod for pod in self.pods.get(gateway, []) if pod.looks != 0]
        for pod in here:
            pod.looks = None if pod.looks is None else pod.looks - 1
        ends = {True: {"deletionTimestamp": "2026-01-01T00:00:00Z"}, False: {}}
        return {"items": [{"metadata": {"name": pod.name, **ends[pod.ending]}} for pod in here]}

    def _admin(self, pod: Pod, method: str, path: str) -> str:
        if (method, path) == ("GET", LISTENERS):
            return json.dumps(dump(*_next(pod.services)))
        if (method, path) == ("GET", REQUESTS):
            return json.dumps(busy(_next(pod.active)))
        assert (method, path) == ("POST", DRAIN)
        return "OK\n"

    def session(self, limit_seconds: float = 5.0) -> Session:
        return Session(Access(), "shop", limit_seconds, self)

    def writes(self) -> list[str]:
        """Return the commands that change something."""
        return [line for line in self.commands if not line.startswith("get ") and " GET " not in line]


def recorded_info(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list that gets all messages to the user from now on; shorten the waits."""
    lines: list[str] = []
    monkeypatch.setattr(pulumi, "info", lines.append)
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    return lines


def pods(gateway: str) -> str:
    return f"get pods {_SELECTOR}{gateway} --field-selector=status.phase=Running --output json"


def deployments(gateway: str) -> str:
    return f"get deployments {_SELECTOR}{gateway} --output json"


def envoy(pod: str, method: str, path: str) -> str:
    return f"exec {pod} -- pilot-agent request {method} {path}"
