import json
import re
from collections.abc import Iterator
from pathlib import Path

import pulumi
import pytest

from components._internal import owners
from components._internal.waits import Access
from tests.unit.components.recording import Recording, run
from tests.unit.configs import lab_config
from waypoint_lab.config.combinations import TOGGLES
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, KubectlError
from waypoint_lab.program import build
from waypoint_lab.program.backend_checks import Application
from waypoint_lab.program.context import GateCheck
from waypoint_lab.program.preflight import Preflight
from waypoint_lab.stages import fault_expiry

VERSIONED = {"reviews-baseline": "Service", "reviews-premium": "Service", "reviews-stable": "Service"}
WAYPOINT = {**VERSIONED, "waypoint-gateway": "Gateway", "waypoint-enrollment": "NamespacePatch"}


def built(*on: str, **objects: object) -> Recording:
    return run(lambda: build.build(lab_config(*on, **objects)))


@pytest.mark.parametrize(
    ("on", "want"),
    [
        ((), {}),
        (("waypoint",), WAYPOINT),
        (("waypoint", "accessLog"), {**WAYPOINT, "waypoint-access-log": "Telemetry"}),
        (("waypoint", "l7Policy"), {**WAYPOINT, "reviews-l7-policy-policy": "AuthorizationPolicy"}),
        (("waypoint", "canary"), {**WAYPOINT, "reviews-route": "HTTPRoute"}),
        (("waypoint", "canary", "premium"), {**WAYPOINT, "reviews-route": "HTTPRoute"}),
        (("waypoint", "delay", "abort", "retries"), {**WAYPOINT, "reviews-fault-rule": "VirtualService"}),
    ],
)
def test_build_registers_the_enabled_stages_only(on: tuple[str, ...], want: dict[str, str]) -> None:
    assert built(*on).kinds() == want


@pytest.fixture
def _no_config() -> Iterator[None]:
    yield
    pulumi.runtime.set_all_config({}, [])


@pytest.mark.usefixtures("_no_config")
@pytest.mark.parametrize("name", ["kubeconfig", "context", "cluster"])
@pytest.mark.parametrize("secret", [False, True])
def test_build_with_another_cluster_for_the_default_provider_is_refused(name: str, secret: bool) -> None:
    key = f"kubernetes:{name}"
    pulumi.runtime.set_all_config({key: "staging"}, [key] if secret else [])
    with pytest.raises(
        pulumi.RunError, match=rf"^{key} is set: objects could go to another cluster than that of "
    ) as at:
        built("waypoint")
    assert "staging" not in str(at.value)
    # The stack's own provider does not read these keys.
    assert "cluster" in built("waypoint", target={"kind": "existing", "context": "mine"}).made


def test_build_virtual_service_has_all_traffic_in_one_object() -> None:
    on = ("waypoint", "canary", "premium", "delay", "abort", "retries")
    want = {**WAYPOINT, "reviews-traffic-rule": "VirtualService"}
    assert built(*on, trafficApi="virtual-service").kinds() == want


def test_build_virtual_service_without_a_split_routes_to_the_service() -> None:
    (rule,) = built("waypoint", "delay", trafficApi="virtual-service").inputs("reviews-traffic-rule")["spec"]["http"]
    hosts = [entry["destination"]["host"] for entry in rule["route"]]
    assert hosts == ["reviews.bookinfo-backends.svc.cluster.local"]


def test_build_expired_fault_is_left_out() -> None:
    config = lab_config("waypoint", "abort", fault={"durationSeconds": 30})
    expired = frozenset({fault_expiry.fault_id(config)})
    on, off = run(lambda: build.build(config)), run(lambda: build.build(config, expired))
    seen = ["fault" in found.inputs("reviews-fault-rule")["spec"]["http"][0] for found in (on, off)]
    assert seen == [True, False]


def test_build_never_registers_the_users_service() -> None:
    record = built("waypoint", "abort", fault={"at": "upstream"})
    names = {args.inputs["metadata"]["name"] for args in record.made.values() if args.custom}
    assert "reviews" not in names
    assert "reviews-baseline" in names


