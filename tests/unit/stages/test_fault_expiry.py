"""Expiry of a fault as the cluster records it, and the requests that a fault hits."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.configs import lab_config
from waypoint_lab.chaos import blast_radius
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError
from waypoint_lab.measure import envoy_routes
from waypoint_lab.program import l4_enforcement
from waypoint_lab.stages import fault_expiry

LASTING = {"durationSeconds": 30}


def config(*on: str, **objects: object) -> LabConfig:
    return lab_config("waypoint", *on, **objects)


def noted(**annotations: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {f"waypoint-lab/{key.replace('_', '-')}": v for key, v in annotations.items()}}}


def test_fault_id_needs_a_fault_with_a_duration() -> None:
    assert fault_expiry.fault_id(config("abort")) == ""
    assert fault_expiry.fault_id(config(fault=LASTING)) == ""
    assert fault_expiry.fault_id(config("abort", fault=LASTING))


@pytest.mark.parametrize(
    "other",
    [{"abort": {"percent": 10}}, {"start": "2"}, {"header": {"name": "a", "value": "b"}}, {"at": "upstream"}],
)
def test_fault_id_changes_with_settings_and_start(other: dict[str, Any]) -> None:
    assert fault_expiry.fault_id(config("abort", fault=LASTING)) != fault_expiry.fault_id(
        config("abort", fault={**LASTING, **other})
    )


def test_fault_id_ignores_weights_and_traffic_api() -> None:
    moved = config("abort", "canary", fault=LASTING, canary={"weight": 50}, trafficApi="virtual-service")
    assert fault_expiry.fault_id(config("abort", fault=LASTING)) == fault_expiry.fault_id(moved)
    without = config("abort", fault={**LASTING, "delay": {"seconds": 9}})  # stage `delay` is off
    assert fault_expiry.fault_id(config("abort", fault=LASTING)) == fault_expiry.fault_id(without)


def test_read_returns_the_expired_faults() -> None:
    on = noted(fault="abc", fault_until="abc 2026-01-01T00:00:00Z", fault_expired="")
    over = noted(fault="old", fault_expired="old")
    assert fault_expiry.read([over, on]) == {"old"}
    assert fault_expiry.read([]) == frozenset()


def test_effective_expired_fault_is_off_and_retries_remain() -> None:
    declared = config("abort", "retries", fault=LASTING)
    expired = frozenset({fault_expiry.fault_id(declared)})
    assert fault_expiry.effective(declared, expired).stages.on == {"waypoint", "retries"}
    assert fault_expiry.effective(declared, frozenset()) == declared


def test_described_names_requests_fault_and_duration() -> None:
    lines = blast_radius.described(
        config(
            "abort",
            fault={**LASTING, "abort": {"percent": 0.5}, "header": {"name": "end-user", "value": "jane"}},
        )
    )
    assert lines[0] == (
        "requests to bookinfo-backends/reviews:9080 with the header end-user: jane: "
        "0.5 % are answered with 503 by the waypoint"
    )
    assert lines[-1] == "it lasts 30 s, then a Job in the cluster removes it"


def test_described_delay_and_retries_have_a_line_each() -> None:
    who = "requests to bookinfo-backends/reviews:9080"
    lines = blast_radius.described(config("delay", "retries", fault={"delay": {"seconds": 2}}))
    assert lines == [
        f"{who}: all are delayed by 2 s by the waypoint",
        "failures of GET, HEAD and OPTIONS are not retried",
        "it lasts until an update removes it",
    ]


def test_described_upstream_fault_names_the_baselines_share() -> None:
    (line, *_) = blast_radius.described(
        config("abort", "canary", fault={"at": "upstream"}, trafficApi="virtual-service")
    )
    assert "those 80 % of them that go to reviews-baseline" in line


def parent(name: str, service: str, **more: object) -> dict[str, Any]:
    spec = {"parentRefs": [{"kind": "Service", "name": service, **more}]}
    return {"kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


def rule(name: str, host: str = "reviews.bookinfo-backends.svc.cluster.local", **spec: object) -> dict[str, Any]:
    return {"kind": "VirtualService", "metadata": {"name": name}, "spec": {"hosts": [host], "http": [{}], **spec}}


def test_others_are_routes_that_the_update_does_not_remove() -> None:
    routes = [parent("mine", "reviews"), parent("reviews", "reviews"), parent("far", "ratings")]
    assert blast_radius.others(config("abort", trafficApi="virtual-service"), routes) == ["mine"]
    assert blast_radius.others(config("abort"), routes) == ["mine", "reviews"]


def test_others_are_other_virtual_services_of_the_host() -> None:
    rules = [rule("reviews-fault"), rule("reviews-traffic"), rule("reviews"), rule("far", "ratings")]
    assert blast_radius.others(config("abort"), rules) == ["reviews"]


@pytest.mark.parametrize(
    ("item", "hides"),
    [
        (parent("a", "reviews", port=9080), True),
        (parent("a", "reviews", port=9081), False),
        (parent("a", "reviews", namespace="elsewhere"), False),
        (rule("a", http=[{"match": [{"port": 9080}]}]), True),
        (rule("a", http=[{"match": [{"port": 9081}]}]), False),
        (rule("a", gateways=["istio-system/ingress"]), False),
        (rule("a", "*"), True),
        (rule("a", "reviews.bookinfo-backends.svc"), True),
        (rule("a", "reviews.elsewhere.svc"), False),
    ],
)
def test_others_are_those_that_the_components_refuse(item: dict[str, Any], hides: bool) -> None:
    assert blast_radius.others(config("abort"), [item]) == (["a"] if hides else [])


def line(status: str, flags: str, agent: str, cluster: str = "reviews", address: str = "10.96.0.9:9080") -> str:
    return (
        f'[2026-01-01T00:00:00.000Z] "GET /reviews/0 HTTP/1.1" {status} {flags} via_upstream - "-" 0 18 0 - "-" '
        f'"{agent}" "id" "reviews.bookinfo-backends:9080" "-" inbound-vip|9080|http|{cluster}.ns.svc.cluster.local - '
        f"{address} 10.244.0.1:49198 - -"
    )


def test_counted_other_clients_requests_and_hits() -> None:
    log = [
        line("503", "FI", "curl/8"),
        line("200", "DI", "curl/8"),
        line("200", "-", "-"),
        line("503", "-", "curl/8", "reviews-fault-upstream"),
        line("200", "-", "curl/8", "reviews-upstream"),
        line("503", "FI", "waypoint-lab"),
        line("200", "-", "curl/8", address="10.96.0.7:9080"),
        "something else",
    ]
    found = blast_radius.counted("\n".join(log), ["10.96.0.9:9080"], "reviews-fault-upstream")
    assert found == blast_radius.ObservedTraffic(5, 3)


def test_serving_returns_the_first_matching_route() -> None:
    def route(name: str, **headers: Any) -> dict[str, Any]:
        matches = [{"name": key.replace("_", "-"), "string_match": value} for key, value in headers.items()]
        return {"name": name, "match": {"headers": matches}}

    method = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    routes = [
        route("jane", end_user={"exact": "jane"}),
        {"name": "reads", "match": {"headers": [method]}},
        route("all"),
    ]

    def served(headers: dict[str, str], method: str = "GET") -> str:
        return str((envoy_routes.serving(routes, headers, method) or {})["name"])

    assert [served({"end-user": "jane"}), served({"end-user": "joe"}), served({}), served({}, "POST")] == [
        "jane",
        "reads",
        "reads",
        "all",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fault": {"header": {"name": "end-user"}}}, "fault.header.value: it is missing"),
        ({"fault": {"source": "productpage"}}, "fault.source: there is no such setting"),
        ({"fault": {"durationSeconds": 3601}}, "a number of seconds from 0 to 3600"),
        ({"trafficApi": "both"}, "gateway-api or virtual-service"),
        ({"retries": {"backoff": "soon"}}, "a duration above zero"),
        ({"retries": {"budgetPercent": 101}}, "a number from 0 to 100"),
        ({"stages": {"waypoint": True, "canary": True, "abort": True}}, "set trafficApi to virtual-service"),
    ],
)
def test_from_mapping_bad_fault_setting_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LabConfig.from_mapping(given)


def test_from_mapping_virtual_service_allows_canary_and_fault() -> None:
    on = {"waypoint": True, "canary": True, "abort": True}
    assert LabConfig.from_mapping({"stages": on, "trafficApi": "virtual-service"}).rule_name == "reviews-traffic"


def test_warning_without_fail_closed_is_empty() -> None:
    assert l4_enforcement.warning(LabConfig()) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("echo daemonset.apps/ztunnel", ""),
        ('case "$*" in *redirection*) echo enabled;; esac', ""),
        ("true", "the cluster has no ztunnel to enforce it"),
    ],
)
def test_warning_fail_closed_without_ztunnel_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str, said: str
) -> None:
    command = tmp_path / "kubectl"
    command.write_text(f"#!/bin/sh\n{found}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert said in l4_enforcement.warning(config(waypoint={"failClosed": True}))
    assert bool(said) == bool(l4_enforcement.warning(config(waypoint={"failClosed": True})))
