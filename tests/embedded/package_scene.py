"""An application, programs of remote components, and requests, for the tests of the component package."""

import collections
import json
import time
from typing import Any

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.embedded.manifests import made, namespace
from waypoint_lab.measure.snapshot import orphans

NAMESPACE = "package-test"
PORT = 8080
COLLECTED_SECONDS = 40
SERVER = (PROJECT_FOLDER / "examples" / "greeter" / "server.py").read_text()
# A program that knows nothing of the components but their tokens: rows of kind, name and inputs, one after the other.
PROGRAM = """
import json
import pathlib

import pulumi
import pulumi_kubernetes

document = json.loads(pathlib.Path("resources.json").read_text())
provider = pulumi_kubernetes.Provider("cluster", **document["provider"]) if document["provider"] else None


class Remote(pulumi.ComponentResource):
    name: pulumi.Output[str]
    address: pulumi.Output[str]
    gatewayClass: pulumi.Output[str]


last = []
for row in document["resources"]:
    outputs = dict.fromkeys(row.get("outputs", ["name"]))
    given = pulumi.ResourceOptions(depends_on=last, providers=[provider] if provider else None)
    made = Remote("waypoint-lab:index:" + row["kind"], row["name"], {**row["inputs"], **outputs}, given, remote=True)
    pulumi.export(row["name"], {output: getattr(made, output) for output in outputs})
    last = [made]
"""
ASK = """
import collections, json, sys, time, urllib.error, urllib.request
found = []
for count, url, method, headers in json.loads(sys.argv[1]):
    answers, longest = collections.Counter(), 0
    for _ in range(count):
        start = time.monotonic()
        try:
            request = urllib.request.Request(url, method=method, headers=headers)
            with urllib.request.urlopen(request, timeout=20) as answer:
                answers[answer.read().decode().strip()] += 1
        except urllib.error.HTTPError as error:
            answers[str(error.code)] += 1
        longest = max(longest, time.monotonic() - start)
    found.append([answers, longest])
print(json.dumps(found))
"""
GREETER, CLOCK = f"http://greeter:{PORT}", f"http://clock:{PORT}"
ROUTE = {"namespace": NAMESPACE, "service": "greeter", "port": PORT}
WAYPOINT = {
    "kind": "Waypoint",
    "name": "waypoint",
    "inputs": {"namespace": NAMESPACE, "enroll": "services", "services": ["greeter", "clock"], "accessLog": True},
    "outputs": ["name", "address", "gatewayClass"],
}


def route(weight: int, **more: Any) -> dict[str, Any]:
    cohort = {"header": "x-team", "value": "testers", "backends": [{"name": "greeter-v2"}]}
    inputs = {**ROUTE, "baseline": "greeter-v1", "canary": "greeter-v2", "weight": weight, "cohorts": [cohort], **more}
    return {"kind": "CanaryRoute", "name": "greeter", "inputs": inputs}


POLICY = {
    "kind": "L7Policy",
    "name": "read-only",
    "inputs": {"namespace": NAMESPACE, "services": ["greeter"], "rules": [{"methods": ["GET"]}]},
}
CHAOS = {
    "kind": "ChaosRule",
    "name": "clock-faults",
    "inputs": {
        "namespace": NAMESPACE,
        "service": "clock",
        "port": PORT,
        "delay": {"seconds": 0.2},
        "abort": {"status": 418, "percent": 100},
        "retries": {"attempts": 2, "perTryTimeout": "500ms"},
    },
}


def pod(name: str, labels: dict[str, str], command: list[str], answer: str) -> dict[str, Any]:
    main = {"name": name, "image": "python:3.13-slim", "command": command, "env": [{"name": "ANSWER", "value": answer}]}
    if answer:
        main["readinessProbe"] = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    return made("Pod", name, NAMESPACE, labels=labels, spec={"terminationGracePeriodSeconds": 0, "containers": [main]})


def service(name: str, **selector: str) -> dict[str, Any]:
    return made("Service", name, NAMESPACE, spec={"selector": selector, "ports": [{"name": "http", "port": PORT}]})


def application() -> str:
    """Return the application as one document for `kubectl apply`."""
    run = ["python3", "-c", SERVER]
    items = [
        namespace(NAMESPACE, "ambient"),
        pod("greeter-v1", {"app": "greeter", "version": "v1"}, run, "good day"),
        pod("greeter-v2", {"app": "greeter", "version": "v2"}, run, "hi there"),
        pod("clock", {"app": "clock"}, run, "half past nine"),
        pod("client", {}, ["sleep", "infinity"], ""),
        service("greeter", app="greeter"),
        service("greeter-v1", app="greeter", version="v1"),
        service("greeter-v2", app="greeter", version="v2"),
        service("clock", app="clock"),
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def ask(kubectl: Kubectl, pod: str, namespace: str, *asked: tuple[int, str, str, dict[str, str]]) -> list[Any]:
    """Send requests from a Pod; return the answers and the longest time of each row: count, URL, method, headers."""
    text = kubectl("exec", "-n", namespace, pod, "--", "python3", "-c", ASK, json.dumps(asked)).stdout
    return [(collections.Counter(answers), longest) for answers, longest in json.loads(text)]


def live(kubectl: Kubectl) -> dict[str, Any]:
    """Return labels and specs of all objects that a stack of these tests may change."""
    kinds = "services,gateways,httproutes,virtualservices,authorizationpolicies,telemetries,configmaps,deployments"
    items = json.loads(kubectl("get", kinds, "-n", NAMESPACE, "-o", "json").stdout)["items"]
    items += [json.loads(kubectl("get", "namespace", NAMESPACE, "-o", "json").stdout)]
    return {
        f"{item['kind']}/{item['metadata']['name']}": (item["metadata"].get("labels"), item.get("spec"))
        for item in items
    }


def settled(kubectl: Kubectl) -> dict[str, Any]:
    """Return `live` once all objects of an earlier Gateway are collected."""
    end = time.monotonic() + COLLECTED_SECONDS
    what = "gateways.gateway.networking.k8s.io,deployments,services,serviceaccounts"
    while left := orphans(json.loads(kubectl("get", what, "-n", NAMESPACE, "-o", "json").stdout)["items"]):
        assert time.monotonic() < end, f"not collected: {left}"
        time.sleep(0.2)
    return live(kubectl)


def restored(kubectl: Kubectl, before: dict[str, Any]) -> None:
    """Wait until all is as before: objects of a Gateway are collected after it."""
    end = time.monotonic() + COLLECTED_SECONDS
    while (now := live(kubectl)) != before and time.monotonic() < end:
        time.sleep(0.2)
    assert before == now
