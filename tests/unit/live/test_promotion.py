"""The promotion of a snapshot: from the journal, and from the progress of the command that runs."""

import json
import os
from pathlib import Path

import pytest

from waypoint_lab.live.promotion import changes, promotion
from waypoint_lab.live.updates import parsed
from waypoint_lab.measure.client import Answer
from waypoint_lab.rollout import progress
from waypoint_lab.rollout.analysis import ProbeEvidence, Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.progress import Progress, ProgressFile
from waypoint_lab.rollout.state import CanaryStep

STEPS = [{"weight": weight, "cohort": ""} for weight in (5.0, 50.0, 100.0)]
LIMITS = Thresholds(0.02, 0.01, 0.01, p99_ratio=1.5)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """Return the journal of a promotion whose first step passed."""
    found = Journal(tmp_path, "dev")
    found.append("start", "p", **{"from": {"weight": 0, "cohort": ""}}, steps=STEPS)
    found.append("apply", "p", **STEPS[0])
    found.append("decision", "p", **STEPS[0], decision="promote", why="fine")
    found.append("apply", "p", **STEPS[1])
    return found


def evidence() -> ProbeEvidence:
    found = ProbeEvidence(LIMITS)
    for _ in range(100):
        found.add([Answer(200), Answer(200), Answer(200)])
    return found


def test_promotion_of_a_running_command_has_its_evidence_and_thresholds(journal: Journal) -> None:
    with ProgressFile(journal) as write:
        write(Progress("evidence of the probe", CanaryStep(50.0), LIMITS, lambda: {"probe": evidence().document()}))
        found = promotion(journal.records(), progress.read(journal))
        assert found
    assert (
        found.running,
        found.step,
        found.number,
        found.passed,
        found.waits_for,
    ) == (True, "50 %", 2, 1, "evidence of the probe")
    assert found.thresholds == {"margin": "2 %", "least success": "90 %", "limit": "120 s", "p99 ratio": "1.5"}
    (one,) = found.evidence
    assert (one.source, one.decision, one.requests) == ("probe", "open", {"canary": 100, "baseline": 100, "route": 100})
    assert (pytest.approx(one.needed_bad), pytest.approx(one.needed_healthy)) == (200.0, 100.0)
    assert 1 < one.against_bad < 100
    assert not Path(journal.folder, "dev.progress.json").exists()


@pytest.mark.parametrize("pid", [2**22 + 1, 1, os.getpid()], ids=["gone", "of another user", "used again"])
def test_promotion_of_a_killed_command_does_not_run(journal: Journal, pid: int) -> None:
    ProgressFile(journal)(Progress("pulumi up", CanaryStep(50.0)))
    file = journal.folder / "dev.progress.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "pid": pid, "started": written["started"] - 1}))
    found = promotion(journal.records(), progress.read(journal))
    assert found
    assert (found.running, found.waits_for) == (False, "lab canary promote or lab canary rollback")


def test_promotion_that_ended_is_none(journal: Journal) -> None:
    journal.append("end", "p", phase="RolledBack", **STEPS[0])
    assert promotion(journal.records(), {}) is None
    assert promotion([], {}) is None


def test_progress_is_written_at_once_for_a_new_action_only(journal: Journal) -> None:
    write = ProgressFile(journal)
    write(Progress("pulumi up", CanaryStep(5.0)))
    first = progress.read(journal)
    write(Progress("pulumi up", CanaryStep(5.0)))
    assert first == progress.read(journal)
    write(Progress("the waypoint's Envoy", CanaryStep(5.0)))
    assert ("the waypoint's Envoy", os.getpid()) == (progress.read(journal)["waits_for"], progress.read(journal)["pid"])


def test_torn_progress_is_none(journal: Journal) -> None:
    (journal.folder / "dev.progress.json").write_text('{"pid"')
    assert progress.read(journal) == {}


def test_changes_have_steps_and_decisions(journal: Journal) -> None:
    assert [one.text for one in changes(journal.records())] == [
        "promotion started: 5 %, 50 %, 100 %",
        "5 %: apply",
        "5 %: promote: fine",
        "50 %: apply",
    ]


def test_updates_have_changed_resources_and_their_end() -> None:
    done = {"kind": "update", "result": "succeeded", "resourceChanges": {"update": 2, "same": 9}}
    times = {"startTime": "2026-11-24T10:12:00.000Z", "endTime": "2026-11-24T10:12:08.000Z"}
    running = {"kind": "update", "result": "in-progress", "startTime": times["startTime"]}
    (one,) = parsed(json.dumps([running, {**done, **times}]))
    assert (one.text, one.time) == ("pulumi up: 2 update in 8 s", 1795515128.0)
    assert list(parsed("")) == []
