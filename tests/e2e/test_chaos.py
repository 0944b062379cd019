"""Chaos with a seat belt, for real: composition, faults that end by themselves, retries, schedules."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chaos_scene import CLONE, UP, Scene, opened, until
from waypoint_lab.config.target import stack_config
from waypoint_lab.measure.client import Load

NAMESPACE = "bookinfo-backends"
JANE = {"end-user": "jane"}

FIFTH = {"weight": 20}
JANE = {"name": "end-user", "value": "jane"}


@pytest.fixture(scope="module")
def scene(cluster_state: Path, cluster_environment: dict[str, str]) -> Iterator[Scene]:
    with opened(cluster_state, cluster_environment) as found:
        yield found


@pytest.mark.timeout(240)
def test_a_canary_a_user_group_and_a_fault_go_together_under_one_owner(scene: Scene) -> None:
    settings = {"trafficApi": "virtual-service", "canary": {"weight": 20}, "fault": {"abort": {"percent": 12.5}}}
    scene.up("canary", "premium", "abort", **settings)
    seen = scene.verdicts()
    assert {name: round(seen[name]["declared"], 4) for name in ("everyone to the canary", "failures")} == {
        "everyone to the canary": 0.175,
        "failures": 0.125,
    }
    assert scene.again().returncode == 0


@pytest.mark.timeout(240)
def test_moving_between_the_forms_drops_no_request(scene: Scene) -> None:
    scene.up("canary", canary=FIFTH)
    load = Load(stack_config(CLONE), 300)
    try:
        scene.up("canary", canary=FIFTH, trafficApi="virtual-service")
        scene.up("canary", canary=FIFTH, trafficApi="gateway-api")
        scene.up("canary", "abort", canary=FIFTH, trafficApi="virtual-service", fault={"header": JANE})
        assert scene.share(503, 50, headers=JANE) > 0
        scene.up("canary", canary=FIFTH, trafficApi="gateway-api")
    finally:
        rows = load.stop()
    assert len(rows) > 500
    assert {200: len(rows)} == Counter(row.status for row in rows)
    assert {True} == {row.proxied for row in rows}


@pytest.mark.timeout(150)
def test_a_canary_that_is_turned_off_takes_no_request_with_it(scene: Scene) -> None:
    scene.up()
    load = Load(stack_config(CLONE), 300, 6, fresh_workers=3)
    try:
        for _ in range(3):
            scene.up("canary", canary={"weight": 50})
            scene.up()
    finally:
        rows = load.stop()
    assert len(rows) > 500
    assert {200: len(rows)} == Counter(row.status for row in rows)


@pytest.mark.timeout(150)
def test_a_fault_of_30_seconds_is_gone_at_35_although_nothing_runs(scene: Scene) -> None:
    settings = {"trafficApi": "virtual-service", "canary": {"weight": 100}}
    fault = {"abort": {"percent": 100}, "durationSeconds": 30}
    scene.up("canary", "abort", **settings, fault=fault)
    began = time.monotonic()
    assert scene.share(503, 20) == 1.0
    until(lambda: scene.share(200, 4) == 1.0, 40, "the fault is gone")
    lasted = time.monotonic() - began
    assert 28 <= lasted <= 35
    said = scene.run("pulumi", "up", "--yes", "--skip-preview", "--non-interactive").stdout
    assert "expired after 30 s, and is not injected again" in said
    assert scene.share(200, 50) == 1.0
    assert scene.again().returncode == 0
    assert "no failures" in scene.verdicts()
    assert "HITS NOTHING: the fault is over" in scene.lab("chaos", "--dry-run").stdout
    scene.up("canary", "abort", **settings, fault={**fault, "start": "once more"})
    assert scene.share(503, 20) == 1.0


@pytest.mark.timeout(240)
def test_fault_expiry_may_touch_one_object_only_and_weights_move_while_it_waits(scene: Scene) -> None:
    fault = {"abort": {"percent": 100}, "durationSeconds": 12, "at": "upstream"}
    common: dict[str, Any] = {"trafficApi": "virtual-service", "fault": fault}
    scene.up("canary", "abort", canary=FIFTH, **common)
    who = f"--as=system:serviceaccount:{NAMESPACE}:reviews-traffic-fault-expiry"
    may = ("kubectl", "auth", "can-i", "update", "-n", NAMESPACE, who)
    assert scene.run(*may, "virtualservices.networking.istio.io/reviews-traffic").stdout.strip() == "yes"
    assert scene.run(*may, "virtualservices.networking.istio.io/other").stdout.strip() == "no"
    scene.write("canary", "abort", canary={"weight": 40}, **common)
    assert scene.run("pulumi", *UP).returncode == 0
    until(lambda: scene.share(200, 8) == 1.0, 25, "the fault is gone")
    red = sum(row.identity == "red" for row in scene.send(1000)) / 1000
    assert 0.33 < red < 0.47, "the weight of the last update stays"


@pytest.mark.timeout(240)
def test_only_requests_with_the_header_are_hit_and_a_fault_that_is_hidden_is_reported(scene: Scene) -> None:
    scene.up("abort", fault={"abort": {"percent": 12.5}, "header": JANE})
    dry = scene.lab("chaos", "--dry-run")
    assert dry.returncode == 0
    assert "with the header end-user: jane: 12.5 % are answered with 503 by the waypoint" in dry.stdout
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
    given = json.dumps(route)
    assert subprocess.run(["kubectl", "apply", "-f", "-"], input=given, text=True, check=False).returncode == 0
    try:
        shown = scene.lab("chaos")
        assert shown.returncode == 1
        assert "HITS NOTHING: HTTPRoute other on the Service hides it" in shown.stdout
    finally:
        scene.run("kubectl", "delete", "httproute", "other", "-n", NAMESPACE)


@pytest.mark.timeout(240)
def test_real_traffic_that_is_hit_is_counted_apart_from_the_labs_own(scene: Scene) -> None:
    scene.up("abort", fault={"abort": {"percent": 100}})
    url = "http://reviews.bookinfo-backends:9080/reviews/0"
    get = f"import urllib.request as u\nfor _ in range(7):\n try: u.urlopen('{url}')\n except Exception: pass"
    pod = ("kubectl", "exec", "-n", "bookinfo-frontends", "deploy/productpage-v1", "--", "python3", "-c", get)
    assert scene.run(*pod).returncode == 0

    def counted() -> bool:  # Envoy writes its access log in intervals
        seen = json.loads(scene.lab("chaos", "--dry-run", "--json").stdout)["traffic"]
        return bool(seen["requests"] >= 7 and seen["hit"] >= 7)

    until(counted, 20, "seven requests in the access log")


@pytest.mark.timeout(240)
def test_writes_are_retried_only_where_they_are_asked_for(scene: Scene) -> None:
    fault = {"at": "upstream", "abort": {"percent": 50}}
    scene.up("abort", "retries", fault=fault)
    assert scene.share(503, 1000) < 0.1
    assert 0.4 < scene.share(503, 1000, method="POST") < 0.6
    scene.up("abort", "retries", fault=fault, retries={"writes": True})
    assert scene.share(503, 1000, method="POST") < 0.1
    scene.up("abort", "retries", fault=fault, retries={"budgetPercent": 0})
    assert scene.share(503, 1000, workers=40) > 0.2, "three retries at a time are not enough for forty clients"


ANSWERS = """
import json, urllib.request as u
for _ in range(40):
    said = u.urlopen('http://reviews.bookinfo-backends:9080/reviews/PATH').headers
    print(json.dumps({k.lower(): v for k, v in said.items()}))"""


def answers(scene: Scene, path: str) -> list[dict[str, str]]:
    """The headers of forty answers to the client's own Pod."""
    pod = ("kubectl", "exec", "-n", "bookinfo-frontends", "deploy/productpage-v1", "--", "python3", "-c")
    return [json.loads(line) for line in scene.run(*pod, ANSWERS.replace("PATH", path)).stdout.splitlines()]


