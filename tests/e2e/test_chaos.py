"""Faults on the embedded cluster: with a canary, with an expiry, limited to users, and with retries."""

import json
import time
from typing import Any

import pytest

from embedded.control_plane.admission import LAYER_4
from tests.e2e.scene import NAMESPACE, PYTHON, Scene, failures, until

FIFTH = {"weight": 20}
JANE = {"name": "end-user", "value": "jane"}
pytestmark = pytest.mark.timeout(360)


@pytest.mark.slow
def test_virtual_service_with_canary_cohort_and_fault_has_declared_shares(scene: Scene) -> None:
    settings = {"trafficApi": "virtual-service", "canary": FIFTH, "fault": {"abort": {"percent": 12.5}}}
    scene.up("canary", "premium", "abort", **settings)
    declared = {name: round(item["declared"], 4) for name, item in scene.verdicts().items()}
    assert (declared["failures"], declared["everyone to the canary"]) == (0.125, 0.175)
    scene.assert_unchanged()


@pytest.mark.slow
def test_change_of_the_traffic_api_loses_no_request(scene: Scene) -> None:
    scene.up("canary", canary=FIFTH)
    load = scene.load()
    try:
        scene.up("canary", canary=FIFTH, trafficApi="virtual-service")
        scene.up("canary", canary=FIFTH)
        scene.up("canary", "abort", canary=FIFTH, trafficApi="virtual-service", fault={"header": JANE})
        assert scene.share(503, 50, end_user="jane") > 0
        scene.up("canary", canary=FIFTH)
        scene.up()
    finally:
        answers = load.stop()
    assert len(answers) > 500
    assert not failures(answers)
    assert all(one.proxied for one in answers)


@pytest.mark.slow
def test_fault_with_a_duration_expires_once(scene: Scene) -> None:
    settings: dict[str, Any] = {"trafficApi": "virtual-service", "canary": {"weight": 100}}
    fault = {"abort": {"percent": 100}, "durationSeconds": 20}
    began = time.monotonic()
    scene.up("canary", "abort", **settings, fault=fault)
    assert scene.share(503, 20) == 1.0
    until(lambda: scene.share(200, 4) == 1.0, 90, "the fault has expired")
    assert time.monotonic() - began >= 20
    assert "expired after 20 s, and is not injected again" in scene.apply().stdout
    assert scene.share(200, 50) == 1.0
    scene.assert_unchanged()
    assert "no failures" in scene.verdicts()
    shown = scene.lab("chaos", "check")
    assert shown.returncode == 1
    assert "HITS NOTHING: the fault" in shown.stdout
    scene.up("canary", "abort", **settings, fault={**fault, "start": "again"})
    assert scene.share(503, 20) == 1.0


@pytest.mark.slow
def test_expiry_changes_its_object_only_and_keeps_a_new_weight(scene: Scene) -> None:
    fault = {"abort": {"percent": 100}, "durationSeconds": 20, "at": "upstream"}
    common: dict[str, Any] = {"trafficApi": "virtual-service", "fault": fault}
    scene.up("canary", "abort", canary=FIFTH, **common)
    account = f"--as=system:serviceaccount:{NAMESPACE}:reviews-traffic-fault-expiry"
    may = ("kubectl", "auth", "can-i", "update", "-n", NAMESPACE, account)
    assert scene.run(*may, "virtualservices.networking.istio.io/reviews-traffic").stdout.strip() == "yes"
    assert scene.run(*may, "virtualservices.networking.istio.io/other").stdout.strip() == "no"
    scene.write("canary", "abort", canary={"weight": 40}, **common)
    assert scene.apply().returncode == 0
    until(lambda: scene.share(200, 8) == 1.0, 90, "the fault has expired")
    canary = sum(one.identity == "red" for one in scene.send(1000)) / 1000
    assert 0.33 < canary < 0.47


