"""Unit tests of the pack's entry point, with stand-ins for the engine, kubectl and pulumi."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi_policy import PolicyProviderResource
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError, unknown_checking_proxy

from tests.policies.commands import Commands, listed

POLICIES = Path(__file__).parents[2] / "policies"
URN = "urn:pulumi:dev::shop::"
ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
SERVICE, SECRET, GROUP = "kubernetes:core/v1:Service", "kubernetes:core/v1:Secret", "kubernetes:yaml:ConfigGroup"


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("PULUMI_STACK", raising=False)
    made = Commands(tmp_path)
    made.add("kubectl", listed())
    made.add("pulumi", state())
    return made


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The entry point with a reader of its own."""
    monkeypatch.syspath_prepend(str(POLICIES))
    return runpy.run_path(str(POLICIES / "__main__.py"), run_name="pack_main")


def provider(name: str = "default_4_0_0", **props: object) -> PolicyProviderResource:
    token = "pulumi:providers:kubernetes"
    return PolicyProviderResource(token, unknown_checking_proxy(props), f"{URN}{token}::{name}", name)


def resource(token: str, document: Any, by: PolicyProviderResource | None) -> SimpleNamespace:
    props = unknown_checking_proxy(document)
    urn = f"{URN}{token}::{document.get('metadata', {}).get('name')}"
    return SimpleNamespace(resource_type=token, props=props, provider=by, urn=urn, given=document, get_config=dict)


def state(*resources: SimpleNamespace) -> str:
    """Return the export of a stack that applied these resources."""
    rows = [
        {"type": item.resource_type, "urn": item.urn, "outputs": item.given, "provider": f"{item.provider.urn}::id"}
        for item in resources
    ]
    return json.dumps({"deployment": {"resources": rows}})


def document(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n"}, "spec": spec}


def route(*backends: dict[str, Any]) -> dict[str, Any]:
    parent = {"group": "", "kind": "Service", "name": "reviews"}
    return document("r", parentRefs=[parent], rules=[{"backendRefs": list(backends)}])


def reported(main: dict[str, Any], policy: str, *resources: SimpleNamespace) -> list[str]:
    """Return what a policy reports, after every resource was checked by itself as the engine does."""
    rows, found = {row.name: row for row in main["TABLE"]}, list[str]()

    def report(line: str, _urn: str | None = None) -> None:
        found.append(line)

    row = rows[policy]
    for item in resources:
        each = main["resource_policy"](row if row.kinds else rows["weights-add-up"])
        each.validate(item, report if row.kinds else lambda *_: None)
    if not row.kinds:
        main["stack_policy"](row).validate(SimpleNamespace(resources=resources, get_config=dict), report)
    return found


def test_resource_of_the_default_provider_is_checked(main: dict[str, Any], commands: Commands) -> None:
    item = resource(ROUTE, route({"name": "s0", "weight": 0}), provider())
    (line,) = reported(main, "weights-add-up", item)
    assert line.startswith("HTTPRoute n/r: rule 1 has no weight above 0")
    assert [line.split(" is not")[0] for line in reported(main, "targets-exist", item)] == [
        "HTTPRoute n/r: Service n/reviews",
        "HTTPRoute n/r: Service n/s0",
    ]
    (call,) = commands.calls("kubectl")
    assert "--kubeconfig" not in call


def test_component_without_a_provider_reads_no_cluster(main: dict[str, Any], commands: Commands) -> None:
    commands.add("kubectl", "", "error: refused", 1)
    component = resource(GROUP, {}, None)
    assert reported(main, "cluster-readable", component) == []
    assert reported(main, "weights-add-up", component) == []
    assert not (commands.folder / "kubectl.calls").exists()


@pytest.mark.parametrize("field", ["name", "namespace"])
def test_unknown_name_stops_only_policies_that_read_its_kind(
    main: dict[str, Any], commands: Commands, field: str
) -> None:
    secret = document("db")
    secret["metadata"][field] = UNKNOWN_STRING_VALUE
    items = (resource(ROUTE, route({"name": "s0"}), provider()), resource(SECRET, secret, provider()))
    assert len(reported(main, "targets-exist", *items)) == 2
    for row in main["TABLE"]:
        if row.name not in ("targets-exist", "istio-analysis"):
            assert reported(main, row.name, *items) == []


@pytest.mark.usefixtures("commands")
def test_violation_before_an_unknown_value_is_reported(main: dict[str, Any]) -> None:
    (row,) = [row for row in main["TABLE"] if row.name == "weights-add-up"]
    rules = [{"backendRefs": [{"name": "s0", "weight": 0}]}, {"backendRefs": [UNKNOWN_STRING_VALUE]}]
    found: list[str] = []
    with pytest.raises(UnknownValueError):
        main["resource_policy"](row).validate(
            resource(ROUTE, document("r", rules=rules), provider()), lambda line, _urn: found.append(line)
        )
    assert len(found) == 1


@pytest.mark.parametrize(("given", "queries"), [({"kubeconfig": "/config"}, 1), ({"context": "here"}, 2)])
def test_two_providers_of_one_cluster_see_each_other(
    main: dict[str, Any], commands: Commands, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], queries: int
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/config")
    services = [document("reviews"), document("s0")]
    commands.add("kubectl", listed(*({"kind": "Service", **item} for item in services)))
    default, explicit = provider(), provider("ssa", **given)
    items = [resource(SERVICE, item, default) for item in services]
    commands.add("pulumi", state(*items))
    assert reported(main, "targets-exist", resource(ROUTE, route({"name": "s0"}), explicit), *items) == []
    assert len(commands.calls("kubectl")) == queries


def test_service_of_the_same_name_on_another_cluster_is_not_the_stacks(
    main: dict[str, Any], commands: Commands
) -> None:
    commands.add("kubectl", listed({"kind": "Service", **document("reviews")}))
    here, there = provider("here", context="here"), provider("there", context="there")
    on_a, on_b = resource(SERVICE, document("reviews"), here), resource(ROUTE, route({"name": "reviews"}), there)
    commands.add("pulumi", state(on_a))
    assert reported(main, "targets-exist", on_a, on_b) == []
    only_here = resource(SERVICE, document("only-here"), here)
    (line,) = reported(main, "targets-exist", only_here, resource(ROUTE, route({"name": "only-here"}), there))
    assert line.startswith("HTTPRoute n/r: Service n/only-here is not")
    (line,) = reported(main, "targets-exist", resource(ROUTE, route({"name": "gone"}), there), on_a)
    assert line.startswith("HTTPRoute n/r: Service n/gone is not")


@pytest.mark.parametrize("deleted", [True, False])
def test_rule_that_the_update_deletes_hides_no_route_of_another_provider(
    main: dict[str, Any], commands: Commands, deleted: bool
) -> None:
    rules = {"metadata": {"name": "v", "namespace": "n"}, "spec": {"hosts": ["reviews"]}}
    commands.add("kubectl", listed({"kind": "VirtualService", **rules}))
    here, there = provider("here", context="here"), provider("there", context="there")
    former = resource("kubernetes:networking.istio.io/v1:VirtualService", rules, here)
    commands.add("pulumi", state(*[former] * deleted))
    items = [resource(SERVICE, document("reviews"), here), resource(ROUTE, route({"name": "reviews"}), there)]
    assert len(reported(main, "one-owner-per-service", *items)) == (not deleted)
