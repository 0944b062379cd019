"""A workshop in order: deploy, enroll, expose, deny, allow, add a waypoint, call a host outside, read metrics."""

import http.client
import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from embedded.control_plane.admission import LAYER_4
from tests.conftest import Kubectl
from tests.embedded import manifests
from tests.embedded.manifests import Object, until
from tests.embedded.test_kubectl_streams import fetch, forwarded

NAMESPACE, OUTSIDE, HOST = "workshop", "workshop-outside", "store.example.test"
PORT = 9080
ASK = """
import sys, urllib.error, urllib.request
method, url = sys.argv[1:]
try:
    print(urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
except (OSError, urllib.error.URLError):
    print("refused")
"""
pytestmark = pytest.mark.timeout(180)


def _object(kind: str, name: str, api: str = "v1", **rest: Any) -> Object:
    return manifests.made(kind, name, NAMESPACE, api, **rest)


def _deployment(name: str, container: Object) -> Object:
    labels = {"app": name}
    pod = {"serviceAccountName": name, "terminationGracePeriodSeconds": 0, "containers": [{"name": name, **container}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return _object("Deployment", name, "apps/v1", spec={"selector": {"matchLabels": labels}, "template": template})


def _policy(name: str, *principals: str, **spec: Any) -> Object:
    """Return an ALLOW for service accounts of the namespace; without any it denies all."""
    names = [f"cluster.local/ns/{NAMESPACE}/sa/{each}" for each in principals]
    rules = [{"from": [{"source": {"principals": names}}]}] if names else []
    return _object(
        "AuthorizationPolicy", name, "security.istio.io/v1", spec={**({"rules": rules} if rules else {}), **spec}
    )


class Workshop:
    """The workshop's namespace: `store` serves; `cart` and `guest` call it."""

    def __init__(self, kubectl: Kubectl, environment: dict[str, str]) -> None:
        self.kubectl, self.environment = kubectl, environment

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def here(self, *arguments: str) -> str:
        """Run kubectl in the workshop's namespace; return its output."""
        return self.kubectl(arguments[0], "-n", NAMESPACE, *arguments[1:]).stdout.strip()

    def istioctl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["istioctl", *arguments, "-n", NAMESPACE],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def call(self, client: str, method: str = "GET", host: str = "store", path: str = "/details/0") -> str:
        """Return the status of a request from `client`, or `refused`."""
        given = ("exec", f"deploy/{client}", "--", "python3", "-c", ASK, method, f"http://{host}:{PORT}{path}")
        return self.here(*given)

    def expect(self, what: str, **wanted: str) -> None:
        """Wait until each client's GET has its answer."""
        until(what, lambda: {client: self.call(client) for client in wanted}, wanted)

    def pod_address(self) -> str:
        return self.here("get", "pods", "-l", "app=store", "-o", "jsonpath={.items[0].status.podIP}")


@pytest.fixture(scope="module")
def workshop(kubectl: Kubectl, cluster_environment: dict[str, str]) -> Iterator[Workshop]:
    """Return the workshop with its application deployed, and not enrolled."""
    made = Workshop(kubectl, cluster_environment)
    kubectl("create", "namespace", NAMESPACE)
    server = {"image": "docker.io/istio/examples-bookinfo-details-v1:1.20.3", "securityContext": {"runAsUser": 1000}}
    client = {"image": "python:3.12", "command": ["sleep", "3600"]}
    ports = [{"name": "http", "port": PORT}]
    made.apply(
        *(_object("ServiceAccount", name) for name in ("store", "cart", "guest")),
        _object("Service", "store", spec={"selector": {"app": "store"}, "ports": ports}),
        _deployment("store", server),
        _deployment("cart", client),
        _deployment("guest", client),
    )
    for name in ("store", "cart", "guest"):
        made.here("rollout", "status", f"deploy/{name}", "--timeout=60s")
    yield made
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_deployed_application_answers_its_clients_and_a_forwarded_port(workshop: Workshop) -> None:
    workshop.expect("deployed", cart="200", guest="200")
    with forwarded(workshop.environment, "service/store", PORT, NAMESPACE) as url:
        assert json.loads(fetch(f"{url}details/0"))["id"] == 0
    assert workshop.here("exec", "deploy/store", "--", "id", "-u") == "1000"


def test_exposed_application_answers_at_an_address_of_this_machine(workshop: Workshop) -> None:
    workshop.here("expose", "deploy/store", "--name=public", "--type=LoadBalancer", f"--port={PORT}")
    what = ("get", "service", "public", "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
    until("the load balancer has an address", lambda: workshop.here(*what).startswith("127."), True)

    def status() -> int:
        try:
            with urllib.request.urlopen(f"http://{workshop.here(*what)}:{PORT}/details/0", timeout=10) as answer:
                return int(answer.status)
        except (OSError, http.client.HTTPException):
            return 0

    until("it answers", status, 200)
    workshop.here("delete", "service", "public")


def test_enrolled_application_is_opened_step_by_step(workshop: Workshop) -> None:
    refusal = (
        "validatingadmissionpolicy",
        LAYER_4,
        "--ignore-not-found",
        "-o",
        "jsonpath={.spec.validations[0].message}",
    )
    if message := workshop.kubectl("get", *refusal).stdout:
        pytest.skip(message)
    workshop.kubectl("label", "namespace", NAMESPACE, "istio.io/dataplane-mode=ambient")
    workshop.expect("enrolled", cart="200", guest="200")
    workshop.apply(_policy("deny-all"))
    workshop.expect("deny all", cart="refused", guest="refused")
    selected = {"selector": {"matchLabels": {"app": "store"}}}
    workshop.apply(_policy("store", "cart", **selected))
    workshop.expect("the cart is allowed", cart="200", guest="refused")
    workshop.istioctl("waypoint", "apply", "--enroll-namespace", "--wait")
    workshop.expect("the waypoint is not allowed", cart="503", guest="503")
    workshop.apply(_policy("store", "waypoint", **selected))
    workshop.expect("the waypoint is allowed", cart="200", guest="200")
    assert workshop.call("cart", host=workshop.pod_address()) == "refused", "a call past the waypoint"
    target = {"targetRefs": [{"group": "", "kind": "Service", "name": "store"}]}
    reading = _policy("readers", "cart", **target)
    reading["spec"]["rules"][0]["to"] = [{"operation": {"methods": ["GET"]}}]
    workshop.apply(reading)
    workshop.expect("the cart may read", cart="200", guest="403")
    assert workshop.call("cart", "DELETE") == "403"


def test_egress_goes_through_the_waypoint_to_allowed_paths_only(workshop: Workshop) -> None:
    kubectl = workshop.kubectl
    kubectl("label", "namespace", NAMESPACE, "istio.io/dataplane-mode=ambient", "--overwrite")
    workshop.istioctl("waypoint", "apply", "--wait")
    workshop.apply(manifests.namespace(OUTSIDE, "none"), manifests.pod("host", OUTSIDE, "details", **manifests.READY))
    try:
        kubectl("wait", "-n", OUTSIDE, "--for=condition=Ready", "pod/host", "--timeout=60s")
        address = kubectl("get", "pod", "host", "-n", OUTSIDE, "-o", "jsonpath={.status.podIP}").stdout
        paths = ("/details/0", "/health")

        def expect(what: str, *wanted: str) -> None:
            until(what, lambda: tuple(workshop.call("cart", host=HOST, path=path) for path in paths), wanted)

        expect("no such host", "refused", "refused")
        entry = manifests.entry("outside", NAMESPACE, HOST, PORT, resolution="STATIC", endpoints=[{"address": address}])
        entry["metadata"]["labels"] = {"istio.io/use-waypoint": "waypoint"}
        workshop.apply(entry)
        expect("the host is known", "200", "200")
        workshop.apply(manifests.allow_operation("egress", NAMESPACE, "outside", {"paths": ["/details/*"]}))
        expect("one path is allowed", "200", "403")
        workshop.here("delete", "authorizationpolicy/egress", "serviceentry/outside")
        expect("the host is gone", "refused", "refused")
    finally:
        kubectl("delete", "namespace", OUTSIDE, "--wait=false")


def test_metrics_of_istiod_are_read_by_port_forward(workshop: Workshop) -> None:
    with forwarded(workshop.environment, "service/istiod", 15014, "istio-system") as url:
        assert "pilot_xds_pushes" in fetch(f"{url}metrics")