def test_fault_for_a_header_hits_no_others_unless_hidden(scene: Scene) -> None:
    scene.up("abort", fault={"abort": {"percent": 12.5}, "header": JANE})
    check = scene.lab("chaos", "check")
    assert check.returncode == 0, check.stdout + check.stderr
    assert "with the header end-user: jane: 12.5 % are answered with 503 by the waypoint" in check.stdout
    assert {"failures", "no failures of others"} <= set(scene.verdicts())
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "other", "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "reviews", "port": 9080}],
            "rules": [{"backendRefs": [{"name": "reviews", "port": 9080}]}],
        },
    }
    file = scene.folder / "other.json"
    file.write_text(json.dumps(route))
    assert scene.run("kubectl", "apply", "-f", str(file)).returncode == 0
    try:
        shown = scene.lab("chaos", "run")
        assert shown.returncode == 1
        assert "HITS NOTHING: HTTPRoute other on the Service hides it" in shown.stdout
        scene.write("abort", fault={"abort": {"percent": 25}, "header": JANE})
        said = scene.apply().stdout
        assert f"HTTPRoute {NAMESPACE}/other routes Service {NAMESPACE}/reviews, too" in said
    finally:
        scene.run("kubectl", "delete", "-f", str(file))


@pytest.mark.slow
def test_secret_header_of_a_fault_is_measured_and_hidden(scene: Scene) -> None:
    scene.write("abort", fault={"abort": {"percent": 50}, "header": JANE})
    scene.pulumi("config", "set", "--path", "fault.header.value", "jane-t0ken", "--secret")
    assert scene.apply().returncode == 0
    done = scene.lab("chaos", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "with the header end-user: [secret]" in done.stdout
    assert "t0ken" not in done.stdout + done.stderr + scene.file.read_text() + scene.pulumi("stack", "output")


def test_check_counts_requests_of_other_clients_that_are_hit(scene: Scene) -> None:
    scene.up("abort", fault={"abort": {"percent": 100}})
    url = "http://reviews.bookinfo-backends:9080/reviews/0"
    get = f"import urllib.request as u\nfor _ in range(7):\n try: u.urlopen('{url}')\n except Exception: pass"
    assert scene.run(*PYTHON, get).returncode == 0

    def counted() -> bool:  # Envoy writes its access log in intervals
        seen = json.loads(scene.lab("chaos", "check", "--json").stdout)["traffic"]
        return bool(seen["requests"] >= 7 and seen["hit"] >= 7)

    until(counted, 20, "seven requests are in the access log")


@pytest.mark.slow
def test_retries_repeat_declared_writes_within_their_budget(scene: Scene) -> None:
    fault = {"at": "upstream", "abort": {"percent": 50}}
    scene.up("abort", "retries", fault=fault)
    assert scene.share(503, 500) < 0.15
    assert 0.35 < scene.share(503, 500, method="POST") < 0.65
    scene.up("abort", "retries", fault=fault, retries={"writes": True})
    assert scene.share(503, 500, method="POST") < 0.15
    scene.up("abort", "retries", fault=fault, retries={"budgetPercent": 0})
    assert "failures, up to 50 %" in scene.verdicts()
    assert scene.share(503, 1000, workers=40) > 0.2, "three retries at a time are not enough for forty clients"


def test_timeouts_end_slow_tries_and_requests(scene: Scene) -> None:
    slow = {"at": "upstream", "delay": {"seconds": 3}}
    scene.up("delay", "retries", fault=slow, retries={"attempts": 1, "perTryTimeout": "300ms"})
    answers = scene.send(40, workers=20)
    assert {one.status for one in answers} == {504}
    # Two tries of 0.3 s, and a pause of at most 25 ms; Envoy's timers may fire some milliseconds early.
    assert 0.55 <= min(one.seconds for one in answers) <= 0.9
    limits = {"retries": {"attempts": 3, "perTryTimeout": "300ms"}, "app": {"requestTimeout": "500ms"}}
    scene.up("delay", "retries", fault=slow, **limits)
    assert 0.45 <= min(one.seconds for one in scene.send(40, workers=20)) <= 0.7


ANSWERS = """
import json, urllib.request as u
for _ in range(40):
    said = u.urlopen('http://reviews.bookinfo-backends:9080/reviews/PATH').headers
    print(json.dumps({k.lower(): v for k, v in said.items()}))"""


def backend_log(scene: Scene, version: str, path: str) -> list[str]:
    """Return the lines of a backend's own access log about a path."""
    lines = scene.run("kubectl", "logs", "-n", NAMESPACE, f"deploy/reviews-{version}").stdout.splitlines()
    return [line for line in lines if f'/reviews/{path}"' in line]


@pytest.mark.slow
@pytest.mark.parametrize(("api", "path"), [("gateway-api", "71"), ("virtual-service", "72")])
def test_mirror_headers_and_session_affinity_are_as_declared(scene: Scene, api: str, path: str) -> None:
    extras = {
        "mirrorPercent": 100,
        "responseHeaders": {"x-lab": "yes"},
        "requestHeaders": {"end-user": "changed"},
    }
    affinity = {"sessionAffinity": {"maxAgeSeconds": 600}}
    scene.up("canary", trafficApi=api, canary={"weight": 50, **affinity, **extras})
    assert scene.verdicts()["with the cookie to the canary"]["measured"] == 1.0
    seen = [json.loads(line) for line in scene.run(*PYTHON, ANSWERS.replace("PATH", path)).stdout.splitlines()]
    assert [headers["x-lab"] for headers in seen] == ["yes"] * 40
    cookies = {headers.get("set-cookie", "none").partition(";")[0] for headers in seen}
    (cookie,) = cookies - {"none"}
    assert cookie.startswith("waypoint-lab-backend=reviews-stable."), "only answers of the canary set the cookie"
    until(lambda: len(backend_log(scene, "v3", path)) >= 40, 5, "each request is at the canary, its own or a copy")
    assert all("changed" in line for line in backend_log(scene, "v1", path))
    scene.up("canary", trafficApi=api, canary={"weight": 0, **affinity})
    assert {one.identity for one in scene.send(50, cookie=cookie)} == {"none"}, "a rollback ends the session affinity"
    scene.up("canary", trafficApi=api, canary={"weight": 1, **affinity})
    again = [one.identity for one in scene.send(50, cookie=cookie)]
    assert again.count("red") < 10, "a cookie of an earlier rollout is ignored"


def test_fail_closed_refuses_what_bypasses_the_waypoint(scene: Scene) -> None:
    refusal = ("kubectl", "get", "validatingadmissionpolicy", LAYER_4, "--ignore-not-found")
    if message := scene.run(*refusal, "-o", "jsonpath={.spec.validations[0].message}").stdout:
        pytest.skip(message)
    said = scene.up(waypoint={"failClosed": True})
    assert "no ztunnel" not in said
    what = ("kubectl", "get", "authorizationpolicy", "reviews-fail-closed", "-n", NAMESPACE, "-o", "json")
    policy = json.loads(scene.run(*what).stdout)
    assert {row["type"]: row["status"] for row in policy["status"]["conditions"]} == {"ZtunnelAccepted": "True"}
    found = json.loads(scene.run("istioctl", "analyze", "-n", NAMESPACE, "-o", "json").stdout or "[]")
    assert found == []
    assert scene.share(200, 100) == 1.0
    address = (
        "kubectl",
        "get",
        "pods",
        "-n",
        NAMESPACE,
        "-l",
        "app=reviews",
        "-o",
        "jsonpath={.items[0].status.podIP}",
    )
    script = f"import urllib.request; urllib.request.urlopen('http://{scene.run(*address).stdout}:9080/reviews/0')"
    error = scene.run(*PYTHON, script).stderr
    # The end of the connection reaches the client before its request, or after it.
    closed = "closed connection" in error or "Connection reset" in error
    assert closed, f"a Pod refuses what does not come by the waypoint, but: {error}"
    label = ("kubectl", "label", "service", "reviews", "-n", NAMESPACE)
    scene.run(*label, "istio.io/use-waypoint=none")
    try:
        until(lambda: scene.share(200, 20) == 0.0, 30, "without the waypoint every request is refused")
    finally:
        scene.run(*label, "istio.io/use-waypoint-")
    until(lambda: scene.share(200, 20) == 1.0, 30, "with the waypoint requests are served again")
