"""Sections of the reports of promotions and guards."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.configs import lab_config
from tests.unit.guard.observations import observed, series
from tests.unit.report.reports import change, measurement, report, result
from waypoint_lab.errors import KubectlError
from waypoint_lab.guard import access_logs
from waypoint_lab.guard.command import CommandResult
from waypoint_lab.guard.differences import Difference, Kind
from waypoint_lab.guard.guarded_change import GuardResult
from waypoint_lab.measure import changes, manifests
from waypoint_lab.measure.client import Answer, Endpoint
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import guard_report, page, promotion_report, run_report
from waypoint_lab.report.promotion_report import ChangeRecorder
from waypoint_lab.rollout.analysis import BACKENDS, ProbeEvidence, StepDecision, Thresholds
from waypoint_lab.rollout.state import CanaryStep

ROUTE = {"HTTPRoute shop/web": {"kind": "HTTPRoute", "spec": {"weight": 20}}}


def test_stage_after_one_that_failed_shows_only_new_objects() -> None:
    stages = result("waypoint", manifests=ROUTE), result("canary", problems=["a"]), result("promoted", manifests=ROUTE)
    sections = report(*stages).sections
    assert [len(section.manifests) for section in sections] == [1, 0, 0]
    assert [section.verdict for section in sections] == ["passed", "failed", "passed"]


def test_row_of_a_share_has_a_scale_and_that_of_a_latency_has_none() -> None:
    assert run_report.row(measurement()).scale == (0.2, 0.19, 0.17, 0.22)
    assert run_report.row(measurement("2 s later", declared=2.0)).scale is None


def decision(weight: float, kind: StepDecision = StepDecision.PROMOTE, **more: Any) -> dict[str, Any]:
    """Return a record of the journal."""
    why = "320 requests are healthy"
    return {
        "kind": "decision",
        "weight": weight,
        "cohort": "",
        "decision": str(kind),
        "why": why,
        "seconds": 4.0,
        **more,
    }


def evidence() -> dict[str, Any]:
    """Return the evidence of a probe with 100 rounds, 20 of them to the canary."""
    found = ProbeEvidence(Thresholds(0.02, 0.01, 0.01), "red")
    for number in range(100):
        route = changes.Answer(200, "red" if number % 5 == 0 else "none", seconds=0.02)
        found.add((route, route, route))
    return {"probe": found.document()}


def recorder(tmp_path: Path, *changes_: changes.ConfigurationChange) -> ChangeRecorder:
    """Return a recorder that has seen these changes."""
    found = ChangeRecorder(PulumiStack(tmp_path, "dev"), print)
    found.changes, found.manifests = list(changes_), [ROUTE] * len(changes_)
    return found


def test_sections_of_a_promotion_have_each_step(tmp_path: Path) -> None:
    records = [
        {"kind": "apply", "weight": 20, "cohort": ""},
        decision(20, evidence=evidence()),
        decision(50, StepDecision.PAUSE),  # not approved, so not applied
        {"kind": "end"},
    ]
    first, second = promotion_report.sections(records, recorder(tmp_path, change(*["baseline"] * 30)))
    assert [(one.name, one.verdict) for one in (first, second)] == [("20 %", "passed"), ("50 %", "inconclusive")]
    share = first.rows[0]
    assert (share.what, share.declared, share.measured, share.verdict) == (
        "share of the canary",
        "20.00%",
        "20.00%",
        "passed",
    )
    assert [row.what for row in first.rows[1:]] == [f"failures, {name} (probe)" for name in BACKENDS]
    assert [curve.name for curve in first.curves] == [f"{name} (probe)" for name in BACKENDS]
    assert (len(first.changes), first.manifests) == (1, ROUTE)
    assert (second.changes, second.problems) == ([], ["320 requests are healthy"])
    text = page.html(report(sections=[first, second]))
    assert "<h2>20 % " in text
    assert "<h2>50 % " in text


def test_recorder_keeps_the_moments_of_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "deployed", lambda _stack: ROUTE)
    config = lab_config("waypoint", "canary", canary={"evidence": "traffic"})
    found = ChangeRecorder(PulumiStack(tmp_path, "dev"), print)
    began = time.time()
    with found.around(CanaryStep(20), config) as applied:
        applied()
    (only,) = found.changes
    assert began <= only.began <= only.applied <= only.synced <= time.time()
    assert found.manifests == [ROUTE]


def test_recorder_by_the_probe_has_requests_of_the_cohort_around_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[object] = []

    class Requests:
        def __init__(self, *_args: object, endpoints: tuple[Endpoint, ...]) -> None:
            order.extend(endpoints)

        def wait_for_answers(self) -> None:
            order.append("answers")

        def stop(self) -> list[Answer]:
            order.append("stop")
            return [Answer(200, "red", at=1.0)]

    monkeypatch.setattr(promotion_report, "Load", Requests)
    monkeypatch.setattr(promotion_report, "AFTER_SECONDS", 0.0)
    monkeypatch.setattr(manifests, "deployed", lambda _stack: ROUTE)
    found = ChangeRecorder(PulumiStack(tmp_path, "dev"), print)
    with found.around(CanaryStep(20, "query:a=b"), lab_config("waypoint", "canary")):
        order.append("update")
    assert order == [Endpoint("", {}, "GET", "/reviews/0?a=b"), "answers", "update", "stop"]
    assert [(one.name, [*one.seen]) for one in found.changes] == [("20 % and query:a=b", [(1.0, "canary")])]


def test_recorder_without_a_probe_reads_the_access_log_around_each_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [changes.Seen(at, "baseline") for at in (94.0, 96.0, 106.0, 120.0)]
    since: list[float] = []
    monkeypatch.setattr(manifests, "deployed", lambda _stack: ROUTE)
    monkeypatch.setattr(changes, "logged", lambda _config, began: since.append(began) or seen)
    monkeypatch.setattr(promotion_report.proxy_versions, "read", lambda *_arguments: {"Istio": "1.31.0"})
    found = ChangeRecorder(PulumiStack(tmp_path, "dev"), print)
    assert found.finish() == {}
    with found.around(CanaryStep(20), lab_config("waypoint", "canary", canary={"evidence": "traffic"})):
        pass
    found.changes = [change()]  # from 100 to 102
    assert found.finish() == {"Istio": "1.31.0"}
    assert (since, found.changes[0].source) == ([95.0], changes.LOG)
    assert [one.at for one in found.changes[0].seen] == [96.0, 106.0]


def test_recorder_of_a_failed_update_has_no_sync(tmp_path: Path) -> None:
    config = lab_config("waypoint", "canary", canary={"evidence": "traffic"})
    found = ChangeRecorder(PulumiStack(tmp_path, "dev"), print)
    with pytest.raises(KubectlError), found.around(CanaryStep(20), config):
        raise KubectlError("no answer")
    assert [(one.applied, one.synced) for one in found.changes] == [(0.0, 0.0)]


def test_sections_of_a_guard_have_comparisons_shares_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    before = observed(web=series(80, latencies=[0.01] * 80), next=20)
    after = observed(web=50, next=50)
    result = GuardResult(
        Verdict.FAILED,
        [
            Difference("web:80", Kind.SHARE, Verdict.FAILED, "share was 80.0% of 100, is 50.0% of 100"),
            Difference("next:80", Kind.RATE, Verdict.INCONCLUSIVE, "few requests", needed=60),
        ],
        CommandResult(["helm", "upgrade", "https://ci:s3cr3t@charts.example.com/shop.tgz"], 0, 1.0),
        CommandResult(["sh", "-c", "curl https://ci:s3cr3t@ci.example.com/undo"], 0, 1.0),
        before=before,
        after=after,
        began=now - 5,
        settled=now - 2,
    )
    monkeypatch.setattr(manifests, "live", lambda _target, namespace: ROUTE if namespace == "shop" else {})
    monkeypatch.setattr(access_logs, "outcomes", lambda *_arguments: [(now - 6, "web:80"), (now - 1, "next:80")])
    waypoints: Any = SimpleNamespace(target=None, namespace="shop")
    command, rollback = guard_report.sections(result, waypoints, {"Service shop/old": {}}, print)
    first = command.rows[0]
    assert (first.what, first.why) == ("web:80: share", "share was 80.0% of 100, is 50.0% of 100")
    needed = command.rows[1]
    assert (needed.why, needed.requests) == ("few requests; needs this number of requests", 60)
    measured = {row.what: row.measured for row in command.rows[2:]}
    assert measured["web:80, before: share"] == "80.00%"
    assert measured["next:80, after: share"] == "50.00%"
    assert command.manifests == ROUTE
    assert "Service shop/old was deleted" in command.notes
    assert (command.changes[0].last_old, command.changes[0].first_new) == (now - 6, now - 1)
    assert (rollback.name, rollback.verdict) == ("rollback", "failed")
    text = page.html(report(sections=[command, rollback]))
    assert "web:80, before: share" in text
    assert "helm upgrade https://charts.example.com/[secret]: exit status 0" in text
    assert "s3cr3t" not in text


def test_sections_of_a_guard_without_cluster_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> None:
        raise KubectlError("forbidden")

    monkeypatch.setattr(manifests, "live", refused)
    monkeypatch.setattr(access_logs, "outcomes", refused)
    said: list[str] = []
    result = GuardResult(Verdict.PASSED, [], CommandResult(["true"], 0, 1.0), began=1.0)
    waypoints: Any = SimpleNamespace(target=None, namespace="shop")
    (command,) = guard_report.sections(result, waypoints, {}, said.append)
    assert said == ["the objects are not in the report: forbidden", "the access log is not in the report: forbidden"]
    assert "no request was seen" in page.html(report(sections=[command]))
