"""The component package as the engine hosts it, and the example, on a cluster."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.project import PROJECT_FOLDER
from tests.conftest import Kubectl
from tests.documented import documented
from tests.embedded.package_scene import (
    CHAOS,
    CLOCK,
    GREETER,
    NAMESPACE,
    POLICY,
    PORT,
    PROGRAM,
    ROUTE,
    WAYPOINT,
    application,
    ask,
    live,
    restored,
    route,
    settled,
)
from tests.embedded.pulumi_program import Program
from waypoint_lab.measure.statistics import binomial_interval

YES = "--yes --skip-preview --suppress-progress"


@pytest.fixture(scope="module", autouse=True)
def _application(kubectl: Kubectl) -> Iterator[None]:
    kubectl("apply", "-f", "-", given=application())
    kubectl("wait", "-n", NAMESPACE, "pod", "--all", "--for=condition=Ready", "--timeout=50s")
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def program(tmp_path: Path, cluster_environment: dict[str, str]) -> Iterator[Program]:
    """Return a project beside a copy of the package, outside this clone."""
    made = Program(tmp_path, cluster_environment)
    made.environment.pop("PYTHONPATH")
    shutil.copytree(
        PROJECT_FOLDER / "components", tmp_path / "the-package", ignore=shutil.ignore_patterns("__pycache__", "venv")
    )
    (made.folder / "__main__.py").write_text(PROGRAM)
    plugin = {"name": "waypoint-lab", "path": "../the-package"}
    project = {"name": "plugin-test", "runtime": "python", "plugins": {"providers": [plugin]}}
    (made.folder / "Pulumi.yaml").write_text(json.dumps(project))
    yield made
    made.destroy()


@pytest.mark.timeout(600)
def test_remote_components_have_the_declared_effect_and_leave_nothing(program: Program, kubectl: Kubectl) -> None:
    before = settled(kubectl)
    program.write(WAYPOINT, route(25), POLICY, CHAOS)
    steps = program.preview()
    assert {"create"} == {step["op"] for step in steps}
    assert live(kubectl) == before
    program.up()
    exported = json.loads(program.pulumi("stack", "output", "--json"))
    gateway = json.loads(kubectl("get", "gateway", "waypoint", "-n", NAMESPACE, "-o", "json").stdout)
    address = gateway["status"]["addresses"][0]["value"]
    assert exported["waypoint"] == {"name": "waypoint", "address": address, "gatewayClass": "istio-waypoint"}
    assert exported["clock-faults"] == {"name": "clock-faults"}
    (shares, _), (cohort, _), (refused, _), (failed, longest) = ask(
        kubectl,
        "client",
        NAMESPACE,
        (400, GREETER, "GET", {}),
        (40, GREETER, "GET", {"x-team": "testers"}),
        (10, GREETER, "DELETE", {}),
        (10, CLOCK, "GET", {}),
    )
    assert {"good day", "hi there"} == set(shares)
    assert binomial_interval(shares["hi there"], 400, 0.9999).holds(0.25), shares
    assert cohort == {"hi there": 40}
    assert refused == {"403": 10}
    assert failed == {"418": 10}
    assert longest >= 0.2
    program.up("--expect-no-changes")
    program.write(WAYPOINT, route(100), POLICY, CHAOS)
    changed = {step["urn"].split("::")[-1]: step["op"] for step in program.preview()}
    assert {name for name, op in changed.items() if op == "update"} == {"greeter", "greeter-route"}
    program.up()
    ((all_new, _),) = ask(kubectl, "client", NAMESPACE, (100, GREETER, "GET", {}))
    assert all_new == {"hi there": 100}
    program.destroy()
    restored(kubectl, before)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_hosted_components_without_their_pods_write_no_route(program: Program, kubectl: Kubectl) -> None:
    lost = {**ROUTE, "service": "clock", "backends": [{"name": "clock"}, {"name": "nobody"}], "limitSeconds": 2}
    program.write(WAYPOINT, {"kind": "CanaryRoute", "name": "lost", "inputs": lost})
    said = program.up(fails=True)
    assert "no Pod of nobody is ready" in said
    assert "HTTPRoute/lost" not in live(kubectl)
    fault = {**ROUTE, "abort": {"status": 418}, "duration": {"seconds": 300}, "limitSeconds": 5}
    kubectl("create", "quota", "full", "--hard=pods=1", "-n", NAMESPACE)
    program.write(WAYPOINT, {"kind": "ChaosRule", "name": "limited", "inputs": fault})
    said = program.up(fails=True)
    kubectl("delete", "quota", "full", "-n", NAMESPACE)
    assert "its Pod does not run yet, and no fault begins without it; last event: Error creating: pods" in said
    assert "exceeded quota" in said
    assert "VirtualService/limited" not in live(kubectl)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_pods_of_a_fault_fit_the_restricted_level_of_pod_security(program: Program, kubectl: Kubectl) -> None:
    program.write(WAYPOINT)
    program.up()
    upstream = {"faultAt": "upstream", "baseline": "greeter-v1"}
    fault = {**ROUTE, **upstream, "abort": {"status": 418}, "duration": {"seconds": 300}}
    label = "pod-security.kubernetes.io/enforce"
    kubectl("label", "namespace", NAMESPACE, f"{label}=restricted")
    try:
        refused = kubectl("run", "other", "--image=python:3.13-slim", "-n", NAMESPACE, check=False)
        assert 'violates PodSecurity "restricted:latest"' in refused.stderr
        program.write(WAYPOINT, {"kind": "ChaosRule", "name": "limited", "inputs": fault})
        program.up()
    finally:
        kubectl("label", "namespace", NAMESPACE, f"{label}-")
    ((answers, _),) = ask(kubectl, "client", NAMESPACE, (20, GREETER, "GET", {}))
    assert answers == {"418": 20}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_hosted_component_with_a_kubeconfig_uses_its_cluster(
    program: Program, kubectl: Kubectl, tmp_path: Path
) -> None:
    before = settled(kubectl)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(kubectl("config", "view", "--raw", "--flatten").stdout)
    program.environment["KUBECONFIG"] = str(tmp_path / "nowhere")
    project = {"name": "plugin-test", "runtime": "python", "packages": {"waypoint-lab": "../the-package"}}
    (program.folder / "Pulumi.yaml").write_text(json.dumps(project))
    given = {"kubeconfig": str(kubeconfig)}
    program.write({**WAYPOINT, "inputs": {**WAYPOINT["inputs"], **given}}, route(50, **given), provider=given)
    program.up()
    assert "Gateway/waypoint" in live(kubectl)
    program.up("--expect-no-changes")
    program.destroy()
    restored(kubectl, before)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (
            {**ROUTE, "baseline": "a", "canary": "b", "weight": 120},
            "CanaryRoute: weight is 120: it must be a number from 0 to 100",
        ),
        ({"service": "greeter", "port": PORT}, "CanaryRoute: namespace is missing: it must be given"),
    ],
)
def test_remote_component_with_a_bad_argument_is_refused_with_the_reason(
    program: Program, inputs: dict[str, Any], said: str
) -> None:
    program.write({"kind": "CanaryRoute", "name": "bad", "inputs": inputs})
    assert said in program.up(fails=True)
    assert program.state() == {}


@pytest.mark.slow
def test_package_commands_print_the_schema_or_a_fix(program: Program) -> None:
    printed = program.pulumi("package", "get-schema", "../the-package")
    found = json.loads(printed[printed.index("{\n") :])
    reviewed = json.loads((PROJECT_FOLDER / "components" / "schema.json").read_text())
    assert found["resources"].keys() == reviewed["resources"].keys()
    assert found["types"].keys() == reviewed["types"].keys()
    add = documented("docs/components.md", "pulumi package add ./components", {"./components": "../the-package"})
    said = program.pulumi(*shlex.split(add)[1:], fails=True)
    assert "generating an SDK takes the official pulumi-language-python" in said
    (program.folder.parent / "the-package" / "requirements.txt").write_text("no-such-package==1\n")
    said = program.pulumi("package", "get-schema", "../the-package", fails=True)
    assert "asks for no-such-package==1" in said


# The example.


@pytest.fixture
def example(tmp_path: Path, cluster_environment: dict[str, str]) -> Iterator[Program]:
    """Return the example beside a copy of the components, outside this clone."""
    made = Program(tmp_path, cluster_environment)
    made.environment.pop("PYTHONPATH")
    ignored = shutil.ignore_patterns("__pycache__", "venv", "Pulumi.dev.yaml")
    shutil.copytree(PROJECT_FOLDER / "components", tmp_path / "components", ignore=ignored)
    made.folder = tmp_path / "examples" / "greeter"
    shutil.copytree(PROJECT_FOLDER / "examples" / "greeter", made.folder, ignore=ignored)
    made.pulumi(*shlex.split(documented("examples/greeter/README.md", "pulumi stack init dev"))[1:])
    made.pulumi(*shlex.split(documented("examples/greeter/README.md", "pulumi install"))[1:])
    yield made
    made.destroy()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_example_has_the_declared_effect_and_leaves_nothing(example: Program, kubectl: Kubectl) -> None:
    update = shlex.split(documented("examples/greeter/README.md", "pulumi up", more=YES))[1:]
    example.pulumi(*update)
    rows = [
        (400, "http://greeter:8080", "GET", {}),
        (40, "http://greeter:8080", "GET", {"x-team": "testers"}),
        (10, "http://greeter:8080", "DELETE", {}),
        (60, "http://clock:8080", "GET", {}),
    ]
    (shares, _), (cohort, _), (refused, _), (clock, longest) = ask(kubectl, "deploy/client", "greetings", *rows)
    assert {"good day", "hi there"} == set(shares)
    assert binomial_interval(shares["hi there"], 400, 0.9999).holds(0.20), shares
    assert cohort == {"hi there": 40}
    assert refused == {"403": 10}
    assert {"half past nine", "503"} == set(clock)
    assert binomial_interval(clock["503"], 60, 0.9999).holds(0.5), clock
    assert longest >= 0.2
    example.up("--expect-no-changes")
    count = documented(
        "examples/greeter/README.md",
        "kubectl exec -n greetings deploy/client -- python3 -c '\n"
        "import collections, urllib.request\n"
        'ask = lambda: urllib.request.urlopen("http://greeter:8080").read().decode().strip()\n'
        "print(collections.Counter(ask() for _ in range(200)))'",
    )
    shell = ["sh", "-c", count]
    counted = subprocess.run(shell, env=example.environment, capture_output=True, text=True, check=True, timeout=60)
    assert {"good day", "hi there"} <= set(re.findall(r"'([^']+)': \d+", counted.stdout)), counted.stdout
    weight = documented("examples/greeter/README.md", "pulumi config set canaryWeight 50", {"50": "100"})
    example.pulumi(*shlex.split(weight)[1:])
    example.pulumi(*update)
    ((all_new, _),) = ask(kubectl, "deploy/client", "greetings", (100, "http://greeter:8080", "GET", {}))
    assert all_new == {"hi there": 100}
    destroy = documented("examples/greeter/README.md", "pulumi destroy", more=YES)
    example.pulumi(*shlex.split(destroy)[1:])
    gone = kubectl("get", "namespace", "greetings", check=False)
    assert "NotFound" in gone.stderr
    found = subprocess.run(
        ["pulumi", "stack", "export"], cwd=example.folder, env=example.environment, capture_output=True, text=True
    )
    assert "resources" not in json.loads(found.stdout)["deployment"]
