"""`lab guard`: its options, its rules, its output and its exit status."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from waypoint_lab.cli import guard, main
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ConfigError, ReportError
from waypoint_lab.guard.command import CommandResult
from waypoint_lab.guard.comparison import Expectation, Rules
from waypoint_lab.guard.differences import Difference, Kind
from waypoint_lab.guard.guarded_change import GuardedChange, GuardResult
from waypoint_lab.measure.verify import Verdict

DONE = CommandResult(["true"], 0, 1.0)
GONE = Difference("web:80", Kind.RATE, Verdict.FAILED, "went silent")
UNSURE = Difference("web:80", Kind.RATE, Verdict.INCONCLUSIVE, "2 and 0 requests", 40, suspicious=True)
BACK = Difference("web:80", Kind.RATE, Verdict.PASSED, "2 and 2 requests")


class Watched:
    """Record of what the command watched, and the result that it gets."""

    result = GuardResult(Verdict.PASSED, [BACK], DONE)
    change: GuardedChange
    target: Any
    namespace = ""


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched()

    def look_up(target: object, namespace: str) -> None:
        made.target, made.namespace = target, namespace

    def watch(_source: object, change: GuardedChange, _report: object) -> GuardResult:
        made.change = change
        return made.result

    monkeypatch.setattr(guard, "PROJECT_FOLDER", tmp_path)
    monkeypatch.setattr(guard, "Waypoints", look_up)
    monkeypatch.setattr(guard, "source", lambda waypoints: waypoints)
    monkeypatch.setattr(guard, "use_target", lambda state, config: None)
    monkeypatch.setattr(guard, "watch", watch)
    monkeypatch.setenv("KUBECONFIG", "the-users-own")
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    return made


def run(*arguments: str) -> int:
    return main.main(["guard", *arguments])


def test_options_of_the_command_belong_to_it(watched: Watched) -> None:
    assert run("--seconds", "10", "--limit", "60", "kubectl", "--namespace", "other", "--json") == 0
    assert watched.change.limit_seconds == 60
    assert (
        tuple(watched.change.command),
        watched.change.seconds,
        watched.change.before_seconds,
    ) == (("kubectl", "--namespace", "other", "--json"), 10, 10)


def test_namespace_defaults_to_that_of_the_stack(watched: Watched) -> None:
    run("--", "true")
    assert watched.namespace == "bookinfo-backends"
    run("--namespace", "shop", "--", "true")
    assert watched.namespace == "shop"


def test_rules_come_from_the_options(watched: Watched) -> None:
    given = ("--expect", "new=20%", "--allow-silent", "old", "--share-points", "3", "--failure-points", "2")
    run("--namespace", "shop", *given, "--p99-factor", "2", "--error-rate", "5", "--", "true")
    rules = Rules(0.05, 0.03, 0.02, 2.0, {"new": Expectation(0.2)}, frozenset({"old"}))
    assert rules == watched.change.rules()
    assert Rules(0.05, 0.03, 0.02, 2.0) == watched.change.tolerances


def test_rules_of_a_stack_come_from_its_deployment(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}, "canary": {"weight": 40}})
    monkeypatch.setattr(guard.PulumiStack, "deployed", lambda stack: config)
    run("--", "true")
    rules = watched.change.rules()
    assert rules.expected["reviews-stable"].share == 0.4
    assert {"reviews", "reviews-premium"} == rules.may_be_silent
    assert {"reviews", "reviews-premium", "reviews-stable", "reviews-baseline"} == rules.of_stack


def test_backends_that_a_change_of_the_stack_may_empty_come_from_its_weight(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = iter((20, 30))

    def deployed(_stack: object) -> LabConfig:
        canary = {"weight": next(weights), "sessionAffinity": {"maxAgeSeconds": 60}}
        return LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}, "canary": canary})

    monkeypatch.setattr(guard.PulumiStack, "deployed", deployed)
    run("--", "true")
    rules = watched.change.rules()
    assert ({"reviews-baseline"}, rules.of_stack) == (rules.may_fall, rules.may_move)


@pytest.mark.parametrize(
    ("before", "former"),
    [
        (
            {"app": {"backends": {"baseline": {"service": "reviews-baseline"}, "canary": {"service": "reviews-v1"}}}},
            "reviews-v1",
        ),
        ({"fault": {"at": "upstream"}, "stages": {"abort": True}}, "reviews-traffic-upstream"),
    ],
    ids=["renamed", "end of a fault"],
)
def test_service_that_only_the_former_config_names_may_be_silent(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, before: dict[str, Any], former: str
) -> None:
    def config(given: dict[str, Any]) -> LabConfig:
        stages = {"waypoint": True, "canary": True, **given.get("stages", {})}
        return LabConfig.from_mapping({"trafficApi": "virtual-service", **given, "stages": stages})

    configs = iter([config(before), config({})])
    monkeypatch.setattr(guard.PulumiStack, "deployed", lambda _stack: next(configs))
    run("--", "true")
    rules = watched.change.rules()
    assert former in rules.may_be_silent & rules.of_stack


def test_share_of_the_options_overrides_that_of_the_stack(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    config = LabConfig.from_mapping({"stages": {"waypoint": True, "canary": True}})
    monkeypatch.setattr(guard.PulumiStack, "deployed", lambda stack: config)
    run("--expect", "reviews-stable=70", "--", "true")
    assert Expectation(0.7) == watched.change.rules().expected["reviews-stable"]


def test_stack_that_cannot_be_read_declares_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_stack: object) -> LabConfig:
        raise ConfigError("stack dev: nothing is deployed; run `pulumi up`")

    monkeypatch.setattr(guard.PulumiStack, "deployed", fail)
    run("--", "true")
    assert Rules() == watched.change.rules()
    assert "guard: no share is taken from stack dev: stack dev: nothing is deployed" in capsys.readouterr().err


def test_cluster_without_a_stack_is_that_of_the_options(watched: Watched, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.touch()
    assert run("--kubeconfig", str(file), "--context", "prod", "--namespace", "shop", "--", "true") == 0
    assert (str(file), "prod") == (watched.target.kubeconfig, watched.target.context)
    assert str(file) == os.environ["KUBECONFIG"]


def test_command_gets_the_kubeconfig_of_the_stacks_target(watched: Watched, tmp_path: Path) -> None:
    settings = "config: {'waypoint-lab:target': {kind: existing, kubeconfig: their/kubeconfig}}\n"
    (tmp_path / "Pulumi.dev.yaml").write_text(settings)
    run("--", "true")
    assert str(tmp_path / "their/kubeconfig") == os.environ["KUBECONFIG"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--context", "x", "--", "true"), "--namespace is needed without a stack"),
        (("--stack", "dev", "--context", "x", "--", "true"), "--stack names a cluster"),
        (("--expect", "new", "--", "true"), "new: it must be SERVICE=PERCENT"),
        (("--expect", "new=120%", "--", "true"), "new=120%: it must be SERVICE=PERCENT"),
        (("--seconds", "2", "--", "true"), "is not in the range"),
        ((), "Missing argument 'COMMAND...'"),
    ],
)
def test_wrong_usage_ends_with_status_two(
    watched: Watched, given: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*given) == 2
    assert message in capsys.readouterr().err


def test_command_that_does_not_exist_is_one_line(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--", "no-such-command") == 1
    assert "lab guard: no-such-command: there is no such command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (GuardResult(Verdict.FAILED, [GONE], DONE), 1),
        (GuardResult(Verdict.INCONCLUSIVE, [UNSURE], DONE), 3),
        (GuardResult(Verdict.FAILED, [GONE], DONE, interrupted=True), 130),
        (GuardResult(Verdict.FAILED, [GONE], DONE, DONE, [BACK]), 1),
    ],
)
def test_exit_status_equals_the_verdict(watched: Watched, result: GuardResult, status: int) -> None:
    watched.result = result
    assert status == run("--", "true")


def test_table_names_the_destination_and_the_number_needed(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    watched.result = GuardResult(Verdict.FAILED, [GONE, UNSURE], DONE, DONE, [BACK])
    run("--", "true")
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "inconclusive  needs 40 requests" in captured.out
    assert "guard: rolled back: the former outcome is back" in captured.err


def test_rollback_without_effect_is_shown(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    watched.result = GuardResult(Verdict.FAILED, [GONE], DONE, DONE, [GONE])
    run("--", "true")
    assert "guard: rolled back: the former outcome is not proven to be back" in capsys.readouterr().err


def test_json_is_alone_on_standard_output(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    run("--json", "--", "true")
    found = json.loads(capsys.readouterr().out)
    assert (
        found["passed"],
        found["verdict"],
        found["command"]["exit_code"],
        found["rollback"],
    ) == (True, "passed", 0, None)
    assert watched.change.stdout == 2


def test_report_that_cannot_be_written_keeps_the_outcome(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object) -> None:
        raise ReportError("chromium: it wrote no picture; add --no-picture")

    monkeypatch.setattr(guard.guard_report, "objects", lambda *_arguments: {})
    monkeypatch.setattr(guard.guard_report, "sections", fail)
    watched.result = GuardResult(Verdict.INCONCLUSIVE, [UNSURE], DONE)
    assert run("--json", "--report", str(tmp_path / "report"), "--no-picture", "--", "true") == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["verdict"] == "inconclusive"
    assert captured.err.splitlines()[-1] == "report: chromium: it wrote no picture; add --no-picture"


def test_summary_of_the_report_shows_of_an_address_the_server_only(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, ...]] = []
    monkeypatch.setattr(guard, "Waypoints", lambda _target, _namespace: SimpleNamespace(names=()))
    monkeypatch.setattr(guard.guard_report, "objects", lambda *_arguments: {})
    monkeypatch.setattr(guard.guard_report, "sections", lambda *_arguments: [])
    monkeypatch.setattr(guard.proxy_versions, "read", lambda *_arguments: {})
    monkeypatch.setattr(guard.reports.Recording, "write", lambda _record, *facts: written.append(facts))
    run("--report", str(tmp_path / "report"), "--no-picture", "--", "true", "https://ci:s3cr3t@charts.example.com/shop")
    assert [facts[2].partition(": the traffic")[0] for facts in written] == ["true https://charts.example.com/[secret]"]
