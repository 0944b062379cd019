"""`lab guard` around changes with real traffic: bad ones fail with their evidence, a harmless one passes."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.scene import NAMESPACE, UP, Scene, lab, until

SERVICE = f"reviews.{NAMESPACE}.svc.cluster.local"
# Users: at most 100 requests a second, until standard input ends, 200 seconds at most.
USERS = f"""
import http.client, select, sys, time
end, connection = time.time() + 200, None
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
ROUTE_KEYS = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}


def document(keys: dict[str, str], name: str, spec: dict[str, Any]) -> str:
    """Return an object as a command takes it."""
    return json.dumps({**keys, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})


def http_route(backend: str, **rule: Any) -> str:
    """Return an HTTPRoute of the Service to one backend."""
    parent = {"group": "", "kind": "Service", "name": "reviews", "port": 9080}
    rules = [{"backendRefs": [{"name": backend, "port": 9080}], **rule}]
    return document(ROUTE_KEYS, "guarded", {"parentRefs": [parent], "rules": rules})


def header(value: str) -> dict[str, Any]:
    """Return the filter of a rule that sets a header of each request."""
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-guarded", "value": value}]}}


EMPTY = document(
    {"apiVersion": "v1", "kind": "Service"},
    "empty",
    {"ports": [{"name": "http", "port": 9080}], "selector": {"app": "nobody"}},
)
MISSPELT = document(
    {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"},
    "guarded",
    {"hosts": [SERVICE], "http": [{"route": [{"destination": {"host": f"reviewz.{NAMESPACE}.svc.cluster.local"}}]}]},
)
REFUSING = document(
    {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy"},
    "guarded",
    {"targetRefs": [{"group": "", "kind": "Service", "name": "reviews"}]},
)


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
    users.communicate(timeout=20)
    scene.run("kubectl", "delete", "service", "empty", "--namespace", NAMESPACE)
    scene.clear()


def guard(scene: Scene, given: str, *options: str) -> tuple[int, dict[str, Any]]:
    """Guard the application of an object. Return the exit status and the document."""
    return guarded(scene, *options, "--", "sh", "-c", shell(given))


def guarded(scene: Scene, *options: str) -> tuple[int, dict[str, Any]]:
    """Guard a command. Return the exit status and the document."""
    done = scene.run(*lab("guard", "--seconds", "5", "--stack", scene.stack, "--json", *options))
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


def test_guard_passes_a_harmless_change_in_the_cluster_of_a_kubeconfig(busy: Scene) -> None:
    context = busy.run("kubectl", "config", "current-context").stdout.strip()
    cluster = ("--kubeconfig", busy.environment["KUBECONFIG"], "--context", context, "--namespace", NAMESPACE)
    change = ("--", "sh", "-c", shell(http_route("reviews", filters=[header("harmless")])))
    elsewhere = ("env", "KUBECONFIG=/nowhere")  # the command gets the kubeconfig that is watched
    done = busy.run(*elsewhere, *lab("guard", "--seconds", "5", "--json", *cluster, *change))
    remove(busy, "httproute")
    assert done.returncode == 0, done.stdout + done.stderr
    assert failed(json.loads(done.stdout)) == {}


def test_guard_rolls_back_a_route_to_a_service_without_endpoints(busy: Scene) -> None:
    undo = f"kubectl delete httproute guarded --namespace {NAMESPACE}"
    status, result = guard(busy, http_route("empty"), "--rollback", undo)
    found = failed(result)
    assert status == 1, result
    assert "went silent" in found["rate", "reviews:9080"]
    assert f"empty.{NAMESPACE}.svc.cluster.local:9080, which has no healthy endpoint" in found["route", "reviews:9080"]
    assert result["rollback"]["restored"] is True


def test_guard_catches_a_misspelt_service(busy: Scene) -> None:
    status, result = guard(busy, MISSPELT)
    remove(busy, "virtualservice")
    assert status == 1, result
    assert "went silent" in failed(result)["rate", "reviews:9080"]
    assert "reviewz" in failed(result)["route", "reviews:9080"]


def test_guard_catches_a_policy_that_refuses_everything(busy: Scene) -> None:
    status, result = guard(busy, REFUSING)
    remove(busy, "authorizationpolicy")
    assert status == 1, result
    assert "went silent" in failed(result)["rate", "reviews:9080"]
    assert "authorization policies refused" in failed(result)["rate", "reviews:9080"]


def test_guard_catches_a_header_value_that_envoy_rejects(busy: Scene) -> None:
    status, result = guard(busy, http_route("reviews", filters=[header("%NOT_A_FORMATTER%")]))
    remove(busy, "httproute")
    assert status == 1, result
    ((kind, pod),) = failed(result)
    assert kind == "configuration"
    assert "NOT_A_FORMATTER" in failed(result)[kind, pod]


def test_guard_with_an_update_of_the_stack_takes_the_declared_share_from_it(busy: Scene) -> None:
    busy.write("canary", canary={"weight": 30})
    status, result = guarded(busy, "--", *UP, "--stack", busy.stack)
    assert (status, failed(result)) == (0, {}), result
    (share,) = [item for item in result["differences"] if item["kind"] == "share"]
    assert share["evidence"].startswith("expected 30 % of the requests, measured ")