def test_build_waypoints_follow_the_config() -> None:
    record = built(
        "waypoint",
        waypoint={
            "name": "blue",
            "revision": "1-30-2",
            "canary": {"name": "green", "revision": "1-31-0", "weight": 20},
        },
    )
    gateways = {"waypoint-gateway-blue": "Gateway", "waypoint-gateway-green": "Gateway"}
    assert record.kinds() == {
        **VERSIONED,
        **gateways,
        "waypoint-enrollment": "NamespacePatch",
        "waypoint-weight": "NamespacePatch",
    }
    revisions = [record.inputs(name)["metadata"]["labels"]["istio.io/rev"] for name in gateways]
    assert revisions == ["1-30-2", "1-31-0"]
    weight = record.inputs("waypoint-weight")["metadata"]["annotations"]
    assert weight == {"istio.io/use-waypoint-canary-weight": "20"}


def test_build_waypoint_in_another_namespace_enrolls_that_of_the_application() -> None:
    record = built("waypoint", waypoint={"namespace": "gateways", "failClosed": True, "canary": {"name": "next"}})
    for name in ("waypoint-gateway", "waypoint-gateway-next"):
        assert record.inputs(name)["metadata"]["namespace"] == "gateways"
    enrolled = record.inputs("waypoint-enrollment-bookinfo-backends")["metadata"]
    assert enrolled["name"] == "bookinfo-backends"
    assert enrolled["labels"]["istio.io/use-waypoint-namespace"] == "gateways"
    (rule,) = record.inputs("reviews-fail-closed-policy")["spec"]["rules"]
    assert rule["from"][0]["source"]["principals"] == [
        f"cluster.local/ns/gateways/sa/{name}" for name in ("waypoint", "next")
    ]


def test_build_waypoint_parameters_follow_the_config() -> None:
    record = built(
        "waypoint",
        waypoint={
            "autoscaling": {"min": 2, "max": 4, "cpuPercent": 60},
            "resources": {"limits": {"memory": "512Mi"}},
            "disruptionBudget": {"maxUnavailable": 1},
            "podLabels": {"team": "edge"},
            "podAnnotations": {"note": "x"},
        },
    )
    found = {key: json.loads(text)["spec"] for key, text in record.inputs("waypoint-parameters")["data"].items()}
    assert (found["horizontalPodAutoscaler"]["minReplicas"], found["horizontalPodAutoscaler"]["maxReplicas"]) == (2, 4)
    assert found["podDisruptionBudget"] == {"maxUnavailable": 1}
    template = found["deployment"]["template"]
    assert template["metadata"] == {"labels": {"team": "edge"}, "annotations": {"note": "x"}}
    assert template["spec"]["containers"] == [{"name": "istio-proxy", "resources": {"limits": {"memory": "512Mi"}}}]


def test_build_waypoint_replicas_follow_the_config() -> None:
    data = built("waypoint", waypoint={"replicas": 2}).inputs("waypoint-parameters")["data"]
    assert json.loads(data["deployment"])["spec"] == {"replicas": 2}


def test_build_waypoint_depends_on_the_versioned_services() -> None:
    record = built("waypoint", "canary")
    assert VERSIONED.keys() <= record.needs("waypoint")


def test_build_versioned_service_selects_one_version() -> None:
    record = built("waypoint", "canary")
    seen = {name: record.inputs(name)["spec"]["selector"]["version"] for name in VERSIONED}
    assert seen == {"reviews-baseline": "v1", "reviews-premium": "v2", "reviews-stable": "v3"}


