import json
from typing import Any

import pulumi
import pytest

from components import ChaosRule, FailClosed, ServiceTraffic
from components._internal import sync
from components._internal.fault_expiry import running_problem
from tests.unit.components.recording import Recording, run

DOMAIN = "shop.svc.cluster.local"
ABORT = {"abort": {"status": 503, "percent": 12.5}}
BACKENDS = {"backends": [{"name": "old", "weight": 80}, {"name": "new", "weight": 20}]}
SAFE = {"regex": "GET|HEAD|OPTIONS"}


def traffic(**args: Any) -> Recording:
    given = {"namespace": "shop", "service": "cart", "port": 80, **args}
    return run(lambda: ServiceTraffic("t", given))  # type: ignore[arg-type]


def rules(record: Recording) -> list[dict[str, Any]]:
    return list(record.inputs("t-rule")["spec"]["http"])


def shares(rule: dict[str, Any]) -> dict[str, int | None]:
    return {entry["destination"]["host"].removesuffix(f".{DOMAIN}"): entry.get("weight") for entry in rule["route"]}


def test_split_with_a_fault_is_one_rule() -> None:
    (rule,) = rules(traffic(**BACKENDS, **ABORT))
    assert shares(rule) == {"old": 80, "new": 20}
    assert rule["fault"] == {"abort": {"httpStatus": 503, "percentage": {"value": 12.5}}}


def test_service_traffic_without_backends_routes_to_the_service() -> None:
    (rule,) = rules(traffic(**ABORT))
    assert shares(rule) == {"cart": None}


def test_backend_with_weight_0_is_left_out() -> None:
    (rule,) = rules(traffic(backends=[{"name": "old", "weight": 0}, {"name": "new", "weight": 5}]))
    assert shares(rule) == {"new": None}


def test_cohort_rules_precede_others_and_have_the_fault() -> None:
    cohorts = [{"header": "End-User", "value": "jane", "backends": [{"name": "x"}]}]
    first, last = rules(traffic(**BACKENDS, **ABORT, cohorts=cohorts))
    assert first["match"] == [{"headers": {"end-user": {"exact": "jane"}}, "port": 80}]
    assert (shares(first), "fault" in first, "fault" in last) == ({"x": None}, True, True)


def test_fault_headers_split_each_rule_in_two() -> None:
    cohorts = [{"header": "tier", "value": "gold", "backends": [{"name": "x"}]}]
    found = rules(traffic(**BACKENDS, **ABORT, cohorts=cohorts, fault_headers={"end-user": "jane"}))
    seen = [(sorted((rule.get("match") or [{}])[0].get("headers", {})), "fault" in rule) for rule in found]
    assert seen == [(["end-user", "tier"], True), (["tier"], False), (["end-user"], True), ([], False)]


@pytest.mark.parametrize(
    ("value", "match", "hit"),
    [
        ("jane", "Exact", True),
        ("joe", "Exact", False),
        ("ja.*", "RegularExpression", True),
        ("jo.*", "RegularExpression", False),
    ],
)
def test_cohort_outside_the_fault_headers_gets_no_rule_with_the_fault(value: str, match: str, hit: bool) -> None:
    cohorts = [{"header": "end-user", "value": value, "match": match, "backends": [{"name": "x"}]}]
    found = rules(traffic(**BACKENDS, **ABORT, cohorts=cohorts, fault_headers={"end-user": "jane"}))
    assert [("fault" in rule) for rule in found if shares(rule) == {"x": None}] == [True, False][not hit :]


def test_retries_without_writes_are_for_safe_methods() -> None:
    first, last = rules(traffic(retries={"attempts": 3, "backoff": "50ms"}))
    assert first["match"] == [{"method": SAFE, "port": 80}]
    assert first["retries"] == {"attempts": 3, "retryOn": "5xx", "backoff": "50ms"}
    # istiod's own policy would also retry what a backend has answered to a call of gRPC.
    assert last["retries"] == {"attempts": 2, "retryOn": "connect-failure,refused-stream"}
    assert rules(traffic(retries={"attempts": 1}))[1]["retries"]["attempts"] == 1
    (only,) = rules(traffic(retries={"attempts": 3, "writes": True}))
    assert only["retries"] == {"attempts": 3, "retryOn": "5xx"}


def test_retry_budget_is_a_destination_rule_of_each_backend() -> None:
    record = traffic(**BACKENDS, retries={"attempts": 3, "budget_percent": 10})
    policy = {"retryBudget": {"percent": 10, "minRetryConcurrency": 3}}
    for name in ("old", "new"):
        assert record.inputs(f"t-{name}-budget")["spec"] == {"host": f"{name}.{DOMAIN}", "trafficPolicy": policy}


