"""Commands that users of a cluster are used to: load balancers, validation, istiod's Pod, istioctl."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.embedded.manifests import made
from tests.embedded.test_kubectl_streams import fetch, forwarded

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
NAMESPACE = "habits-test"
WAIT_SECONDS = 30.0
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", autouse=True)
def _namespace(kubectl: Kubectl) -> Iterator[None]:
    kubectl("create", "namespace", NAMESPACE)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def until(what: str, question: Callable[[], Any]) -> Any:
    """Return the first answer of `question` that is true."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := question()):
        assert time.monotonic() < end, f"waited {WAIT_SECONDS:g} s in vain until {what}"
        time.sleep(0.2)
    return found


# Load balancer.


def test_ingress_gateway_has_an_address_that_answers(kubectl: Kubectl) -> None:
    line = kubectl("get", "service", "ingress-istio", "-n", "istio-system", "--no-headers").stdout
    address = line.split()[3]  # as the lab's own `awk '{print $4}'` takes it
    assert address.startswith("127."), line
    kubectl("wait", "-n", "istio-system", "gateway/ingress", "--for=condition=Programmed", "--timeout=30s")
    status = json.loads(kubectl("get", "service", "ingress-istio", "-n", "istio-system", "-o", "json").stdout)["status"]
    ports = {each["port"]: each for each in status["loadBalancer"]["ingress"][0]["ports"]}
    port = 80 if "error" not in ports[80] else 8080
    with urllib.request.urlopen(f"http://{address}:{port}/productpage", timeout=20) as page:
        assert page.status == 200


def test_load_balancer_of_a_service_comes_and_goes(kubectl: Kubectl) -> None:
    web = {"name": "web", "image": "python:3.12", "command": ["python3", "-m", "http.server", "8000"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [web], "terminationGracePeriodSeconds": 0},
    }
    kubectl("apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(pod))
    kubectl("expose", "-n", NAMESPACE, "pod/web", "--type=LoadBalancer", "--port=8088", "--target-port=8000")
    kubectl("wait", "-n", NAMESPACE, "pod/web", "--for=condition=Ready", "--timeout=30s")
    get = ("get", "service", "web", "-n", NAMESPACE, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
    address = until("the Service has an address", lambda: kubectl(*get).stdout)

    def page() -> str:
        try:
            return fetch(f"http://{address}:8088/")
        except OSError:
            return ""

    until("it answers", lambda: "Directory listing" in page())
    kubectl("delete", "service", "web", "-n", NAMESPACE)
    until("it is closed", lambda: not page())


def test_service_has_a_node_port_and_session_affinity(kubectl: Kubectl) -> None:
    serve = "hostname > /tmp/name; cd /tmp; exec python3 -m http.server 8000"
    server = {"name": "c", "image": "python:3.12", "command": ["sh", "-c", serve]}
    labels = {"app": "named"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [server], "terminationGracePeriodSeconds": 0}}
    deployment = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"port": 80, "targetPort": 8000}]
    service = {"type": "NodePort", "sessionAffinity": "ClientIP", "selector": labels, "ports": ports}
    items = [
        made("Deployment", "named", NAMESPACE, "apps/v1", spec=deployment),
        made("Service", "named", NAMESPACE, spec=service),
    ]
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    kubectl("rollout", "status", "-n", NAMESPACE, "deployment/named", "--timeout=30s")

    def names(address: str) -> set[str]:
        """Return the Pods that answer one of them, in 20 connections."""
        ask = f"""import urllib.request
for _ in range(20):
    print(urllib.request.urlopen("http://{address}/name", timeout=10).read().decode().strip())"""
        execute = ("exec", "-n", NAMESPACE, "deployment/named", "--", "python3", "-c", ask)
        return {*kubectl(*execute, check=False).stdout.split()}

    port = kubectl("get", "service", "named", "-n", NAMESPACE, "-o", "jsonpath={.spec.ports[0].nodePort}").stdout
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}").stdout
    until("one Pod answers", lambda: len(names("named")) == 1)
    until("one Pod answers at the node's port", lambda: len(names(f"{node}:{port}")) == 1)
    kubectl("patch", "service", "named", "-n", NAMESPACE, "-p", '{"spec":{"sessionAffinity":"None"}}')
    until("all Pods answer", lambda: len(names("named")) == 3)


# Istio's validation.


def _virtual_service(http: dict[str, Any]) -> str:
    meta = {"name": "checked", "namespace": NAMESPACE}
    spec = {"hosts": ["reviews"], "http": [http]}
    return json.dumps(
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta, "spec": spec}
    )


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ({"fault": {"abort": {"httpStatus": 503, "percentage": {"value": 150}}}}, "percentage"),
        ({"fault": {"abort": {"httpStatus": 5030, "percentage": {"value": 50}}}}, "5030"),
        (None, "route"),
    ],
)
def test_invalid_virtual_service_is_refused(kubectl: Kubectl, http: dict[str, Any] | None, said: str) -> None:
    route = {"route": [{"destination": {"host": "reviews"}}]}
    given = _virtual_service(http | route if http else {"name": "without"})

    def refused() -> str:  # istiod turns its webhook on a moment after its start
        done = kubectl("apply", "--dry-run=server", "-f", "-", given=given, check=False)
        return done.stderr if done.returncode else ""

    error = until("it is refused", refused)
    assert "validation.istio.io" in error, error
    assert said in error, error


def test_valid_virtual_service_is_accepted(kubectl: Kubectl) -> None:
    given = _virtual_service({"route": [{"destination": {"host": "reviews"}}]})
    assert "created" in kubectl("apply", "--dry-run=server", "-f", "-", given=given).stdout


# istiod and the node proxy as Pods.


def test_istiod_and_node_proxy_are_ready_pods_with_logs(kubectl: Kubectl) -> None:
    for label in ("app=istiod", "app=ztunnel"):
        kubectl("wait", "-n", "istio-system", "pod", "-l", label, "--for=condition=Ready", "--timeout=30s")
        assert kubectl("logs", "-n", "istio-system", "-l", label, "--tail=1").returncode == 0
    assert "info" in kubectl("logs", "-n", "istio-system", "istiod-waypoint-lab").stdout.lower()
    kubectl("delete", "pod", "-n", "istio-system", "istiod-waypoint-lab", "--grace-period=1")
    for condition in ("create", "condition=Ready"):
        kubectl("wait", "-n", "istio-system", "pod/istiod-waypoint-lab", f"--for={condition}", "--timeout=60s")


def test_istiod_metrics_are_reached_by_port_forward(cluster_environment: dict[str, str]) -> None:
    for target in ("pod/istiod-waypoint-lab", "service/istiod"):
        with forwarded(cluster_environment, target, 15014, "istio-system") as url:
            assert "pilot_xds" in fetch(f"{url}metrics")


def _istioctl(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["istioctl", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_istioctl_shows_versions_and_proxies(cluster_environment: dict[str, str]) -> None:
    version = _istioctl(cluster_environment, "version")
    assert "control plane version" in version.stdout, version.stdout + version.stderr
    status = _istioctl(cluster_environment, "proxy-status")
    assert "ingress-istio" in status.stdout, status.stdout + status.stderr
    routes = _istioctl(cluster_environment, "proxy-config", "routes", "deploy/ingress-istio", "-n", "istio-system")
    assert "productpage" in routes.stdout, routes.stdout + routes.stderr
