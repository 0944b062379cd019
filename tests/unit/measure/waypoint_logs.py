"""Access logs of two waypoints, as Istio's Envoy writes them and as kubectl would show them."""

import json
from collections.abc import Sequence
from types import ModuleType

import pytest

from tests.unit.configs import lab_config
from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.measure import access_log
from waypoint_lab.measure.client import Answer, Group
from waypoint_lab.measure.request import AGENT

ADDRESS = "10.96.232.83:9080"
REAL = (
    '[2026-11-24T10:12:19.543Z] "GET /reviews/0 HTTP/1.1" 200 - via_upstream - "-" 0 440 5 4 "-" "exp" '
    '"10eec155-dfc0-4e81-8fe7-5d7f487b63bb" "reviews.bookinfo-backends:9080" "10.244.1.1:9080" '
    "inbound-vip|9080|http|reviews.bookinfo-backends.svc.cluster.local 10.244.1.12:56520 10.96.232.83:9080 "
    "10.244.0.1:44332 - default"
)
MINE = f"{AGENT}/0123abcd"
NEXT, FIRST = "waypoint-next", "waypoint"


def config(weight: int, *on: str, **objects: object) -> LabConfig:
    waypoint = {"canary": {"name": NEXT, "weight": weight}}
    return lab_config("waypoint", "accessLog", *on, waypoint=waypoint, **objects)


TWO = config(20)


def line(agent: str = MINE, *, status: str = "200", flags: str = "-", address: str = ADDRESS) -> str:
    """One request of `agent` to the Service at `address`."""
    return REAL.replace('"exp"', f'"{agent}"').replace(" 200 - ", f" {status} {flags} ").replace(ADDRESS, address)


class Kubectl:
    """The logs of each waypoint, one after the other and the last one again and again; and the Service's address."""

    def __init__(self, **logs: list[list[str]]) -> None:
        self.logs = {name.replace("_", "-"): list(texts) for name, texts in logs.items()}
        self.commands: list[tuple[str, ...]] = []

    def __call__(self, _target: object, *arguments: str, **_more: object) -> str:
        self.commands.append(arguments)
        if arguments[0] == "get":
            assert arguments[1:5] == ("service", "reviews", "--namespace", "bookinfo-backends")
            return json.dumps({"spec": {"clusterIP": ADDRESS.split(":")[0]}})
        assert arguments[:4] == ("logs", "--namespace", "bookinfo-backends", "--selector")
        texts = self.logs[arguments[4].removeprefix("gateway.networking.k8s.io/gateway-name=")]
        return "\n".join(texts.pop(0) if len(texts) > 1 else texts[0])


def use(monkeypatch: pytest.MonkeyPatch, **logs: list[list[str]]) -> Kubectl:
    """Has these logs read instead of a cluster's; `_` stands for `-` in a waypoint's name."""
    fake = Kubectl(**logs)
    monkeypatch.setattr(kubectl, "run", fake)
    return fake


class Sends:
    """Stands in for the client: answers each request with `answer`, and keeps the groups of each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        """Replace `send` of `module`, and shorten its waits."""
        self.answer = Answer(200, "none")
        self.groups: list[list[Group]] = []
        monkeypatch.setattr(module, "send", self)
        monkeypatch.setattr(access_log, "agent", lambda: MINE)
        monkeypatch.setattr(access_log, "POLL_SECONDS", 0.001)
        monkeypatch.setattr(access_log, "LIMIT_SECONDS", 0.01)

    def __call__(self, given: LabConfig, groups: Sequence[Group], seconds: float = 0) -> list[list[Answer]]:
        self.groups.append(list(groups))
        return [[self.answer] * group.rounds for group in groups]


def logged(first: int, second: int, failing: int = 0) -> dict[str, list[list[str]]]:
    """The logs after as many requests through each of the two, of which the second one answers some with 503."""
    answers = [line(status="503")] * failing + [line()] * (second - failing)
    return {"waypoint": [[line()] * first], "waypoint_next": [answers]}
