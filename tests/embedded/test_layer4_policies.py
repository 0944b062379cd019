"""Policies of layer 4 on the embedded cluster: refused and allowed connections, directly and through a waypoint."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from embedded.control_plane import admission
from tests.conftest import Kubectl
from tests.embedded import manifests
from tests.embedded.manifests import READY, WAITING, Object, until

NAMESPACE = "layer4"
CLOSED = "closed"
ASK = """
import sys, urllib.error, urllib.request
for url in sys.argv[1:]:
    try:
        print(urllib.request.urlopen(url, timeout=5).status)
    except urllib.error.HTTPError as error:
        print(error.code)
    except (OSError, urllib.error.URLError):
        print("closed")
"""
CLIENT = f"cluster.local/ns/{NAMESPACE}/sa/client"
WAYPOINT = f"cluster.local/ns/{NAMESPACE}/sa/waypoint"
pytestmark = pytest.mark.timeout(240)


def made(kind: str, name: str, api: str = "v1", **rest: Any) -> Object:
    return manifests.made(kind, name, NAMESPACE, api, **rest)


def pod(name: str, image: str, labels: dict[str, str] | None = None, **container: Any) -> Object:
    return manifests.pod(name, NAMESPACE, image, labels, account=name, **container)


def policy(name: str, source: Object | None = None, operation: Object | None = None, **spec: Any) -> Object:
    """Return an AuthorizationPolicy of one rule for the server."""
    rule = {"from": [{"source": source}]} if source else {}
    rules = [{**rule, **({"to": [{"operation": operation}]} if operation else {})}]
    given = {"selector": {"matchLabels": {"app": "server"}}, "rules": rules, **spec}
    return made("AuthorizationPolicy", name, "security.istio.io/v1", spec=given)


class Place:
    """A namespace with a server and two clients; `outside` is not enrolled."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl
        server = {"selector": {"app": "server"}, "ports": [{"name": "http", "port": 9080}]}
        self.apply(
            manifests.namespace(NAMESPACE, "ambient"),
            *(made("ServiceAccount", name) for name in ("server", "client", "outside")),
            made("Service", "server", spec=server),
            pod("server", "details", **READY),
            pod("client", "productpage", **WAITING),
            pod("outside", "productpage", {"istio.io/dataplane-mode": "none"}, **WAITING),
        )
        kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        listed = json.loads(kubectl("get", "pods", "-n", NAMESPACE, "-o", "json").stdout)["items"]
        self.addresses = {item["metadata"]["name"]: item["status"]["podIP"] for item in listed}

    def apply(self, *objects: Object) -> None:
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))

    def delete(self, *objects: Object) -> None:
        self.kubectl("delete", "-f", "-", given=yaml.safe_dump_all(objects))

    def ask(self, client: str) -> tuple[str, str]:
        """Return the answers to requests through the Service, and to the server's address."""
        urls = [f"http://{host}:9080/details/0" for host in (f"server.{NAMESPACE}", self.addresses["server"])]
        done = self.kubectl("exec", "-n", NAMESPACE, client, "--", "python3", "-c", ASK, *urls)
        service, direct = done.stdout.split()
        return service, direct

    def expect(self, what: str, **wanted: tuple[str, str]) -> None:
        """Wait until each client gets its answers."""
        until(what, lambda: {client: self.ask(client) for client in wanted}, wanted)

    def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        """Return status and reason of a policy's conditions by type."""
        found = json.loads(self.kubectl("get", "authorizationpolicy", name, "-n", NAMESPACE, "-o", "json").stdout)
        rows = found.get("status", {}).get("conditions", [])
        return {row["type"]: (row["status"], row["reason"]) for row in rows}


OPEN, REFUSED = ("200", "200"), (CLOSED, CLOSED)


@pytest.fixture(scope="module")
def place(kubectl: Kubectl) -> Iterator[Place]:
    """Return the namespace; without policies, every client is served."""
    refusal = ("validatingadmissionpolicy", admission.LAYER_4, "--ignore-not-found")
    if message := kubectl("get", *refusal, "-o", "jsonpath={.spec.validations[0].message}").stdout:
        pytest.skip(message)
    given = Place(kubectl)
    given.expect("no policy", client=OPEN, outside=OPEN)
    yield given
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_layer4_policies_allow_and_deny_by_identity_and_port(place: Place) -> None:
    allow, deny = (
        policy("allow", {"principals": [CLIENT]}),
        policy("deny", operation={"ports": ["9080"]}, action="DENY"),
    )
    nobody = policy("nobody", selector=None, rules=[])
    del nobody["spec"]["rules"], nobody["spec"]["selector"]
    place.apply(nobody)
    place.expect("an empty policy of the namespace denies all", client=REFUSED, outside=REFUSED)
    place.apply(allow)
    place.expect("the client is allowed", client=OPEN, outside=REFUSED)
    assert place.conditions("allow") == {"ZtunnelAccepted": ("True", "Accepted")}
    place.apply(deny)
    place.expect("DENY comes first", client=REFUSED)
    place.delete(deny, nobody)
    place.apply(policy("allow", {"namespaces": [NAMESPACE]}))
    place.expect("the namespace is allowed", client=OPEN, outside=REFUSED)
    place.apply(policy("allow", {"ipBlocks": [place.addresses["outside"]]}))
    place.expect("the address is allowed", client=REFUSED, outside=OPEN)
    place.delete(allow)
    place.expect("no policy", client=OPEN, outside=OPEN)