def test_fault_upstream_replaces_the_baseline_only() -> None:
    (rule,) = rules(traffic(**BACKENDS, **ABORT, fault_at="upstream", baseline="old"))
    assert shares(rule) == {"t-upstream": 80, "new": 20}
    assert "fault" not in rule


def test_fault_upstream_waits_for_the_port_of_the_baseline_within_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    behind: list[object] = []
    hooks = sync.hooks
    monkeypatch.setattr(sync, "hooks", lambda *args, **more: behind.append(more["behind"]) or hooks(*args, **more))
    record = traffic(**BACKENDS, **ABORT, fault_at="upstream", baseline="old", limit_seconds=10)
    assert behind == [[("old", 80)]]
    timeouts = record.requests["t-upstream-deployment"].customTimeouts
    assert (timeouts.create, timeouts.update) == ("10s", "10s")


def annotations(record: Recording) -> dict[str, str]:
    return dict(record.inputs("t-rule")["metadata"]["annotations"])


def test_fault_with_a_duration_has_a_job_limited_to_its_rule() -> None:
    record = traffic(**ABORT, duration={"seconds": 30, "id": "abc"})
    seen = annotations(record)
    assert (seen["waypoint-lab/fault"], seen["waypoint-lab/fault-seconds"]) == ("abc", "30")
    (rights,) = record.inputs("t-fault-expiry-role")["rules"]
    assert (rights["resources"], rights["resourceNames"]) == (["virtualservices"], ["t"])
    assert rights["verbs"] == ["get", "update"]
    job = record.inputs("t-fault-expiry-job")
    assert job["metadata"]["name"] == "t-fault-expiry-abc"
    hooks = record.requests["t-rule"].hooks
    # The Job may end while the other hooks wait.
    assert (
        hooks.before_create == hooks.before_update == ["t-fault-expiry-ready", "t-rule-ready", "t-fault-expiry-ready"]
    )
    spec = json.loads(job["spec"]["template"]["spec"]["containers"][0]["command"][-1])
    assert spec == {
        "fault": "abc",
        "hosts": {},
        "path": "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/t",
        "seconds": 30,
    }


def test_expired_fault_is_off_and_recorded() -> None:
    record = traffic(**BACKENDS, **ABORT, duration={"seconds": 30, "id": "abc", "expired": "abc"})
    (rule,) = rules(record)
    assert "fault" not in rule
    assert annotations(record)["waypoint-lab/fault-expired"] == "abc"


def test_fault_with_another_id_begins_after_an_expired_one() -> None:
    record = traffic(**ABORT, duration={"seconds": 30, "id": "new", "expired": "abc"})
    assert "fault" in rules(record)[0]
    assert annotations(record)["waypoint-lab/fault-expired"] == ""


def test_fault_id_without_one_given_changes_with_the_settings() -> None:
    def key(percent: float) -> str:
        record = traffic(abort={"status": 503, "percent": percent}, duration={"seconds": 30})
        return annotations(record)["waypoint-lab/fault"]

    assert key(10) == key(10)
    assert key(10) != key(20)


def test_expired_fault_upstream_routes_to_the_baseline_again() -> None:
    args = {**BACKENDS, **ABORT, "fault_at": "upstream", "baseline": "old"}
    (rule,) = rules(traffic(**args, duration={"seconds": 9, "id": "a", "expired": "a"}))
    assert shares(rule) == {"old": 80, "new": 20}
    job = traffic(**args, duration={"seconds": 9, "id": "a"}).inputs("t-fault-expiry-job")
    spec = json.loads(job["spec"]["template"]["spec"]["containers"][0]["command"][-1])
    assert spec["hosts"] == {f"t-upstream.{DOMAIN}": f"old.{DOMAIN}"}


def test_chaos_rule_with_a_duration_has_a_job() -> None:
    given = {"namespace": "shop", "service": "cart", "port": 80, **ABORT, "duration": {"seconds": 30, "id": "abc"}}
    record = run(lambda: ChaosRule("t", given))  # type: ignore[arg-type]
    assert annotations(record)["waypoint-lab/fault"] == "abc"
    assert record.kinds()["t-fault-expiry-job"] == "Job"