@pytest.mark.parametrize(
    ("cohort", "match"),
    [
        ({"cookie": "tier", "value": "gold"}, "headers"),
        ({"query": "tier", "value": "gold"}, "queryParams"),
        ({"method": "POST"}, "method"),
        ({"path": "/cart"}, "path"),
        ({"pathPrefix": "/cart"}, "path"),
    ],
)
def test_build_cohort_has_its_own_match_in_both_apis(cohort: dict[str, str], match: str) -> None:
    on, settings = ("waypoint", "canary"), {"canary": {"cohort": cohort}}
    first, _ = built(*on, **settings).inputs("reviews-route")["spec"]["rules"]
    assert [match] == list(first["matches"][0])
    first, _ = built(*on, **settings, trafficApi="virtual-service").inputs("reviews-traffic-rule")["spec"]["http"]
    assert {"uri" if match == "path" else match, "port"} == set(first["match"][0])


def test_build_existing_backend_is_not_registered() -> None:
    backends = {"baseline": {"service": "old"}, "canary": {"service": "new", "selector": {"app": "reviews"}}}
    record = built("waypoint", "canary", app={"backends": backends})
    assert {"new"} == {name for name, kind in record.kinds().items() if kind == "Service"}


def test_build_premium_alone_routes_others_to_the_baseline() -> None:
    first, last = built("waypoint", "premium").inputs("reviews-route")["spec"]["rules"]
    assert [ref["name"] for ref in first["backendRefs"]] == ["reviews-premium"]
    assert [ref["name"] for ref in last["backendRefs"]] == ["reviews-baseline"]


def test_build_cohort_of_any_backend_is_routed_to_it_by_name() -> None:
    backends = {
        "baseline": {"service": "v1", "selector": {"app": "x", "version": "v1"}},
        "canary": {"service": "v2", "selector": {"app": "x", "version": "v2"}},
        "beta": {"service": "v3", "selector": {"app": "x", "version": "v3"}},
        "gold": {"service": "gold-users"},
    }
    app = {
        "backends": backends,
        "cohorts": {"gold": {"pathPrefix": "/gold"}, "beta": {"cookie": "tier", "value": "b"}},
        "identify": {"kind": "header", "name": "x", "values": {name: name for name in backends}},
    }
    record = built("waypoint", "l7Policy", "canary", "premium", app=app)
    rules = record.inputs("reviews-route")["spec"]["rules"]
    assert [[ref["name"] for ref in rule["backendRefs"]] for rule in rules] == [["gold-users"], ["v3"], ["v1", "v2"]]
    assert [next(iter(rule["matches"][0])) for rule in rules[:2]] == ["path", "headers"]
    assert {"v1", "v2", "v3"} == {name for name, kind in record.kinds().items() if kind == "Service"}
    targets = record.inputs("reviews-l7-policy-policy")["spec"]["targetRefs"]
    assert [target["name"] for target in targets] == ["reviews", "v1", "v2", "v3", "gold-users"]


def test_builders_cover_each_toggle_except_the_access_log() -> None:
    assert set(TOGGLES) - set(build.BUILDERS) == {"accessLog"}


def test_build_bookinfo_only_if_declared() -> None:
    record = built(app={"deployBookinfo": True})
    kinds = set(record.kinds().values())
    assert {"Namespace", "Deployment", "Service", "ServiceAccount"} <= kinds
    assert built().kinds() == {}


POLICY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "waypoint-lab-users", "namespace": "bookinfo-backends", "annotations": {"of": "users"}},
    "spec": {"targetRefs": []},
}


