"""Other owners of a Service's routes: found before a write, and named."""

from functools import partial
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

from components import CanaryRoute, ChaosRule, ServiceTraffic
from components._internal import owners, waits
from components._internal.waits import Access
from tests.unit.components.hosts import host
from tests.unit.components.recording import run, run_hooks
from tests.unit.components.test_sync import Mesh, http_route, mesh, refused, virtual_service, write

__all__ = ["mesh"]
OWN = "shop/dev"
SECRET = "4dabf18193072939515e22adb298388d"  # the key that marks a secret on its way to the engine
CART = {"namespace": "shop", "service": "cart", "port": 80}
SPLIT = {**CART, "baseline": "old", "canary": "new", "weight": 20}


def written(document: dict[str, Any], *, new: bool) -> str:
    """Return the reason why a write is refused before it; empty where it is not."""
    found = ""
    try:
        write(document, old=None if new else 1, limit=0.05)
    except RuntimeError as error:
        found = str(error)
    assert not found or "routes Service" in found or "exists already" in found, found
    return found


@pytest.mark.parametrize(
    "other",
    [
        http_route("other"),
        {**http_route("other"), "kind": "GRPCRoute"},
        http_route("other", port=None),
        http_route("other", owner="shop/prod"),
        virtual_service("other"),
        virtual_service("other", host="cart", port=None),
        virtual_service("other", host="*.shop.svc.cluster.local"),
        virtual_service("other", host="*art.shop.svc.cluster.local"),
        virtual_service("other", host="*.svc.cluster.local"),
        virtual_service("other", host="*.local"),
        virtual_service("other", host="*"),
    ],
)
@pytest.mark.parametrize("own", [http_route("mine", OWN), virtual_service("mine")])
def test_write_beside_another_route_of_the_service_is_refused_at_once(
    mesh: Mesh, own: dict[str, Any], other: dict[str, Any]
) -> None:
    mesh.routes = [other]
    what = f"{other['kind']} shop/other"
    assert refused(own, limit=60) == (
        f"{own['kind']} shop/mine: {what} routes Service shop/cart, too, and only one of both would have an effect; "
        "delete it, or leave the Service to it"
    )


@pytest.mark.parametrize(
    "other",
    [
        http_route("mine", OWN),
        http_route("earlier-name", OWN),
        http_route("other", port=81),
        http_route("other", service="till"),
        http_route("other", kind="Gateway"),
        http_route("other", namespace="elsewhere"),
        virtual_service("other", port=81),
        virtual_service("other", host="cart.elsewhere.svc.cluster.local"),
        virtual_service("other", host="*.elsewhere.svc.cluster.local"),
        virtual_service("other", host="*.example.com"),
        virtual_service("other", host="*till.shop.svc.cluster.local"),
        virtual_service("other", gateways=["ingress"]),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_write_beside_own_routes_and_routes_of_others_is_not_refused(
    mesh: Mesh, other: dict[str, Any], new: bool
) -> None:
    mesh.routes = [other]
    assert written(http_route("mine", OWN), new=new) == ""


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (virtual_service("central"), True),
        (http_route("central", namespace="shop"), True),
        (virtual_service("mine"), True),
        (virtual_service("central", host="cart"), False),
        (http_route("central"), False),
    ],
)
def test_write_beside_a_route_in_the_waypoints_namespace_is_refused(
    mesh: Mesh, other: dict[str, Any], found: bool
) -> None:
    mesh.labels["cart"] = {"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "gateways"}
    other["metadata"]["namespace"] = "gateways"
    mesh.routes = [other]
    said = written(virtual_service("mine"), new=False)
    assert (f"{other['kind']} gateways/{other['metadata']['name']} routes Service shop/cart, too" in said) is found


def test_write_beside_a_route_that_is_being_deleted_is_not_refused(mesh: Mesh) -> None:
    other = http_route("other")
    other["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    mesh.routes = [other]
    assert written(http_route("mine", OWN), new=True) == ""


def test_creation_of_a_route_that_another_owner_has_is_refused(mesh: Mesh) -> None:
    mesh.routes = [http_route("mine")]
    assert written(http_route("mine", OWN), new=False) == ""
    said = "HTTPRoute shop/mine: it exists already, and is not of this stack; delete it, or choose another name"
    assert written(http_route("mine", OWN), new=True) == said


def test_first_resource_of_a_rule_beside_another_route_is_refused(mesh: Mesh) -> None:
    mesh.routes = [http_route("other")]
    make = partial(owners.hook, "f", Access(), 60, virtual_service("mine"))
    with pytest.raises(RuntimeError, match=r"^VirtualService shop/mine: HTTPRoute shop/other routes Service shop/cart"):
        run_hooks(make)
    mesh.routes = [virtual_service("mine")]
    with pytest.raises(RuntimeError, match=r"^VirtualService shop/mine: it exists already, and is not of this stack"):
        run_hooks(make)


def test_creation_of_a_namespace_that_another_owner_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()
    monkeypatch.setattr(waits, "read_api", lambda _, path: asked.append(path) or b'{"metadata": {}}')
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "annotations": {owners.OWNER: OWN}},
    }
    make = partial(owners.untaken_hook, "n", Access(), 60, f"{owners.EXISTS}; delete it")
    with pytest.raises(RuntimeError, match=r"^Namespace shop: it exists already, and is not of this stack; delete it$"):
        run_hooks(make, new_inputs=namespace)
    assert asked == ["/api/v1/namespaces/shop"]


