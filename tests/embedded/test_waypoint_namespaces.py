"""A waypoint in one namespace that serves a Service of another, with its policy, its route and its migration."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Kubectl
from tests.embedded.pulumi_program import Program

SHARED, BACKENDS = "shared-waypoints", "bookinfo-backends"
PROGRAM = f"""
import json
import pathlib

import pulumi

from components import CanaryRoute, KubernetesObject, L7Policy, Waypoint

given = json.loads(pathlib.Path("waypoint.json").read_text())
place = {{"apiVersion": "v1", "kind": "Namespace", "metadata": {{"name": "{SHARED}"}}}}
namespace = KubernetesObject("namespace", place).metadata["name"]
enrolled = {{"enroll": "services", "services": ["{BACKENDS}/details"]}}
needed = pulumi.ResourceOptions(depends_on=[Waypoint("shared", {{"namespace": namespace, **enrolled, **given}})])
L7Policy("get", {{"namespace": "{BACKENDS}", "services": ["details"], "rules": [{{"methods": ["GET"]}}]}}, needed)
route = {{"namespace": "{BACKENDS}", "service": "details", "port": 9080, "backends": [{{"name": "details"}}]}}
CanaryRoute("details", {{**route, "response_headers": {{"set": {{"x-shared": "yes"}}}}}}, needed)
"""
ASK = """
import http.client

connection = http.client.HTTPConnection("details.bookinfo-backends", 9080, timeout=10)
for method in ("GET", "POST"):
    connection.request(method, "/details/0", headers={"connection": "close"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    print(answer.status, answer.headers["x-shared"])
"""


@pytest.fixture
def program(tmp_path: Path, cluster_environment: dict[str, str]) -> Iterator[Program]:
    made = Program(tmp_path, cluster_environment)
    (made.folder / "__main__.py").write_text(textwrap.dedent(PROGRAM))
    yield made
    made.destroy()


def write(program: Program, **given: object) -> None:
    (program.folder / "waypoint.json").write_text(json.dumps(given))


def answers(kubectl: Kubectl) -> list[str]:
    """Return status and header of a GET and a POST by a client in a third namespace."""
    where = ("exec", "-n", "bookinfo-frontends", "deploy/productpage-v1")
    return kubectl(*where, "--", "python3", "-c", ASK).stdout.splitlines()


def labels(kubectl: Kubectl) -> dict[str, str]:
    """Return the labels of the Service that enroll it."""
    found = json.loads(kubectl("get", "service", "details", "-n", BACKENDS, "-o", "json").stdout)
    return {name: text for name, text in found["metadata"]["labels"].items() if name.startswith("istio.io/use-")}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_waypoint_of_another_namespace_enforces_and_migrates(program: Program, kubectl: Kubectl) -> None:
    write(program)
    program.up()
    assert labels(kubectl) == {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": SHARED}
    assert answers(kubectl) == ["200 yes", "403 yes"]
    program.up("--expect-no-changes")

    write(program, canary={"gateway": "next", "weight": 100})
    program.up()
    write(program, gateway="next")
    program.up()
    assert labels(kubectl) == {"istio.io/use-waypoint": "next", "istio.io/use-waypoint-namespace": SHARED}
    assert answers(kubectl) == ["200 yes", "403 yes"]

    program.destroy()
    assert labels(kubectl) == {}
    assert answers(kubectl)[0] == "200 None"
    assert kubectl("get", "namespace", SHARED, check=False).returncode != 0
