"""The wait around a write: Services and waypoint before it, status and Envoy after it."""

import json
import re
import subprocess
from collections.abc import Sequence
from functools import partial
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import pulumi
import pytest

from components._internal import owners, sync, waits
from components._internal.api import ApiReadError
from components._internal.waits import Access
from tests.unit.components.recording import run_hooks

GATEWAY, CLASS = "gateway.networking.k8s.io/gateway-name", "gateway.networking.k8s.io/gateway-class-name"
LABELS = {"istio.io/use-waypoint": "waypoint"}
ACCEPTED = {"type": "WaypointAccepted", "status": "True", "reason": "Accepted"}


def policy(*services: str) -> dict[str, Any]:
    refs = [{"kind": "Service", "name": service} for service in services]
    metadata = {"name": "p", "namespace": "shop"}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": {"targetRefs": refs},
    }


def http_route(
    name: str, owner: str = "", port: int | None = 80, service: str = "cart", **parent: str
) -> dict[str, Any]:
    ref = {"kind": "Service", "name": service, **parent, **({"port": port} if port else {})}
    annotations = {owners.OWNER: owner} if owner else {}
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"parentRefs": [ref]},
    }


def virtual_service(
    name: str, host: str = "cart.shop.svc.cluster.local", port: int | None = 80, **spec: Any
) -> dict[str, Any]:
    rules = [{"match": [{"port": port}]} if port else {}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": [host], "http": rules, **spec},
    }


