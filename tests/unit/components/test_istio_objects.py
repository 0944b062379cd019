import json
from typing import Any

import pytest

from tests.unit.components.recording import Recording
from tests.unit.components.test_service_traffic import ABORT, BACKENDS, DOMAIN, rules, traffic


def test_fault_upstream_with_a_port_of_the_baseline_uses_it_throughout() -> None:
    backends = [{"name": "v1", "weight": 90, "port": 8080}, {"name": "v2", "weight": 10}]
    record = traffic(backends=backends, **ABORT, fault_at="upstream", baseline="v1")
    (rule,) = rules(record)
    assert {"host": f"t-upstream.{DOMAIN}", "port": {"number": 8080}} == rule["route"][0]["destination"]
    assert [port["port"] for port in record.inputs("t-upstream")["spec"]["ports"]] == [8080]
    (cluster,) = json.loads(record.inputs("t-upstream-config")["data"]["envoy.json"])["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert {"address": f"v1.{DOMAIN}", "port_value": 8080} == endpoint["endpoint"]["address"]["socket_address"]


def budgets(record: Recording) -> set[str]:
    """Hosts with a retry budget."""
    rules = [record.inputs(name)["spec"] for name, kind in record.kinds().items() if kind == "DestinationRule"]
    return {rule["host"].removesuffix(f".{DOMAIN}") for rule in rules if "retryBudget" in rule["trafficPolicy"]}


@pytest.mark.parametrize(
    ("more", "want"),
    [
        ({}, {"cart", "x"}),
        (BACKENDS, {"old", "new", "x"}),
        ({**ABORT, "fault_at": "upstream", "baseline": "old"}, {"cart", "x", "t-upstream"}),
        ({**BACKENDS, **ABORT, "fault_at": "upstream", "baseline": "old"}, {"old", "new", "x", "t-upstream"}),
    ],
)
def test_retry_budget_covers_backends_cohorts_and_the_failing_service(more: dict[str, Any], want: set[str]) -> None:
    backends = [{"name": "x"}, {"name": "new"}] if "backends" in more else [{"name": "x"}]
    cohorts = [{"header": "tier", "value": "gold", "backends": backends}]
    assert want == budgets(traffic(**more, cohorts=cohorts, retries={"attempts": 1, "budget_percent": 10}))


def test_retry_budget_of_a_backend_named_upstream_is_beside_that_of_the_failing_service() -> None:
    backends = [{"name": "old", "weight": 80}, {"name": "upstream", "weight": 20}]
    given = {"backends": backends, **ABORT, "fault_at": "upstream", "baseline": "old"}
    record = traffic(**given, retries={"attempts": 1, "budget_percent": 10})
    assert {"old", "upstream", "t-upstream"} == budgets(record)
    names = [record.inputs(name)["metadata"]["name"] for name in record.kinds() if "budget" in name]
    assert sorted(names) == ["t-old", "t-upstream-backend"]
