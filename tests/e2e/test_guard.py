"""`lab guard` around changes with real traffic: bad ones fail with their evidence, a harmless one passes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documented import documented
from tests.e2e.guarded_objects import EMPTY, MISSPELT, REFUSING, SERVICE, header, http_route
from tests.e2e.scene import NAMESPACE, Scene, lab, until
from tests.embedded.pulumi_program import Program

# Users: at most 100 requests a second, until a line of standard input, 30 minutes at most.
USERS = f"""
import http.client, select, sys, time
end, connection = time.time() + 1800, None
while time.time() < end and not select.select([sys.stdin], [], [], 0.01)[0]:
    try:
        connection = connection or http.client.HTTPConnection("{SERVICE}", 9080, timeout=2)
        connection.request("GET", "/reviews/0")
        connection.getresponse().read()
    except OSError:
        connection = None
    except http.client.HTTPException:
        connection = None
"""
CLIENT = ("kubectl", "exec", "-i", "-n", "bookinfo-frontends", "deploy/productpage-v1", "--", "python3", "-c")
# Enough observations before a change to tell silence, even where each takes long.
OBSERVED = ("--seconds", "5", "--before-seconds", "10", "--p99-factor", "50", "--json")
QUICK = f"lab guard {' '.join(OBSERVED)}"


def shell(given: str) -> str:
    """Return the command of a shell that applies an object."""
    return f"kubectl apply --filename=- <<'END'\n{given}\nEND"


@pytest.fixture(scope="module")
def busy(scene: Scene) -> Iterator[Scene]:
    """Return the stack with a waypoint, while users send requests through it."""
    scene.clear()
    scene.up()
    assert scene.run("sh", "-c", shell(EMPTY)).returncode == 0
    users = subprocess.Popen([*CLIENT, USERS], stdin=subprocess.PIPE, env=scene.environment)
    yield scene
    users.communicate(b"\n", timeout=20)  # kubectl cannot close a stream that is older than a minute
    scene.run("kubectl", "delete", "service", "empty", "--namespace", NAMESPACE)
    scene.clear()


def guard(scene: Scene, given: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Guard the application of an object. Return the exit status and the document."""
    change = ("--", "sh", "-c", shell(given))
    done = scene.run(*lab("guard", *OBSERVED, "--stack", scene.stack, *options, *change))
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def documented_guard(scene: Scene, command: str) -> tuple[int, dict[str, Any]]:
    """Run a command of a document. Return the exit status and the document."""
    done = scene.run("sh", "-c", command)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def failed(result: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Return the evidence of the failed comparisons, by kind and place."""
    items = [item for item in result["differences"] if item["verdict"] == "failed"]
    return {(item["kind"], item["where"]): item["evidence"] for item in items}


def remove(scene: Scene, kind: str) -> None:
    """Delete an object, and wait until users' requests succeed again."""
    scene.run("kubectl", "delete", kind, "guarded", "--namespace", NAMESPACE)
    until(lambda: scene.share(200, 4, workers=1) == 1, 20, "requests succeed")


@pytest.mark.slow
def test_guard_passes_a_harmless_change_in_the_cluster_of_a_kubeconfig(busy: Scene) -> None:
    context = busy.run("kubectl", "config", "current-context").stdout.strip()
    (busy.folder / "route.yaml").write_text(http_route("reviews", filters=[header("harmless")]))
    command = documented(
        "docs/guard.md",
        "lab guard --namespace shop --context prod -- kubectl --context prod apply -f route.yaml",
        {"shop": NAMESPACE, "prod": context, "lab guard": f"{QUICK} --kubeconfig {busy.environment['KUBECONFIG']}"},
    )
    # The command gets the kubeconfig that is watched.
    status, result = documented_guard(busy, f"KUBECONFIG=/nowhere {command}")
    remove(busy, "httproute")
    assert status == 0, result
    assert failed(result) == {}


@pytest.mark.slow
def test_guard_expects_the_declared_share(busy: Scene) -> None:
    route = json.loads(http_route("reviews"))
    refs = route["spec"]["rules"][0]["backendRefs"]
    refs.append({"name": "reviews-stable", "port": 9080})
    (busy.folder / "canary.yaml").write_text(json.dumps(route))
    status, result = documented_guard(
        busy,
        documented(
            "docs/guard.md",
            "lab guard --expect reviews-stable=50% -- kubectl apply -f canary.yaml",
            {"lab guard": QUICK},
        ),
    )
    remove(busy, "httproute")
    assert (status, failed(result)) == (0, {}), result
    evidence = [item["evidence"] for item in result["differences"] if item["kind"] == "share"]
    assert any(text.startswith("expected 50 % of the requests, measured ") for text in evidence), evidence


@pytest.mark.slow
def test_outcome_around_a_harmless_change_passes(busy: Scene) -> None:
    (busy.folder / "route.yaml").write_text(http_route("reviews", filters=[header("harmless")]))
    observe = documented(
        "docs/guard.md", "lab outcome observe --namespace shop > before.json", {"shop": f"{NAMESPACE} --seconds 8"}
    )
    busy.shell(observe)
    busy.shell(documented("docs/guard.md", "kubectl apply -f route.yaml"))
    compare = documented("docs/guard.md", "lab outcome compare --before before.json", more="--seconds 5 --json")
    done = busy.run("sh", "-c", compare)
    remove(busy, "httproute")
    assert done.returncode == 0, done.stdout + done.stderr
    assert failed(json.loads(done.stdout)) == {}


def test_guard_rolls_back_a_route_to_a_service_without_endpoints(busy: Scene, tmp_path: Path) -> None:
    (busy.folder / "old.yaml").write_text(http_route("reviews"))
    (busy.folder / "new.yaml").write_text(http_route("empty"))
    command = documented(
        "docs/guard.md",
        "lab guard --rollback 'kubectl apply -f old.yaml' -- kubectl apply -f new.yaml",
        {"lab guard": f"{QUICK} --report {tmp_path / 'report'} --no-picture"},
    )
    status, result = documented_guard(busy, command)
    remove(busy, "httproute")
    found = failed(result)
    assert status == 1, result
    assert "went silent" in found["rate", "reviews:9080"]
    assert f"empty.{NAMESPACE}.svc.cluster.local:9080, which has no healthy endpoint" in found["route", "reviews:9080"]
    assert result["rollback"]["restored"] is True
    page = (tmp_path / "report" / "report.html").read_text()
    assert [
        text
        for text in ("went silent", "which has no healthy endpoint", "kubectl apply -f old.yaml")
        if text not in page
    ] == []


@pytest.mark.soak  # silence as above, by another cause
def test_guard_catches_a_misspelt_service(busy: Scene) -> None:
    (busy.folder / "route.yaml").write_text(MISSPELT)
    command = documented(
        "docs/own-service.md",
        "lab guard --namespace shop -- kubectl apply -f route.yaml",
        {"shop": NAMESPACE, "lab guard": QUICK},
    )
    status, result = documented_guard(busy, command)
    remove(busy, "virtualservice")
    assert status == 1, result
    assert "went silent" in failed(result)["rate", "reviews:9080"]
    assert "reviewz" in failed(result)["route", "reviews:9080"]


@pytest.mark.slow
def test_guard_catches_a_policy_that_refuses_everything(busy: Scene) -> None:
    status, result = guard(busy, REFUSING)
    remove(busy, "authorizationpolicy")
    assert status == 1, result
    assert "went silent" in failed(result)["rate", "reviews:9080"]
    assert "authorization policies refused" in failed(result)["rate", "reviews:9080"]


@pytest.mark.slow
def test_guard_catches_a_header_value_that_envoy_rejects(busy: Scene) -> None:
    status, result = guard(busy, http_route("reviews", filters=[header("%NOT_A_FORMATTER%")]))
    remove(busy, "httproute")
    assert status == 1, result
    ((kind, pod),) = failed(result)
    assert kind == "configuration"
    assert "NOT_A_FORMATTER" in failed(result)[kind, pod]


@pytest.mark.slow
def test_guard_with_an_update_of_the_stack_takes_the_declared_share_from_it(busy: Scene) -> None:
    busy.write("canary", canary={"weight": 30})
    update = documented("docs/guard.md", "lab guard -- pulumi up --yes", {"lab guard": QUICK}, "--skip-preview")
    status, result = documented_guard(busy, update)
    assert (status, failed(result)) == (0, {}), result
    (share,) = [item for item in result["differences"] if item["kind"] == "share"]
    assert share["evidence"].startswith("expected 30 % of the requests, measured ")


GATED = f"""
import json
import pulumi
from components import KubernetesObject, OutcomeGate, OutcomeObservation

config = pulumi.Config()
watched = {{"namespace": "{NAMESPACE}", "triggers": [config.require("change")], "seconds": 5}}
before = OutcomeObservation("before", watched)
route = json.loads(config.require("route"))
change = KubernetesObject("route", route, pulumi.ResourceOptions(depends_on=[before]))
OutcomeGate(
    "after", {{"observation": before.observation, "seconds": 5}}, pulumi.ResourceOptions(depends_on=[change])
)
pulumi.export("observation", before.observation)
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_outcome_gate_fails_an_update_until_its_traffic_is_well(busy: Scene, tmp_path: Path) -> None:
    program, missed = Program(tmp_path, busy.environment), "outcome: failed: reviews:9080: a route sends 100 % of its"
    (program.folder / "__main__.py").write_text(GATED)
    busy.up()  # without the canary of another test, whose older route would go first

    def up(change: str, backend: str, *, fails: bool = False) -> tuple[str, str]:
        program.pulumi("config", "set", "change", change)
        program.pulumi("config", "set", "route", http_route(backend))
        said = program.up(fails=fails)
        return said, program.pulumi("stack", "output", "observation")

    try:
        _, first = up("1", "reviews")
        said, second = up("2", "empty", fails=True)
        assert missed in said
        assert first != second, "another trigger observes anew"
        said, third = up("2", "empty", fails=True)
        assert missed in said
        assert second == third, "the same trigger compares with the same observation"
        assert up("2", "reviews")[1] == second
        assert "after-command" in program.resources("command:")
    finally:
        program.destroy()
    until(lambda: busy.share(200, 4, workers=1) == 1, 20, "requests succeed")