def logged(scene: Scene, version: str, path: str) -> list[str]:
    """Lines of a backend's own access log about requests for this path."""
    said = scene.run("kubectl", "logs", "-n", NAMESPACE, f"deploy/reviews-{version}").stdout
    return [line for line in said.splitlines() if f'/reviews/{path}"' in line]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("api", ["gateway-api", "virtual-service"])
def test_mirrors_headers_and_users_that_stay(scene: Scene, api: str) -> None:
    book = {"gateway-api": "71", "virtual-service": "72"}[api]
    extras = {
        "mirrorPercent": 100,
        "responseHeaders": {"x-lab": "yes"},
        "requestHeaders": {"end-user": "changed"},
    }
    affinity = {"sessionAffinity": {"maxAgeSeconds": 600}}
    scene.up("canary", trafficApi=api, canary={"weight": 50, **affinity, **extras})
    assert scene.verdicts()["with the cookie to the canary"]["measured"] == 1.0
    seen = answers(scene, book)
    assert len(seen) == 40
    assert {"yes"} == {headers["x-lab"] for headers in seen}
    cookies = {headers.get("set-cookie", "none").partition(";")[0] for headers in seen}
    assert cookies == {"waypoint-lab-backend=reviews-stable", "none"}, "only those on the canary get the cookie"
    until(lambda: len(logged(scene, "v3", book)) >= 40, 5, "each request at the canary, its own or a copy")
    assert all("changed" in line for line in logged(scene, "v1", book))
    scene.up("canary", trafficApi=api, canary={"weight": 0, **affinity})
    rows = scene.send(50, headers={"cookie": "waypoint-lab-backend=reviews-stable"})
    assert {"none"} == {row.identity for row in rows}, "a rollback takes those back who stayed"