def test_build_objects_name_their_stack_and_are_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    said, make = dict[str, str](), owners.untaken_hook

    def hook(name: str, cluster: Access, limit: float, refusal: str = "") -> pulumi.ResourceHook:
        said[name] = refusal
        return make(name, cluster, limit, refusal)

    monkeypatch.setattr(owners, "untaken_hook", hook)
    gate, application = GateCheck({}, lambda: None), Application([], [POLICY])
    config = lab_config("waypoint", "canary", app={"deployBookinfo": True}, canary={"gate": {"successRate": 99}})
    record = run(lambda: build.build(config, gate=gate, application=application))
    objects = {name: args.inputs for name, args in record.made.items() if args.custom and "Patch" not in args.typ}
    inside = {name for name in objects if re.match("bookinfo-.*-bookinfo-(frontends|backends)-", name)}
    assert {"bookinfo-namespace-bookinfo-backends", "bookinfo-gateway-istio-system-ingress"} <= objects.keys() - inside
    for name in objects.keys() - inside:
        assert objects[name]["metadata"]["annotations"]["waypoint-lab/owner"] == "waypoint-lab/test", name
        hooks = [*record.requests[name].hooks.before_create]
        assert name == "reviews-route" or any("untaken" in hook for hook in hooks), name
    assert [*record.requests["reviews-gate"].hooks.before_create][-1] == "reviews-gate", "measured last"
    assert "remove the selector of waypoint-lab:app.backends.canary" in said["reviews-stable-service-untaken"]
    assert (
        "set waypoint-lab:app.deployBookinfo to false" in said["bookinfo-namespace-bookinfo-backends-namespace-untaken"]
    )
    kept = {name for name in objects.keys() - inside if record.requests[name].ignoreChanges}
    assert kept == {"reviews-gate", "bookinfo-gateway-istio-system-ingress", "waypoint-gateway"}


def test_build_explicit_context_has_its_own_provider() -> None:
    record = built("waypoint", target={"kind": "existing", "context": "west"})
    assert record.inputs("cluster") == {"context": "west"}
    assert record.made["waypoint-gateway"].provider
    assert "cluster" in str(record.made["waypoint-gateway"].provider)


def test_program_has_less_than_50_lines() -> None:
    assert len(Path("__main__.py").read_text().splitlines()) < 50


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('error: context "x" does not exist', 'embedded cluster: kubectl get: context "x" does not exist; check'),
        ("", "embedded cluster: kubectl get: failed without a message"),
    ],
)
def test_preflight_cluster_problem_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    monkeypatch.setattr("waypoint_lab.program.preflight.verify_identity", lambda _: None)
    command = tmp_path / "kubectl"
    command.write_text(f"#!/bin/sh\nprintf '%s' '{text}' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ConfigError) as error:
        Preflight(LabConfig(), lambda _config: []).result()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_preflight_without_kubectl_raises_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KubectlError, match="kubectl is not on PATH"):
        Preflight(LabConfig(), lambda _config: [])


def test_build_backends_copy_all_ports_of_the_service() -> None:
    ports = [
        {"name": "http-web", "port": 80, "targetPort": 9080, "appProtocol": "http"},
        {"name": "tcp-admin", "port": 81, "targetPort": "admin", "protocol": "TCP"},
    ]
    found = run(lambda: build.build(lab_config("waypoint", app={"port": 80}), application=Application(ports)))
    assert ports == found.inputs("reviews-baseline")["spec"]["ports"]


def test_build_backends_of_an_application_that_the_stack_installs_have_its_port() -> None:
    found = run(lambda: build.build(lab_config("waypoint"), application=Application([])))
    (port,) = found.inputs("reviews-baseline")["spec"]["ports"]
    assert port["port"] == 9080


def test_build_kind_gets_the_contents_of_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # another project that runs this program
    record = built(target={"kind": "kind"})
    assert "kind: Cluster" in record.inputs("kind-cluster")["environment"]["KIND_CONFIG"]
    assert record.requests["kind-cluster"].additionalSecretOutputs == ["stdout"]  # it is the kubeconfig
    assert record.needs("kind-istio") == {"kind-cluster", "kind-gateway-api"}
    (tmp_path / "own.yaml").write_text("kind: Own\n")
    inputs = built(target={"kind": "kind", "configFile": "own.yaml"}).inputs("kind-cluster")
    assert inputs["environment"]["KIND_CONFIG"] == "kind: Own\n"


def test_build_layer_7_policy_covers_the_backends() -> None:
    found = run(lambda: build.build(lab_config("waypoint", "l7Policy"))).inputs("reviews-l7-policy-policy")
    names = [target["name"] for target in found["spec"]["targetRefs"]]
    assert names == ["reviews", "reviews-baseline", "reviews-premium", "reviews-stable"]
