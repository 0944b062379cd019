from typing import Any

import pulumi
import pytest

from components import ChaosRule
from tests.unit.components.recording import Recording, run


def chaos(**args: Any) -> Recording:
    given = {"namespace": "shop", "service": "cart", "port": 80, **args}
    return run(lambda: ChaosRule("f", given))  # type: ignore[arg-type]


ABORT = {"abort": {"status": 503, "percent": 12.5}}
PORT = [{"port": 80}]
TO_CART = [{"destination": {"host": "cart.shop.svc.cluster.local", "port": {"number": 80}}}]


def test_chaos_rule_with_everything_is_one_rule() -> None:
    retries = {"attempts": 3, "per_try_timeout": "500ms"}
    record = chaos(**ABORT, delay={"seconds": 0.25}, retries={**retries, "writes": True}, timeout="3s")
    (rule,) = record.inputs("f-rule")["spec"]["http"]
    assert rule == {
        "fault": {
            "delay": {"fixedDelay": "250ms", "percentage": {"value": 100}},
            "abort": {"httpStatus": 503, "percentage": {"value": 12.5}},
        },
        "retries": {"attempts": 3, "retryOn": "5xx", "perTryTimeout": "500ms"},
        "timeout": "3s",
        "match": PORT,
        "route": TO_CART,
    }
    assert record.kinds() == {"f-rule": "VirtualService"}


def test_chaos_rule_retries_on_a_status() -> None:
    (rule,) = chaos(retries={"attempts": 3, "retry_on": "reset,503", "writes": True}).inputs("f-rule")["spec"]["http"]
    assert rule["retries"]["retryOn"] == "reset,503"


def test_chaos_rule_with_headers_is_limited_to_them() -> None:
    first, last = chaos(**ABORT, headers={"end-user": "jane"}).inputs("f-rule")["spec"]["http"]
    assert first["match"] == [{"headers": {"end-user": {"exact": "jane"}}, "port": 80}]
    assert last == {"match": PORT, "route": TO_CART}


def test_fault_upstream_is_a_workload_in_front_of_the_baseline() -> None:
    record = chaos(**ABORT, fault_at="upstream", baseline="old")
    (rule,) = record.inputs("f-rule")["spec"]["http"]
    assert "fault" not in rule
    assert rule["route"][0]["destination"]["host"] == "f-upstream.shop.svc.cluster.local"
    text = record.inputs("f-upstream-config")["data"]["envoy.json"]
    assert '"numerator": 125000' in text
    assert "old.shop.svc.cluster.local" in text
    assert "cart.shop" not in text


def test_fault_upstream_with_new_settings_replaces_the_pods() -> None:
    def config(percent: float) -> str:
        record = chaos(abort={"status": 503, "percent": percent}, fault_at="upstream", baseline="old")
        volumes = record.inputs("f-upstream-deployment")["spec"]["template"]["spec"]["volumes"]
        assert record.inputs("f-upstream-config")["metadata"]["name"] == volumes[0]["configMap"]["name"]
        return str(volumes[0]["configMap"]["name"])

    assert config(10) != config(20)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({}, "give delay, abort, retries or timeout"),
        ({"abort": {"status": 99}}, "abort.status is 99"),
        ({"abort": {"status": 600}}, "abort.status is 600"),
        ({"abort": {"status": 503, "percent": 100.5}}, "abort.percent is 100.5: it must be a number from 0 to 100"),
        ({"delay": {"seconds": 0}}, "delay.seconds is 0"),
        ({**ABORT, "fault_at": "upstream"}, 'baseline is "": it must be a Service other than cart'),
        ({**ABORT, "fault_at": "upstream", "baseline": "cart"}, "a Service other than cart"),
        ({**ABORT, "headers": {"a": "b"}, "fault_headers": {"A": "c"}}, "the fault hits nothing"),
        ({**ABORT, "fault_at": "client"}, "waypoint or upstream"),
        ({**ABORT, "fault_headers": {"A": "b", "a": "c"}}, "names of fault_headers"),
        ({"retries": {"attempts": 1.5}}, "retries.attempts is 1.5"),
        ({"retries": {"attempts": 101}}, "^ChaosRule: retries.attempts is 101"),
        ({"retries": {"attempts": 3, "retry_on": "5xx,600"}}, 'retries.retry_on is "600"'),
    ],
)
def test_chaos_rule_with_a_bad_argument_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        chaos(**args)


def test_chaos_rule_with_fault_headers_retries_all_requests() -> None:
    retries = {"attempts": 3, "writes": True}
    record = chaos(**ABORT, fault_headers={"end-user": "jane"}, retries=retries, timeout="3s")
    first, last = record.inputs("f-rule")["spec"]["http"]
    assert first["match"] == [{"headers": {"end-user": {"exact": "jane"}}, "port": 80}]
    assert "fault" in first
    assert last == {
        "match": PORT,
        "route": TO_CART,
        "retries": {"attempts": 3, "retryOn": "5xx"},
        "timeout": "3s",
    }


def test_fault_upstream_of_a_service_that_is_an_output_replaces_it() -> None:
    given = {"namespace": "shop", "port": 80, **ABORT, "fault_at": "upstream", "baseline": "old"}
    record = run(lambda: ChaosRule("f", {**given, "service": pulumi.Output.from_input("cart")}))  # type: ignore[typeddict-item]
    (rule,) = record.inputs("f-rule")["spec"]["http"]
    assert rule["route"][0]["destination"]["host"] == "f-upstream.shop.svc.cluster.local"