@pytest.mark.timeout(240)
def test_a_limit_of_each_try_cuts_slow_tries(scene: Scene) -> None:
    slow = {"at": "upstream", "delay": {"seconds": 3}}
    scene.up("delay", "retries", fault=slow, retries={"attempts": 1, "perTryTimeout": "300ms"})
    rows = scene.send(40, workers=20)
    assert {504} == {row.status for row in rows}
    assert 0.6 <= sorted(row.seconds for row in rows)[20] <= 0.9, "two tries of 0.3 s, and a pause of at most 25 ms"
    limits = {"retries": {"attempts": 3, "perTryTimeout": "300ms"}, "app": {"requestTimeout": "500ms"}}
    scene.up("delay", "retries", fault=slow, **limits)
    rows = scene.send(40, workers=20)
    assert 0.5 <= sorted(row.seconds for row in rows)[20] <= 0.7, "the limit of the whole request comes first"


@pytest.mark.timeout(240)
def test_a_guard_of_layer_4_is_accepted_for_ztunnel_and_said_to_be_enforced_by_nothing_here(scene: Scene) -> None:
    said = scene.up(waypoint={"failClosed": True})
    assert "no ztunnel is in this cluster, so nothing enforces it" in said
    what = ("kubectl", "get", "authorizationpolicy", "reviews-fail-closed", "-n", NAMESPACE, "-o", "json")
    policy = json.loads(scene.run(*what).stdout)
    assert {row["type"]: row["status"] for row in policy["status"]["conditions"]} == {"ZtunnelAccepted": "True"}
    found = json.loads(scene.run("istioctl", "analyze", "-n", NAMESPACE, "-o", "json").stdout or "[]")
    # IST0127 looks for an annotation that Istio's CNI agent writes on each Pod; there is none here.
    assert {row["code"] for row in found} <= {"IST0127"}
    assert scene.share(200, 100) == 1.0
