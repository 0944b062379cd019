"""Retry budgets: one DestinationRule with a traffic policy for each backend."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError

from components import ChaosRule, ServiceTraffic
from components._internal import budgets, owners, waits
from components._internal.api import ApiReadError
from components._internal.waits import Access, Session
from tests.unit.components.hosts import host
from tests.unit.components.recording import run

HOST = "cart.shop.svc.cluster.local"
CART: Any = {"namespace": "shop", "service": "cart", "port": 80}
BUDGET: Any = {"retries": {"attempts": 1, "budget_percent": 10}}


def destination_rule(name: str, owner: str = "", host: str = HOST, **spec: Any) -> dict[str, Any]:
    annotations = {owners.OWNER: owner} if owner else {}
    policy = {} if "subsets" in spec else {"trafficPolicy": {"outlierDetection": {}}}
    return {"metadata": {"name": name, "annotations": annotations}, "spec": {"host": host, **policy, **spec}}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return why a budget's rule is refused beside others, whose list is an answer or a status; empty if it is not."""

    def check(others: Any, *, create: bool = False) -> str:
        def read(_command: Sequence[str], path: str) -> bytes:
            assert path == "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"
            if isinstance(others, int):
                raise ApiReadError("refused", others)
            return json.dumps({"items": others}).encode()

        monkeypatch.setattr(waits, "read_api", read)
        session, own = Session(Access(), "shop", 1), destination_rule("mine", "shop/dev")
        try:
            asyncio.run(session.until(lambda: budgets.check(session, own, create=create)))
        except RuntimeError as error:
            return str(error)
        return ""

    return check


@pytest.mark.parametrize(
    "other",
    [destination_rule("old"), destination_rule("old", "shop/prod"), destination_rule("old", host="cart")],
)
def test_budget_beside_another_traffic_policy_of_the_host_is_refused(
    refused: Callable[..., str], other: dict[str, Any]
) -> None:
    assert refused([other]) == (
        f"DestinationRule shop/old has a trafficPolicy for {HOST}, too, and only one of both would have an effect; "
        "add the retryBudget there, or delete it"
    )


@pytest.mark.parametrize(
    "others",
    [
        [],
        [destination_rule("mine")],
        [destination_rule("earlier-name", "shop/dev")],
        [destination_rule("old", host="till")],
        [destination_rule("old", subsets=[{"name": "v1"}])],
        [destination_rule("old", workloadSelector={"matchLabels": {"app": "till"}})],
        403,
        404,
    ],
)
def test_budget_beside_other_rules_is_not_refused(refused: Callable[..., str], others: Any) -> None:
    assert refused(others) == ""


@pytest.mark.parametrize("service", ["cart", pulumi.Output.from_input("cart")])
def test_two_budgets_for_one_backend_are_refused(service: Any) -> None:
    def program(**second: Any) -> None:
        ChaosRule("a", {**CART, **BUDGET})
        ServiceTraffic("b", {**CART, "port": 81, "service": service, **second})

    run(lambda: program(retries={"attempts": 1}))
    with pytest.raises(pulumi.RunError) as caught:
        run(lambda: program(**BUDGET))
    assert str(caught.value) == (
        f"ServiceTraffic: retries.budget_percent is 10: it must be left out where ChaosRule a has one for {HOST}: "
        "a budget is for all ports of a backend"
    )


def test_two_hosted_budgets_for_one_backend_are_refused() -> None:
    process = host()

    def construct(kind: str, name: str, port: int) -> None:
        given = {**CART, "port": port, "retries": {"attempts": 1, "budgetPercent": 10}}
        run(lambda: process.construct(name, f"waypoint-lab:index:{kind}", given))

    construct("ChaosRule", "a", 80)
    with pytest.raises(InputPropertiesError, match="left out where ChaosRule a has one for"):
        construct("ServiceTraffic", "b", 81)


def test_budget_whose_rule_another_owner_has_is_not_created(refused: Callable[..., str]) -> None:
    assert refused([destination_rule("mine", "shop/dev")], create=True) == ""
    assert refused([destination_rule("mine")], create=True).startswith("it exists already, and is not of this stack")


def test_budget_is_checked_before_each_write_and_before_its_rule() -> None:
    record = run(lambda: ChaosRule("a", {**CART, **BUDGET}))
    hooks = record.requests["a-budget"].hooks
    assert "a-budget-host" in hooks.before_create
    assert hooks.before_update == ["a-budget-host"]
    assert owners.OWNER in record.inputs("a-budget")["metadata"]["annotations"]
    assert "a-budget" in record.needs("a-rule")