def test_layer4_policy_of_the_root_namespace_selects_pods_everywhere(place: Place) -> None:
    deny = policy("layer4-deny", {"principals": [CLIENT]}, action="DENY")
    deny["metadata"]["namespace"] = "istio-system"
    place.apply(deny)
    place.expect("the root namespace denies the client", client=REFUSED, outside=OPEN)
    place.delete(deny)
    place.expect("no policy", client=OPEN)


def test_layer7_rules_never_allow_and_are_dropped_from_deny(place: Place) -> None:
    allow = policy("methods", {"principals": [CLIENT]}, {"methods": ["GET"]})
    place.apply(allow)
    place.expect("a rule of layer 7 never allows", client=REFUSED, outside=REFUSED)
    assert place.conditions("methods")["ZtunnelAccepted"][1] == "UnsupportedValue"
    place.delete(allow)
    deny = policy("methods", {"notPrincipals": [CLIENT]}, {"methods": ["GET"], "ports": ["9080"]}, action="DENY")
    place.apply(deny)
    place.expect("DENY without its methods", client=OPEN, outside=REFUSED)
    place.delete(deny)
    place.expect("no policy", outside=OPEN)


def test_peer_authentication_strict_refuses_plain_text(place: Place, kubectl: Kubectl) -> None:
    strict = made("PeerAuthentication", "strict", "security.istio.io/v1", spec={"mtls": {"mode": "STRICT"}})
    place.apply(strict)
    place.expect("only mTLS", client=OPEN, outside=REFUSED)
    found = kubectl("get", "pod", "server", "-n", NAMESPACE, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')]}")
    assert json.loads(found.stdout)["status"] == "True", "probes of the kubelet are exempt"
    ports = {"9080": {"mode": "PERMISSIVE"}}
    chosen = {"selector": {"matchLabels": {"app": "server"}}, "mtls": {"mode": "STRICT"}, "portLevelMtls": ports}
    place.apply(made("PeerAuthentication", "ports", "security.istio.io/v1", spec=chosen))
    place.expect("this port is exempt", client=OPEN, outside=OPEN)
    kubectl("delete", "peerauthentication", "strict", "ports", "-n", NAMESPACE)


@pytest.mark.slow
def test_waypoint_for_workloads_takes_connections_to_addresses_of_pods(place: Place, kubectl: Kubectl) -> None:
    gateway = manifests.waypoint(NAMESPACE)
    gateway["metadata"] |= {"name": "workloads", "labels": {"istio.io/waypoint-for": "workload"}}
    place.apply(gateway)
    kubectl("wait", "-n", NAMESPACE, "--for=condition=Programmed", "gateway/workloads", "--timeout=60s")
    allow = policy("allow", {"principals": [f"cluster.local/ns/{NAMESPACE}/sa/workloads"]})
    place.apply(allow)
    place.expect("only the waypoint is allowed", client=REFUSED, outside=REFUSED)
    kubectl("label", "pod", "server", "-n", NAMESPACE, "istio.io/use-waypoint=workloads")
    place.expect("the waypoint takes connections to the address", client=(CLOSED, "200"), outside=REFUSED)
    deny = policy("deny", operation={"methods": ["GET"]}, action="DENY")
    del deny["spec"]["selector"]
    deny["spec"]["targetRefs"] = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "workloads"}]
    place.apply(deny)
    place.expect("policies of the waypoint apply", client=(CLOSED, "403"))
    place.delete(deny)
    kubectl("label", "pod", "server", "-n", NAMESPACE, "istio.io/use-waypoint-")
    place.expect("without the waypoint", client=REFUSED)
    place.delete(gateway, allow)
    place.expect("no policy", client=OPEN, outside=OPEN)


def test_waypoint_reaches_pods_by_its_identity_and_cannot_be_bypassed(place: Place, kubectl: Kubectl) -> None:
    place.apply(manifests.waypoint(NAMESPACE))
    kubectl("wait", "-n", NAMESPACE, "--for=condition=Programmed", "gateway/waypoint", "--timeout=60s")
    kubectl("label", "service", "server", "-n", NAMESPACE, "istio.io/use-waypoint=waypoint")
    allow = policy("allow", {"principals": [CLIENT]})
    place.apply(allow)
    place.expect("the waypoint is not allowed", client=("503", "200"))
    place.apply(policy("allow", {"principals": [WAYPOINT]}))
    place.expect("only the waypoint is allowed", client=("200", CLOSED), outside=REFUSED)
    reference = {"targetRefs": [{"group": "", "kind": "Service", "name": "server"}], "selector": None}
    for client, answer in (("client", "200"), ("server", "403")):
        rule = policy("addresses", {"remoteIpBlocks": [place.addresses[client]]}, **reference)
        del rule["spec"]["selector"]
        place.apply(rule)
        place.expect(f"the waypoint allows the address of {client}", client=(answer, CLOSED))
    place.delete(rule)
    place.expect("every address", client=("200", CLOSED))
    place.delete(manifests.waypoint(NAMESPACE))
    place.expect("without the waypoint", client=REFUSED)
    place.delete(allow)
    place.expect("no policy", client=OPEN)
