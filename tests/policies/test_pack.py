"""Tests of a copy of the pack with the real engine and a cluster: a bad and a good program for every policy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from policies.pack.policy import EnforcementLevel
from policies.pack.table import TABLE
from tests.conftest import Kubectl
from tests.embedded.pulumi_program import Program
from tests.policies.programs import (
    CALM,
    CANARY,
    ISTIO,
    LIVE,
    USE,
    Config,
    ReportedViolation,
    authorization,
    canary,
    pack,
    packed,
    patch,
    preview,
    route,
    row,
    rule,
    service,
    two_waypoints,
    waypoint,
)

pytestmark = pytest.mark.cluster
MOVING = "policy-moving"  # a namespace that another owner moves to another waypoint
ADVISORY = {row.name for row in TABLE if row.level is EnforcementLevel.ADVISORY}
GET = [{"to": [{"operation": {"methods": ["GET"]}}]}]
FIVE_PERCENT = canary(5)
DELAY, ABORT = {"delay": {"fixedDelay": "20s", "percentage": {"value": 100}}}, {"abort": {"httpStatus": 503}}
RETRIES = {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"}
FROM_SHOP = [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/shop"]}}]}]
QUICK = {"pulumi.com/skipAwait": "true"}


def selecting(name: str, version: str = "", **labels: str) -> dict[str, Any]:
    """A Service of the Pods `app: e`, or of one version of them."""
    selector = {"app": "e"} | ({"version": version} if version else {})
    return row("v1", "Service", name, {"ports": [{"port": 80}], "selector": selector}, labels=labels, annotations=QUICK)


def subsets(count: int) -> dict[str, Any]:
    """A DestinationRule with this number of subsets."""
    listed = [{"name": f"v{number}", "labels": {"version": f"v{number}"}} for number in range(count)]
    return row(ISTIO, "DestinationRule", "shop", {"host": f"shop.{LIVE}.svc.cluster.local", "subsets": listed})


BAD = [
    *canary(90),
    subsets(1),
    service("a"),
    service("b"),
    service("c"),
    service("lost", **{USE: "nowhere"}),
    route("weights", ("a", 80), ("b", 30), parent="a"),
    route("missing", ("nobody", 1), parent="b"),
    rule("hidden", "b"),
    rule("slow", "c", fault=DELAY, timeout="2s", retries=RETRIES),
    rule("again", "c", fault=ABORT, retries=RETRIES),
    authorization("picks", selector={"matchLabels": {"app": "a"}}, rules=GET),
    authorization("empty", service="a"),
    authorization("some", service="c", rules=GET),
    authorization("none", service="c", action="DENY", rules=[{}]),
    waypoint("one", 8080, LIVE),
    service("d", **{USE: "one", CANARY: "nowhere"}),
    authorization("door", gateways=["one"], rules=GET),
    row("v1", "Service", "bare", {"ports": [{"port": 80}], "clusterIP": "None"}, annotations=QUICK),
    authorization("bare", service="bare", rules=GET),
    selecting("e", **{USE: "one"}),
    selecting("e-v1", version="v1"),
    authorization("partly", service="e", rules=GET),
    authorization("inside", selector={"matchLabels": {"app": "e"}}, rules=FROM_SHOP),
    waypoint("agent", 15008, LIVE, gatewayClassName="istio-agentgateway-waypoint"),
    service("f", **{USE: "agent"}),
    authorization("ignored", service="f", rules=GET),
    patch("half", LIVE, weight="half"),
    patch("early", MOVING, **{USE: "new"}),
]
REPLICAS = {"deployment": "spec:\n  replicas: 2\n"}
PARAMETERS = {"parametersRef": {"group": "", "kind": "ConfigMap", "name": "many"}}
LASTS = {"waypoint-lab/fault-seconds": "600"}
ENROLLED = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CALM, "labels": {USE: "calm"}}}
SHORT = {**DELAY["delay"], "fixedDelay": "2s"}
ONLY_GET = [{"method": {"exact": "GET"}}]
GOOD = [
    *FIVE_PERCENT[:-1],
    {**canary(50)[-1]},
    {"name": "enrolled", "document": ENROLLED, "patch": True},
    waypoint("calm", 15008, CALM),
    row("v1", "ConfigMap", "many", data=REPLICAS),
    waypoint("many", 15008, LIVE, infrastructure=PARAMETERS),
    {"name": "lent", "document": {**ENROLLED, "metadata": {"name": LIVE, "labels": {USE: "many"}}}, "patch": True},
    service("a", CALM),
    service("b", CALM),
    rule("slow", "a", CALM, fault={"delay": SHORT}, annotations=LASTS),
    rule("again", "b", CALM, timeout="4s", retries=RETRIES, match=ONLY_GET),
    authorization("some", CALM, service="a", rules=GET),
    authorization("none", CALM, service="a", action="DENY", rules=[{"to": [{"operation": {"paths": ["/admin*"]}}]}]),
    patch("both", MOVING, **{USE: "old", CANARY: "new"}),
    authorization("door", MOVING, gateways=["old", "new"], rules=GET),
    patch("fifty", MOVING, weight="50"),
]


@pytest.fixture(scope="module", autouse=True)
def _namespaces(kubectl: Kubectl) -> Iterator[None]:
    for name, labels in ((LIVE, ["environment=production"]), (CALM, [])):
        kubectl("create", "namespace", name)
        kubectl("label", "namespace", name, "istio.io/dataplane-mode=ambient", *labels)
    two_waypoints(kubectl, MOVING, f"{USE}=old", f"{CANARY}=new", weight="20")
    yield
    kubectl("delete", "namespace", LIVE, CALM, MOVING, "--wait=false")


@pytest.fixture(scope="module")
def program(
    tmp_path_factory: pytest.TempPathFactory, cluster_environment: dict[str, str], _namespaces: None
) -> Iterator[Program]:
    """A stack that has applied a canary of 5 %, and four subsets."""
    made = packed(tmp_path_factory.mktemp("pack"), cluster_environment)
    made.write(*FIVE_PERCENT, subsets(4))
    made.up()
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def blocked(program: Program) -> list[ReportedViolation]:
    """Return the violations of the bad program, which must not pass."""
    return preview(program, BAD, fails=True)


@pytest.mark.parametrize("name", [row.name for row in TABLE if row.name != "cluster-readable"])
def test_pack_with_bad_program_reports_each_policy_at_its_level(name: str, blocked: list[ReportedViolation]) -> None:
    levels = {violation.level for violation in blocked if violation.policy == name}
    assert levels == {"advisory" if name in ADVISORY else "mandatory"}


def test_canary_jump_from_5_to_90_names_the_live_weight(blocked: list[ReportedViolation]) -> None:
    (message,) = [violation.message for violation in blocked if violation.policy == "canary-jump"]
    assert "rule 1 sends 90 % to shop-next; the live route sends 5 %: a jump of 85" in message


def test_pack_with_good_program_reports_nothing(program: Program) -> None:
    assert preview(program, GOOD, fails=False) == []


@pytest.mark.slow
def test_pack_with_advisory_and_disabled_levels_does_not_stop_the_preview(
    program: Program, blocked: list[ReportedViolation]
) -> None:
    silent = "one-owner-per-service"
    config: Config = {row.name: {"enforcementLevel": "advisory"} for row in TABLE}
    shown = preview(program, BAD, config | {silent: {"enforcementLevel": "disabled"}}, fails=False)
    assert {violation.level for violation in shown} == {"advisory"}
    assert {violation.policy for violation in blocked} - {violation.policy for violation in shown} == {silent}


def test_pack_with_parameters_uses_them(program: Program) -> None:
    enrolled = [item for item in GOOD if item["name"] in ("enrolled", f"{CALM}-gateway-calm")]
    rows = [*FIVE_PERCENT[:3], *enrolled, service("c", CALM), rule("slow", "c", CALM, fault={"delay": SHORT})]
    assert preview(program, rows, fails=False) == []
    changed: Config = {"fault-limits": {"maxDelaySeconds": 1}, "no-faults-in-production": {"stacks": ["test"]}}
    found = {violation.policy: violation.message for violation in preview(program, rows, changed, fails=True)}
    assert found.keys() == changed.keys()
    assert "delays by 2 s; the limit is 1 s" in found["fault-limits"]
    assert "stack test is production" in found["no-faults-in-production"]


def test_update_without_preview_stops_before_the_route_is_written(program: Program, kubectl: Kubectl) -> None:
    program.write(*canary(90))
    said = program.up("--policy-pack", str(pack(program)), fails=True)
    assert "the live route sends 5 %: a jump of 85" in said
    served = kubectl("get", "httproute", "shop", "-n", LIVE, "-o", "jsonpath={.spec.rules[0].backendRefs[*].weight}")
    assert served.stdout == "95 5"


@pytest.mark.slow
def test_one_owner_with_route_removed_by_the_stack_reports_nothing(program: Program) -> None:
    enrolled = [item for item in GOOD if item["name"] in ("lent", f"{LIVE}-gateway-many", f"{LIVE}-configmap-many")]
    fault = rule("slow", "shop", timeout="5s")
    assert preview(program, [*FIVE_PERCENT[:-1], *enrolled, fault], fails=False) == []


@pytest.mark.slow
def test_pack_with_explicit_provider_reads_its_cluster(program: Program) -> None:
    given = program.environment
    program.environment = {name: value for name, value in given.items() if name != "KUBECONFIG"} | {"HOME": "/nowhere"}
    try:
        provider = {"kubeconfig": Path(given["KUBECONFIG"]).read_text()}
        found = preview(program, canary(90), fails=True, provider=provider)
    finally:
        program.environment = given
    policies = {violation.policy for violation in found}
    assert "canary-jump" in policies
    assert "cluster-readable" not in policies


@pytest.mark.slow
def test_pack_with_unreadable_cluster_reports_an_advisory(program: Program, tmp_path: Path) -> None:
    broken = tmp_path / "kubectl"
    broken.write_text("#!/bin/sh\necho 'error: connection refused' >&2\nexit 1\n")
    broken.chmod(0o755)
    before = program.environment
    program.environment = {**before, "PATH": f"{tmp_path}:{before['PATH']}"}
    try:
        (found,) = preview(program, FIVE_PERCENT, fails=False)
    finally:
        program.environment = before
    assert (found.policy, found.level) == ("cluster-readable", "advisory")
    assert "kubectl: connection refused" in found.message