@pytest.mark.parametrize("status", [403, 404])
def test_write_without_the_right_to_read_routes_is_not_refused(mesh: Mesh, status: int) -> None:
    mesh.refusing = {"virtualservices": status}  # not that of the written object
    assert written(http_route("mine", OWN), new=True) == ""


@pytest.mark.parametrize("second", [CanaryRoute, ServiceTraffic])
def test_two_components_for_one_port_of_a_service_are_refused(second: Any) -> None:
    def program(port: int) -> None:
        CanaryRoute("a", SPLIT)  # type: ignore[arg-type]
        second("b", {**SPLIT, "port": port})

    run(lambda: program(81))
    with pytest.raises(pulumi.RunError, match='service is "cart": it must be one whose port 80 CanaryRoute a does not'):
        run(lambda: program(80))


def test_two_hosted_components_for_one_port_of_a_service_are_refused() -> None:
    process = host()

    def construct(name: str, kind: str = "CanaryRoute") -> None:
        run(lambda: process.construct(name, f"waypoint-lab:index:{kind}", SPLIT))  # each with a monitor of its own

    construct("a")
    construct("a")  # the update after its preview
    with pytest.raises(InputPropertiesError, match="one whose port 80 CanaryRoute a does not route as well"):
        construct("b", "ServiceTraffic")


def test_resources_of_a_fault_are_created_after_the_check_of_owners() -> None:
    fault = {"abort": {"status": 503}, "duration": {"seconds": 30}, "fault_at": "upstream", "baseline": "old"}
    retries = {"attempts": 1, "budget_percent": 10}
    record = run(lambda: ChaosRule("f", {**CART, **fault, "retries": retries}))  # type: ignore[typeddict-item]
    checked = {name for name in record.kinds() if "f-owners" in record.requests[name].hooks.before_create}
    first = {"f-upstream-config", "f-fault-expiry-serviceaccount", "f-upstream-destination", "f-budget"}
    assert checked == first
    for name in record.kinds().keys() - first:
        assert record.needs(name) & first or name == "f-rule", name


@pytest.mark.parametrize("outputs", [("service",), ("namespace",), ("namespace", "service")])
@pytest.mark.parametrize("second", [CanaryRoute, ServiceTraffic, ChaosRule])
def test_two_components_for_a_service_that_is_an_output_are_refused(second: Any, outputs: tuple[str, ...]) -> None:
    more = {"timeout": "3s"} if second is ChaosRule else {"baseline": "old", "canary": "new", "weight": 20}

    def program(port: int) -> None:
        CanaryRoute("a", SPLIT)  # type: ignore[arg-type]
        second("b", {**CART, **more, "port": port, **{key: pulumi.Output.from_input(CART[key]) for key in outputs}})

    assert {"a-route", "b-rule" if second is not CanaryRoute else "b-route"} == run(lambda: program(81)).kinds().keys()
    with pytest.raises(pulumi.RunError) as caught:
        run(lambda: program(80))
    want = "it must be one whose port 80 CanaryRoute a does not route as well; use one ServiceTraffic for both"
    assert f'{second.__name__}: service is "cart": {want}' == str(caught.value)


@pytest.mark.parametrize("as_output", [False, True])
def test_components_for_one_service_of_two_clusters_are_not_refused(as_output: bool) -> None:
    def program(*contexts: str) -> None:
        for number, context in enumerate(contexts):
            where = pulumi.Output.secret(context) if as_output else context
            ChaosRule(f"c{number}", {**CART, "retries": {"attempts": 1, "budget_percent": 10}, "context": where})  # type: ignore[typeddict-item]

    record = run(lambda: program("east", "west"))
    for name in ("c0-rule", "c1-rule"):
        assert record.inputs(name)["spec"]["hosts"] == ["cart.shop.svc.cluster.local"]
        assert SECRET not in str(record.requests[name].object)
    for both in (("east", "east"), ("east", "")):  # without a name it may be the same
        with pytest.raises(
            pulumi.RunError, match=r'service is "cart": it must be one whose port 80 ChaosRule c0 does|budget'
        ):
            run(lambda both=both: program(*both))


def test_component_for_a_service_that_is_an_output_keeps_its_names() -> None:
    record = run(lambda: CanaryRoute("a", {**SPLIT, "service": pulumi.Output.from_input("cart")}))  # type: ignore[typeddict-item]
    assert record.inputs("a-route")["metadata"]["namespace"] == "shop"
    assert record.inputs("a-route")["spec"]["parentRefs"][0]["name"] == "cart"