class Mesh:
    """A namespace that answers as kubectl does; answers of a list come in turn, the last one repeatedly."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {
            "cart": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
            "till": {"clusterIP": "10.96.0.2", "ports": [{"port": 80}]},
        }
        self.labels: dict[str, dict[str, str]] = {"shop": LABELS}
        self.pods = [("waypoint-1", "waypoint")]
        self.stats = {"waypoint-1": [(3, 0), (4, 0)]}  # successful and rejected updates of listeners
        self.connected = 1
        self.dump: dict[str, Any] = {}
        self.routes: list[dict[str, Any]] = []
        self.written: list[dict[str, Any]] = [self.status(2, ACCEPTED)]
        self.failing: dict[str, str] = {}  # message by a part of a command
        self.refusing: dict[str, int] = {}  # HTTP status by a part of a path
        self.commands: list[str] = []
        self.asked: set[tuple[str, str]] = set()  # namespace and name of Pods

    @staticmethod
    def status(generation: int, *conditions: dict[str, Any], observed: int | None = None) -> dict[str, Any]:
        seen = generation if observed is None else observed
        # As text, as istiod writes it for its own kinds.
        given = [{**condition, "observedGeneration": f"{seen}"} for condition in conditions]
        return {"metadata": {"generation": generation}, "status": {"conditions": given}}

    def __call__(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        _, _, verb, _, space, *rest = command
        assert verb == "exec"
        self.commands.append(" ".join([verb, *rest]))
        self.asked.add((space, rest[0]))
        for part, reason in self.failing.items():
            if part in self.commands[-1]:
                return subprocess.CompletedProcess(command, 1, "", reason)
        return subprocess.CompletedProcess(command, 0, self._exec(rest[0], rest[-1]), "")

    def read(self, command: Sequence[str], path: str) -> bytes:
        """Answer a GET request as the API server does."""
        found = self._answer(command, path)
        return found.encode() if isinstance(found, str) else json.dumps(found).encode()

    def _answer(self, _command: Sequence[str], path: str) -> Any:
        self.commands.append(path)
        if status := next((status for part, status in self.refusing.items() if part in path), 0):
            raise ApiReadError("refused", status)
        parts = urlsplit(path).path.split("/")
        version = "/".join(parts[2:4]) if parts[1] == "apis" else parts[2]
        space, kind, name = ([*parts[parts.index("namespaces") + 1 :], "", ""])[:3]
        if kind == "":
            return {"kind": "Namespace", "metadata": {"name": "shop", "labels": self.labels["shop"]}}
        if kind in ("httproutes", "grpcroutes", "virtualservices") and not name:
            found = [item for item in self.routes if f"{item['kind'].lower()}s" == kind]
            found = [item for item in found if item["metadata"]["namespace"] == space]
            # A list names kind and version once.
            items = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in found]
            return {"apiVersion": version, "items": items}
        if kind == "pods" and name:
            pod = name.removesuffix(":15090")
            self.asked.add((space, pod))
            return self._metrics(pod)
        if kind == "pods":
            labels = [{GATEWAY: gateway, CLASS: "istio-waypoint"} for _, gateway in self.pods]
            metas = [{"name": pod, "labels": found} for (pod, _), found in zip(self.pods, labels, strict=True)]
            return {"items": [{"metadata": meta} for meta in metas]}
        if kind == "services":
            if name not in self.services:
                raise ApiReadError(f'services "{name}" not found', 404)
            meta = {"name": name, "namespace": space, "labels": self.labels.get(name, {})}
            return {"kind": "Service", "metadata": meta, "spec": self.services[name]}
        assert kind in ("authorizationpolicies", "httproutes", "virtualservices")
        return self.written.pop(0) if len(self.written) > 1 else self.written[0]

    def _exec(self, pod: str, path: str) -> str:
        if path == "config_dump":
            return json.dumps(self.dump)
        answers = self.stats[pod]
        success, rejected = answers.pop(0) if len(answers) > 1 else answers[0]
        stream = f"cluster.xds-grpc;.upstream_rq_active: {self.connected}\n"
        lds = "listener_manager.lds.update"
        return f"{stream}{lds}_success: {success}\n{lds}_rejected: {rejected}\n"

    def _metrics(self, pod: str) -> str:
        lines = (line.split(": ") for line in self._exec(pod, "stats").splitlines())
        return "".join(f"envoy_{re.sub(r'[^a-z]', '_', name)}{{}} {value}\n" for name, value in lines)


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Mesh:
    found = Mesh()
    monkeypatch.setattr(waits, "run_kubectl", found)
    monkeypatch.setattr(waits, "read_api", found.read)
    monkeypatch.setattr(waits, "POLL_SECONDS", 0.001)
    return found


def write(document: dict[str, Any], generation: int = 2, old: int | None = 1, limit: float = 30) -> None:
    """Run the hooks around one write, as the engine does."""
    written = {**document, "metadata": {**document["metadata"], "generation": generation}}
    before = {**document, "metadata": {**document["metadata"], "generation": old}} if old else None
    make = partial(sync.hooks, "p", Access(), limit, waits.condition_problem("WaypointAccepted"))
    run_hooks(make, new_inputs=document, old_inputs=before, new_outputs=written, old_outputs=before)


def refused(document: dict[str, Any], **options: Any) -> str:
    with pytest.raises(RuntimeError) as caught:
        write(document, **{"limit": 0, **options})
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_write_waits_for_status_and_every_pod_of_the_waypoint(mesh: Mesh) -> None:
    mesh.pods = [("waypoint-1", "waypoint"), ("waypoint-2", "waypoint"), ("other-1", "other")]
    mesh.stats = {"waypoint-1": [(3, 0), (4, 0)], "waypoint-2": [(8, 0), (8, 0), (8, 0), (9, 0)]}
    mesh.written = [mesh.status(2, ACCEPTED, observed=1), mesh.status(2, ACCEPTED)]
    write(policy("cart"))
    assert sum("/waypoint-2:15090/" in line for line in mesh.commands) == 4  # before the write, and until the update
    assert mesh.asked == {("shop", "waypoint-1"), ("shop", "waypoint-2")}


def test_write_waits_for_the_waypoint_of_another_namespace_alone(mesh: Mesh) -> None:
    mesh.labels["cart"] = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "gateways"}
    write(policy("cart"))
    assert mesh.asked == {("gateways", "waypoint-1")}


def test_write_accepted_at_once_asks_envoy_twice_and_reads_each_object_once(mesh: Mesh) -> None:
    write(policy("cart", "till"))
    assert sorted(line.partition("?")[0] for line in mesh.commands) == [
        "/api/v1/namespaces/shop",
        "/api/v1/namespaces/shop/pods",
        "/api/v1/namespaces/shop/pods/waypoint-1:15090/proxy/stats/prometheus",
        "/api/v1/namespaces/shop/pods/waypoint-1:15090/proxy/stats/prometheus",
        "/api/v1/namespaces/shop/services/cart",
        "/api/v1/namespaces/shop/services/till",
        "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/p",
    ]


@pytest.mark.parametrize("status", [0, 403, 503])
def test_write_to_a_closed_port_for_metrics_asks_envoy_inside_its_pod(mesh: Mesh, status: int) -> None:
    mesh.refusing = {":15090": status}
    mesh.stats["waypoint-1"] = [(3, 0), (3, 0), (4, 0)]
    write(policy("cart"))
    assert sum(":15090" in line for line in mesh.commands) == (1 if status else 3)
    assert sum(line.startswith("exec") for line in mesh.commands) == (3 if status else 0)


def test_write_by_a_user_who_may_not_read_the_namespace_waits_for_all_its_waypoints(mesh: Mesh) -> None:
    mesh.pods = [("waypoint-1", "waypoint"), ("other-1", "other")]
    mesh.stats["other-1"] = [(1, 0), (2, 0)]
    read = mesh.read

    def refuse(command: Sequence[str], path: str) -> Any:
        if path == "/api/v1/namespaces/shop":
            raise ApiReadError("forbidden", 403)
        return read(command, path)

    with patch.object(waits, "read_api", refuse):
        write(policy("cart"))
    assert mesh.asked == {("shop", "waypoint-1"), ("shop", "other-1")}


def test_write_to_a_stale_generation_is_not_accepted(mesh: Mesh) -> None:
    mesh.written = [mesh.status(2, ACCEPTED, observed=1)]
    said = refused(policy("cart"))
    assert said == "AuthorizationPolicy shop/p: waited 0 s: WaypointAccepted is of generation 1, not of 2"


def test_write_of_which_one_target_is_not_bound_is_not_accepted(mesh: Mesh) -> None:
    part = {**ACCEPTED, "reason": "PartiallyInvalid", "message": "Invalid targetRefs: Service.core:shop/till"}
    mesh.written = [mesh.status(2, part)]
    said = refused(policy("cart", "till"))
    assert said.endswith("WaypointAccepted is PartiallyInvalid: Invalid targetRefs: Service.core:shop/till")


@pytest.mark.parametrize(
    ("service", "labels", "said"),
    [
        ("cartt", LABELS, "Service shop/cartt does not exist; correct the name, or create it first"),
        ("cart", {}, "Service shop/cart has no waypoint; enroll it, or its namespace, in one"),
        ("cart", {"istio.io/use-waypoint": "none"}, "Service shop/cart has no waypoint"),
    ],
)
def test_write_for_a_service_without_waypoint_is_refused_before_it(
    mesh: Mesh, service: str, labels: dict[str, str], said: str
) -> None:
    mesh.labels = {"shop": labels}
    assert said in refused(policy(service))
    assert not [line for line in mesh.commands if "authorizationpolicies" in line]


def test_write_for_a_service_with_label_none_is_refused(mesh: Mesh) -> None:
    mesh.labels = {"shop": LABELS, "till": {"istio.io/use-waypoint": "none"}}
    assert "Service shop/till has no waypoint" in refused(policy("cart", "till"))


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "externalName": "x"}])
def test_write_for_a_headless_service_is_refused_at_once(mesh: Mesh, spec: dict[str, str]) -> None:
    mesh.services["cart"] = spec
    assert refused(policy("cart"), limit=60) == (
        "AuthorizationPolicy shop/p: Service shop/cart has no cluster IP (headless or ExternalName), so its traffic "
        "bypasses the waypoint; name a Service with a cluster IP"
    )


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ({"port": 80, "targetPort": 9080}, "Service shop/cart has no port 9080; it has 80"),
        ({"port": 9080, "protocol": "UDP"}, "Service shop/cart has no port 9080; it has 9080/UDP"),
        ({"port": 9080, "name": "tcp-web"}, "port 9080 of Service shop/cart is tcp by its name tcp-web, so a waypoint"),
        ({"port": 9080, "name": "MySQL"}, "is mysql by its name MySQL"),
        ({"port": 9080, "name": "http", "appProtocol": "tcp"}, "is tcp by its appProtocol tcp"),
        ({"port": 9080, "appProtocol": "kubernetes.io/wss"}, "is https by its appProtocol kubernetes.io/wss"),
        ({"port": 3306, "name": "web"}, "port 3306 of Service shop/cart is tcp by its number"),
        ({"port": 9080}, ""),
        ({"port": 9080, "name": "web-tcp"}, ""),
        ({"port": 9080, "name": "grpc-web"}, ""),
        ({"port": 9080, "name": "tcp-web", "appProtocol": "http"}, ""),
        ({"port": 9080, "name": "tcp-web", "appProtocol": "kubernetes.io/h2c"}, ""),
        ({"port": 9080, "name": "tcp-web", "appProtocol": ""}, ""),
        ({"port": 3306, "name": "http-web"}, ""),
    ],
)
def test_write_for_a_port_without_http_is_refused_before_it(mesh: Mesh, port: dict[str, Any], said: str) -> None:
    mesh.services["cart"]["ports"] = [port]
    number = 3306 if port["port"] == 3306 else 9080
    for document in (virtual_service("p", port=number), http_route("p", "shop/dev", port=number)):
        if not said:
            mesh.stats = {"waypoint-1": [(3, 0), (4, 0)]}
            write(document)
            continue
        assert said in refused(document)
        assert not [line for line in mesh.commands if line.endswith("/p")]


def test_write_for_a_port_waits_until_its_service_has_it(mesh: Mesh) -> None:
    def look(command: Sequence[str], path: str) -> Any:
        answer = mesh.read(command, path)
        if path.endswith("/services/cart"):
            mesh.services["cart"]["ports"] = [{"port": 80}, {"port": 9080, "name": "http"}]
        return answer

    with patch.object(waits, "read_api", look):
        write(virtual_service("p", port=9080))


def sent(kind: str, *places: tuple[str, int], mirror: tuple[str, int] | None = None) -> dict[str, Any]:
    """Return a route or rule for Service cart, with backends and a mirror by name and port."""
    if kind == "HTTPRoute":
        refs, copied = ([{"name": name, "port": port} for name, port in each] for each in (places, [mirror or ("", 0)]))
        filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": ref}} for ref in copied if mirror]
        route = http_route("p", "shop/dev")
        route["spec"]["rules"] = [{"backendRefs": refs, "filters": filters}]
        return route
    rule = virtual_service("p")
    for field, each in (("route", places), ("mirrors", [mirror] if mirror else [])):
        hosts = [(f"{name}.shop.svc.cluster.local", port) for name, port in each]
        rule["spec"]["http"][0][field] = [{"destination": {"host": host, "port": {"number": n}}} for host, n in hosts]
    return rule


@pytest.mark.parametrize("kind", ["HTTPRoute", "VirtualService"])
@pytest.mark.parametrize(
    ("places", "mirror", "said"),
    [
        ([("cart", 80), ("till", 8080)], None, "Service shop/till has no port 8080; it has 80"),
        ([("cart", 80)], ("till", 8080), "Service shop/till has no port 8080; it has 80"),
        ([("cart", 80)], ("tilll", 80), "Service shop/tilll does not exist; correct the name, or create it first"),
        ([("tilll", 80)], None, "Service shop/tilll does not exist; correct the name, or create it first"),
    ],
)
def test_write_with_a_backend_or_mirror_without_its_port_is_refused_before_it(
    mesh: Mesh, kind: str, places: list[tuple[str, int]], mirror: tuple[str, int] | None, said: str
) -> None:
    document = sent(kind, *places, mirror=mirror)
    assert refused(document, old=None) == f"{kind} shop/p: waited 0 s: {said}"
    assert not [line for line in mesh.commands if line.endswith("/p")]
    mesh.stats = {"waypoint-1": [(3, 0), (4, 0)]}
    write(document)  # it was there before, so it does not refuse a rollback


@pytest.mark.parametrize("kind", ["HTTPRoute", "VirtualService"])
def test_write_with_a_tcp_port_of_a_backend_and_a_mirror_passes(mesh: Mesh, kind: str) -> None:
    mesh.services["till"]["ports"] = [{"port": 8080, "name": "tcp-web"}]
    write(sent(kind, ("till", 8080), mirror=("cart", 80)))


def test_write_of_a_rule_waits_for_the_port_behind_its_failing_workload(mesh: Mesh) -> None:
    make = partial(sync.hooks, "p", Access(), 0.1, behind=[("till", 8080)])
    with pytest.raises(RuntimeError, match=r"Service shop/till has no port 8080; it has 80$"):
        run_hooks(make, new_inputs=virtual_service("p"))


def test_creation_of_an_object_that_another_owner_has_is_refused(mesh: Mesh) -> None:
    mine = policy("cart")
    mine["metadata"]["annotations"] = {owners.OWNER: "shop/dev"}
    said = "AuthorizationPolicy shop/p: it exists already, and is not of this stack; delete it, or choose another name"
    assert refused(mine, old=None, limit=60) == said
    mesh.written = [{"metadata": {"annotations": {owners.OWNER: "shop/dev"}}}, mesh.status(2, ACCEPTED)]
    mesh.stats = {"waypoint-1": [(3, 0), (4, 0)]}
    write(mine, old=None)


def test_write_that_envoy_rejects_fails_with_its_message(mesh: Mesh) -> None:
    mesh.stats = {"waypoint-1": [(3, 0), (3, 1)]}
    mesh.dump = {"configs": [{"dynamic_listeners": [{"error_state": {"details": "bad\nvalue"}}]}]}
    assert refused(policy("cart"), limit=60) == (
        "AuthorizationPolicy shop/p: waypoint Pod shop/waypoint-1 rejected the configuration: bad value; "
        "correct the values"
    )


def test_write_that_envoy_rejects_first_then_accepts_passes(mesh: Mesh) -> None:
    mesh.stats = {"waypoint-1": [(3, 0), (4, 1)]}
    write(policy("cart"))


def test_write_to_a_disconnected_envoy_fails_after_the_limit(mesh: Mesh) -> None:
    mesh.stats = {"waypoint-1": [(3, 0)]}
    mesh.connected = 0
    said = refused(policy("cart"), limit=0.05)
    assert said.endswith("waited 0.05 s: waypoint Pod shop/waypoint-1 is not connected to istiod")


def test_write_that_makes_no_difference_to_istiod_passes(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "PUSH_SECONDS", 0.01)
    mesh.stats = {"waypoint-1": [(3, 0)]}
    write(policy("cart"))


def test_write_with_unchanged_spec_waits_for_no_update(mesh: Mesh) -> None:
    mesh.stats = {"waypoint-1": [(3, 0)]}
    write(policy("cart"), generation=2, old=2)
    mesh.dump = {"configs": [{"dynamic_listeners": [{"error_state": {"details": "still bad"}}]}]}
    assert "still bad" in refused(policy("cart"), generation=2, old=2)


def test_write_during_a_replaced_pod_continues(mesh: Mesh) -> None:
    mesh.stats = {"waypoint-1": [(3, 0)], "waypoint-0": [(5, 0)]}
    mesh.pods.append(("waypoint-0", "waypoint"))

    def look(command: Sequence[str], path: str) -> Any:
        if "authorizationpolicies" in path:
            mesh.pods = [("waypoint-1", "waypoint")]
            mesh.refusing = {"waypoint-0:": 404}
            mesh.failing = {"exec waypoint-0": 'pods "waypoint-0" not found'}
            mesh.stats["waypoint-1"] = [(4, 0)]
        return mesh.read(command, path)

    with patch.object(waits, "read_api", look):
        write(policy("cart"))


def test_write_without_the_right_to_read_envoy_waits_for_status(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warned.append)
    mesh.refusing = {":15090": 403}
    mesh.failing = {"exec": 'Error from server (Forbidden): cannot create resource "pods/exec"'}
    write(policy("cart"))
    assert len(warned) == 1
    assert warned[0].startswith("only the status is waited for")


def test_names_are_read_from_all_kinds_of_documents() -> None:
    rules = [{"backendRefs": [{"name": "b"}, {"name": "a"}]}]
    route = {
        "spec": {"parentRefs": [{"kind": "Service", "name": "cart"}, {"kind": "Gateway", "name": "in"}], "rules": rules}
    }
    assert (sync.services(route), sync.backends(route)) == (["cart"], ["a", "b"])
    routes = [
        {"destination": {"host": "v1.shop.svc.cluster.local"}},
        {"destination": {"host": "v2.shop.svc.cluster.local"}, "weight": 0},
    ]
    rule = {"spec": {"hosts": ["cart.shop.svc.cluster.local"], "http": [{"route": routes}, {"fault": {}}]}}
    assert (sync.services(rule), sync.backends(rule)) == (["cart"], ["v1"])
    assert sync.gateways({"spec": {"targetRefs": [{"kind": "Gateway", "name": "in"}]}}) == ["in"]


def test_write_of_a_kind_without_status_waits_for_envoy(mesh: Mesh) -> None:
    document = virtual_service("p")
    run = partial(run_hooks, partial(sync.hooks, "p", Access(), 0.2), new_inputs=document, new_outputs=document)
    run()
    assert not [line for line in mesh.commands if "virtualservices/" in line]
    mesh.stats = {"waypoint-1": [(3, 0)]}
    mesh.connected = 0
    with pytest.raises(RuntimeError, match="waypoint-1 is not connected to istiod"):
        run()