@pytest.mark.parametrize(
    ("status", "said"),
    [({"ready": 1}, ""), ({}, "does not run yet")],
)
def test_running_problem_without_a_ready_job_has_the_reason(status: dict[str, int], said: str) -> None:
    found = running_problem({"status": status})
    assert (said in found) if said else not found


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({**ABORT, "fault_at": "upstream"}, 'baseline is "": it must be a Service other than cart'),
        ({**BACKENDS, **ABORT, "fault_at": "upstream", "baseline": "x"}, "the fault hits nothing"),
        ({**ABORT, "duration": {"seconds": 3601}}, "duration.seconds is 3601: it must be a number from 1 to 3600"),
        ({**ABORT, "source_labels": {"app": "x"}}, "source_labels is unknown"),
        ({"retries": {"attempts": 1, "backoff": "soon"}}, "retries.backoff is .soon"),
        ({"retries": {"attempts": 1, "budget_percent": 101}}, "retries.budget_percent is 101"),
        ({"timeout": "3"}, 'timeout is "3": it must be a duration'),
        ({"backends": [{"name": "a", "weight": 0}]}, "sum of the weights of backends is 0"),
    ],
)
def test_service_traffic_with_a_bad_argument_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        traffic(**args)


def test_mirrors_and_header_changes_are_on_every_rule() -> None:
    extras = {"mirrors": [{"name": "new", "percent": 2.5}], "response_headers": {"set": {"x-lab": "yes"}}}
    found = rules(traffic(**BACKENDS, **extras, retries={"attempts": 1}))
    assert len(found) == 2
    for rule in found:
        place = {"host": f"new.{DOMAIN}", "port": {"number": 80}}
        assert rule["mirrors"] == [{"destination": place, "percentage": {"value": 2.5}}]
        assert rule["headers"] == {"response": {"set": {"x-lab": "yes"}}}


def test_session_affinity_routes_by_a_cookie_of_the_canary() -> None:
    first, last = rules(
        traffic(**BACKENDS, session_affinity={"backend": "new", "cookie": "backend", "max_age_seconds": 60})
    )
    assert first["match"] == [{"headers": {"cookie": {"regex": r"(.*;\s*)?backend=new\.4d2f(;.*)?"}}, "port": 80}]
    assert shares(first) == {"new": None}
    cookies = [entry.get("headers", {}).get("response", {}).get("add") for entry in last["route"]]
    assert cookies == [None, {"set-cookie": "backend=new.4d2f; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"}]


def test_session_affinity_to_a_backend_without_weight_has_no_rule() -> None:
    (rule,) = rules(
        traffic(backends=[{"name": "old"}, {"name": "new", "weight": 0}], session_affinity={"backend": "new"})
    )
    assert shares(rule) == {"old": None}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"mirrors": [{"name": "new", "percent": 101}]}, "mirrors.0..percent is 101"),
        ({"request_headers": {"put": {"a": "b"}}}, "request_headers.put is unknown"),
        ({"request_headers": {"set": {"a b": "c"}}}, "it must be the name of a header"),
        ({"response_headers": {"add": {"a": "b\nc"}}}, "printable characters"),
        ({"session_affinity": {"backend": "new", "cookie": "a=b"}}, "it must be the name of a cookie"),
        ({"session_affinity": {"backend": "new", "max_age_seconds": 0}}, "session_affinity.max_age_seconds is 0"),
        (
            {
                "session_affinity": {"backend": "new", "cookie": "b"},
                "abort": {"status": 503},
                "fault_headers": {"Cookie": "a=1; b=new.4d2f"},
            },
            "fault_headers.cookie .* without the cookie of session_affinity, which is another one in each rollout",
        ),
    ],
)
def test_service_traffic_with_bad_extras_is_refused(args: dict[str, Any], said: str) -> None:
    with pytest.raises(pulumi.RunError, match=said):
        traffic(**BACKENDS, **args)


def guarded(**args: Any) -> Recording:
    return run(lambda: FailClosed("g", {"namespace": "shop", "labels": {"app": "cart"}, **args}))  # type: ignore[typeddict-item]


def test_fail_closed_allows_the_waypoints_identity_only() -> None:
    assert guarded().inputs("g-policy")["spec"] == {
        "selector": {"matchLabels": {"app": "cart"}},
        "action": "ALLOW",
        "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/waypoint"]}}]}],
    }


def test_fail_closed_without_labels_is_refused() -> None:
    with pytest.raises(pulumi.RunError, match="at least one label"):
        guarded(labels={})


def test_fail_closed_allows_primary_and_canary_waypoint() -> None:
    spec = guarded(waypoint="blue", canary="green").inputs("g-policy")["spec"]
    (source,) = spec["rules"][0]["from"]
    wanted = ["cluster.local/ns/shop/sa/blue", "cluster.local/ns/shop/sa/green"]
    assert wanted == source["source"]["principals"]
    with pytest.raises(pulumi.RunError, match='FailClosed: canary is "": it must be a DNS label'):
        guarded(canary="")
