"""A change is judged by the traffic around it; on failure it is rolled back, which is judged, too."""

import os
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.unit.guard.observations import destination
from tests.unit.guard.sources import Clock, FakeSource
from tests.unit.streams import without_stderr
from waypoint_lab.cli import output
from waypoint_lab.errors import KubectlError
from waypoint_lab.guard import command as commands
from waypoint_lab.guard.access_logs import LoggedTraffic
from waypoint_lab.guard.command import CommandResult
from waypoint_lab.guard.comparison import Rules
from waypoint_lab.guard.differences import Kind
from waypoint_lab.guard.guarded_change import GuardedChange, GuardResult, watch
from waypoint_lab.guard.observation import WaypointState
from waypoint_lab.measure.endpoint_counters import Counts
from waypoint_lab.measure.verify import Verdict

GOOD = {"web": Counts(10, 10)}
SILENT: dict[str, Counts] = {}


class Cluster:
    """A cluster whose traffic depends on the commands that ran."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = Clock()
        for module in ("waypoint_lab.guard.sampling", "waypoint_lab.waiting"):
            monkeypatch.setattr(f"{module}.time", clock)
        monkeypatch.setattr("waypoint_lab.guard.guarded_change.run", self.run)
        self.source = FakeSource(GOOD)
        self.effects: dict[str, dict[str, Counts]] = {}
        self.results: dict[str, tuple[int, str]] = {}
        self.ran: list[str] = []
        self.lines: list[str] = []
        self.signalled = ""  # the phase that a signal interrupts

    def run(self, command: Sequence[str], *_args: object, **options: Any) -> CommandResult:
        """Run nothing, and change the traffic."""
        name = command[-1]
        self.ran.append(name)
        self.source.rates = self.effects.get(name, self.source.rates)
        code, stopped = self.results.get(name, (0, ""))
        return CommandResult(list(command), code, 1.0, stopped)

    def report(self, line: str) -> None:
        """Keep a line of progress, and send a signal in the phase that the test chose."""
        self.lines.append(line)
        if self.signalled and line.startswith(self.signalled):
            self.signalled = ""
            os.kill(os.getpid(), signal.SIGTERM)

    def watch(self, rollback: str = "") -> GuardResult:
        """Watch the command `apply`."""
        change = GuardedChange(["apply"], rollback, 30, 30, 60, Rules)
        return watch(self.source.readers(), change, self.report)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_harmless_change_passes_and_is_not_rolled_back(cluster: Cluster) -> None:
    result = cluster.watch("undo")
    assert (result.verdict, result.rollback, cluster.ran) == (Verdict.PASSED, None, ["apply"])


def test_failure_without_a_rollback_command_is_only_reported(cluster: Cluster) -> None:
    cluster.effects = {"apply": SILENT}
    result = cluster.watch()
    assert (result.verdict, cluster.ran, result.restored) == (Verdict.FAILED, ["apply"], False)


def test_failure_is_rolled_back_and_the_outcome_proven(cluster: Cluster) -> None:
    cluster.effects = {"apply": SILENT, "undo": GOOD}
    result = cluster.watch("undo")
    assert (result.verdict, cluster.ran, result.restored) == (Verdict.FAILED, ["apply", "undo"], True)
    assert any(line.startswith("failed: web:80: went silent") for line in cluster.lines)
    assert result.document()["rollback"]["restored"] is True


def test_rollback_without_effect_is_reported(cluster: Cluster) -> None:
    cluster.effects = {"apply": SILENT}
    assert not cluster.watch("undo").restored


def test_rollback_that_fails_is_reported(cluster: Cluster) -> None:
    cluster.effects, cluster.results = {"apply": SILENT, "undo": GOOD}, {"undo": (3, "")}
    assert not cluster.watch("undo").restored


def test_command_that_fails_is_rolled_back_at_once(cluster: Cluster) -> None:
    cluster.results = {"apply": (4, "")}
    result = cluster.watch("undo")
    assert (result.verdict, result.restored, result.interrupted) == (Verdict.FAILED, True, False)
    assert result.differences[0].evidence == "the command ended with exit status 4"
    assert result.document()["command"]["exit_code"] == 4


def test_command_that_was_interrupted_is_rolled_back(cluster: Cluster) -> None:
    cluster.results = {"apply": (130, "SIGINT")}
    result = cluster.watch("undo")
    assert (result.interrupted, cluster.ran) == (True, ["apply", "undo"])


def test_signal_before_the_command_ends_without_a_change(cluster: Cluster) -> None:
    cluster.signalled = "before"
    with pytest.raises(KeyboardInterrupt):
        cluster.watch("undo")
    assert cluster.ran == []


def test_signal_after_the_command_rolls_back(cluster: Cluster) -> None:
    cluster.signalled = "after"
    result = cluster.watch("undo")
    assert (result.interrupted, result.verdict, result.restored) == (True, Verdict.FAILED, True)


def test_signal_during_the_rollback_does_not_end_it(cluster: Cluster) -> None:
    cluster.effects = {"apply": SILENT, "undo": GOOD}
    cluster.signalled = "after the rollback"
    assert cluster.watch("undo").restored


def test_waypoints_that_cannot_be_read_after_the_command_fail(cluster: Cluster) -> None:
    def broken(command: Sequence[str], *args: object, **options: Any) -> CommandResult:
        cluster.source.errors = 10_000 if command[-1] == "apply" else 0
        return cluster.run(command)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("waypoint_lab.guard.guarded_change.run", broken)
        result = cluster.watch("undo")
    assert (result.verdict, result.restored) == (Verdict.FAILED, True)
    assert result.differences[0].evidence == "the outcome cannot be observed: kubectl exec: busy"


@pytest.mark.parametrize("failing", ["rules", "processed"])
def test_unexpected_error_after_the_command_is_rolled_back(cluster: Cluster, failing: str) -> None:
    readers, rules, errors = cluster.source.readers(), Rules, [KeyError("x")]

    def refuse() -> Any:
        if errors:
            raise errors.pop()
        return {}

    if failing == "rules":
        rules = refuse  # type: ignore[assignment, misc]
    else:
        object.__setattr__(readers, "processed", refuse)
    result = watch(readers, GuardedChange(["apply"], "undo", 30, 30, 60, rules), cluster.report)
    assert (result.verdict, cluster.ran, result.restored) == (Verdict.FAILED, ["apply", "undo"], True)
    assert result.differences[0].evidence.startswith("the outcome cannot be observed: KeyError at test_guarded_change")


def test_command_without_a_reader_of_the_reports_is_rolled_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.results = {"apply": (4, "")}
    without_stderr(monkeypatch)
    watch(cluster.source.readers(), GuardedChange(["apply"], "undo", 30, 30, 60, Rules), output.reporter("guard"))
    assert cluster.ran == ["apply", "undo"]


def test_rejected_configuration_fails_beside_healthy_traffic(cluster: Cluster) -> None:
    states = [WaypointState(), WaypointState({"waypoint-1": "bad header value"})]
    cluster.source.readers()
    readers = cluster.source.readers()
    object.__setattr__(readers, "state", lambda: states.pop(0))
    result = watch(readers, GuardedChange(["apply"], "", 30, 30, 60, Rules), cluster.report)
    assert (result.differences[0].where, result.verdict) == ("waypoint-1", Verdict.FAILED)


def test_real_command_changes_a_file(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waypoint_lab.guard.guarded_change.run", commands.run)
    file = tmp_path / "state"
    change = GuardedChange(["sh", "-c", f"echo new >{file}; exit 1"], f"echo old >{file}", 30, 30, 60, Rules)
    assert watch(cluster.source.readers(), change, cluster.report).restored
    assert file.read_text() == "old\n"
    assert destination("web") in cluster.source.counts()


def test_access_log_that_fails_after_the_command_is_not_rolled_back(cluster: Cluster) -> None:
    readers, logs = cluster.source.readers(), [LoggedTraffic({}, Counter())]

    def log(_seconds: object) -> LoggedTraffic:
        if logs:
            return logs.pop()
        raise KubectlError("kubectl logs: no answer within 30 s")

    object.__setattr__(readers, "log", log)
    result = watch(readers, GuardedChange(["apply"], "undo", 30, 30, 60, Rules), cluster.report)
    assert (result.verdict, cluster.ran, result.not_measured) == (Verdict.PASSED, ["apply"], [Kind.LATENCY])
    assert "latency is not measured: kubectl logs: no answer within 30 s" in cluster.lines


def test_outcome_of_the_rollback_is_judged_by_the_tolerances_of_the_user(cluster: Cluster) -> None:
    cluster.source.rates = {"web": Counts(400, 400)}
    cluster.effects = {"apply": {"web": Counts(400, 398, 2)}}  # the rollback does not help
    strict = Rules(failures=0.001)
    change = GuardedChange(["apply"], "undo", 30, 30, 60, lambda: strict, tolerances=strict)
    result = watch(cluster.source.readers(), change, cluster.report)
    assert (result.verdict, cluster.ran, result.restored) == (Verdict.FAILED, ["apply", "undo"], False)
