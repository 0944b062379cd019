"""ServiceEntries on the embedded cluster: names, addresses, waypoints, and what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.conftest import Kubectl
from tests.embedded import manifests
from tests.embedded.manifests import READY, WAITING, Object, made, namespace, pod, until

INSIDE, OUTSIDE, HOST = "egress", "egress-outside", "api.example.test"
# Prints the status of a GET and of a POST, or why there is none, and the address of the host.
ASK = f"""
import http.client, socket
for method in ("GET", "POST"):
    try:
        connection = http.client.HTTPConnection("{HOST}", timeout=5)
        connection.request(method, "/details/0")
        print(connection.getresponse().status)
    except socket.gaierror:
        print("unknown")
    except OSError:
        print("closed")
"""
pytestmark = pytest.mark.timeout(240)


def entry(name: str = "api", host: str = HOST, **spec: Any) -> Object:
    return manifests.entry(name, INSIDE, host, **spec)


class Place:
    """An enrolled namespace with a client, and a host of another namespace that stands for one outside the mesh."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        self.apply(
            namespace(INSIDE, "ambient"),
            namespace(OUTSIDE, "none"),
            pod("client", INSIDE, "productpage", **WAITING),
            pod("client", OUTSIDE, "productpage", **WAITING),
            pod("host", OUTSIDE, "details", **READY),
            made("Service", "host", OUTSIDE, spec={"selector": {"app": "host"}, "ports": [{"port": 9080}]}),
        )
        for space in (INSIDE, OUTSIDE):
            kubectl("wait", "-n", space, "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        self.address = kubectl("get", "pod", "host", "-n", OUTSIDE, "-o", "jsonpath={.status.podIP}").stdout

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))

    def expect(self, what: str, *wanted: str, client: str = INSIDE) -> None:
        """Wait until a client's GET and POST have these results."""
        command = ("exec", "-n", client, "client", "--", "python3", "-c", ASK)
        until(what, lambda: tuple(self.kubectl(*command).stdout.split()), wanted)


@pytest.fixture(scope="module")
def place(kubectl: Kubectl) -> Iterator[Place]:
    given = Place(kubectl)
    given.expect("no ServiceEntry", "unknown", "unknown")
    yield given
    for space in (INSIDE, OUTSIDE):
        kubectl("delete", "namespace", space, "--wait=false")


def test_entry_resolves_for_enrolled_pods_and_goes_through_its_waypoint(place: Place, kubectl: Kubectl) -> None:
    place.apply(entry(resolution="STATIC", endpoints=[{"address": place.address}]))
    place.expect("a host outside the mesh", "200", "400")
    place.expect("a Pod that is not enrolled", "unknown", "unknown", client=OUTSIDE)

    place.apply(manifests.waypoint(INSIDE))
    kubectl("wait", "-n", INSIDE, "--for=condition=Programmed", "gateway/waypoint", "--timeout=60s")
    kubectl("label", "serviceentry", "api", "-n", INSIDE, "istio.io/use-waypoint=waypoint")
    place.apply(manifests.allow_operation("get", INSIDE, "api", {"methods": ["GET"]}))
    place.expect("the waypoint's policy", "200", "403")

    # A name in place of the address, which Envoy resolves.
    place.apply(entry(resolution="DNS", endpoints=[{"address": f"host.{OUTSIDE}.svc.cluster.local"}]))
    place.expect("an endpoint with a name, through the waypoint", "200", "403")
    kubectl("label", "serviceentry", "api", "-n", INSIDE, "istio.io/use-waypoint-")
    place.expect("an endpoint with a name, without the waypoint", "200", "400")

    kubectl("delete", "serviceentry", "api", "-n", INSIDE)
    place.expect("the ServiceEntry is gone", "unknown", "unknown")


def test_entry_with_an_address_of_its_own_is_served_at_it(place: Place, kubectl: Kubectl) -> None:
    fixed = entry("fixed", addresses=["192.0.2.7"], resolution="STATIC", endpoints=[{"address": place.address}])
    place.apply(fixed)
    place.expect("its own address", "200", "400")
    found = json.loads(kubectl("get", "serviceentry", "fixed", "-n", INSIDE, "-o", "json").stdout)
    assert "addresses" not in found.get("status", {})
    kubectl("delete", "serviceentry", "fixed", "-n", INSIDE)
    place.expect("the ServiceEntry is gone", "unknown", "unknown")


@pytest.mark.parametrize(
    "spec",
    [
        {"resolution": "NONE"},
        {},
        {"resolution": "STATIC", "addresses": ["192.0.2.0/24"], "endpoints": [{"address": "192.0.2.1"}]},
        {"resolution": "STATIC", "endpoints": [{"network": "remote"}]},
    ],
)
def test_entry_that_the_node_cannot_carry_is_refused(place: Place, kubectl: Kubectl, spec: Object) -> None:
    done = kubectl("apply", "-f", "-", given=yaml.safe_dump(entry("other", **spec)), check=False)
    assert done.returncode
    assert "this node carries resolution STATIC and DNS" in done.stderr
    wildcard = entry("other", "*.example.test", resolution="STATIC", endpoints=[{"address": "192.0.2.1"}])
    assert "hosts without wildcard" in kubectl("apply", "-f", "-", given=yaml.safe_dump(wildcard), check=False).stderr
