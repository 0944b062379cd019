from pathlib import Path

import pytest

from waypoint_lab.errors import RolloutError
from waypoint_lab.rollout import metrics
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.metrics import MetricsFile

STEPS = [{"weight": weight, "cohort": ""} for weight in (5.0, 100.0)]


def journal(folder: Path) -> Journal:
    made = Journal(folder, "dev")
    made.append("start", "p", **{"from": {"weight": 0, "cohort": ""}}, steps=STEPS)
    return made


def decided(made: Journal, failed: int) -> None:
    requests = dict.fromkeys(("canary", "baseline", "route"), 100)
    evidence = {"probe": {"requests": requests, "failed": {"canary": failed, "baseline": 1, "route": 0}}}
    made.append("apply", "p", **STEPS[0])
    made.append("decision", "p", **STEPS[0], decision="promote", why="w", evidence=evidence)


def test_file_has_the_state_after_each_record(tmp_path: Path) -> None:
    made, file = journal(tmp_path), tmp_path / "lab.prom"
    made.observers.append(MetricsFile(file, made, metrics.promotion, "dev", print))
    assert 'waypoint_lab_promotion_steps_passed{stack="dev"} 0\n' in file.read_text()
    decided(made, 3)
    made.append("apply", "p", **STEPS[1])
    lines = file.read_text().splitlines()
    assert lines[:3] == [
        "# HELP waypoint_lab_promotion_steps Steps of the promotion.",
        "# TYPE waypoint_lab_promotion_steps gauge",
        'waypoint_lab_promotion_steps{stack="dev"} 2',
    ]
    assert {
        'waypoint_lab_promotion_steps_passed{stack="dev"} 1',
        'waypoint_lab_promotion_weight_percent{stack="dev"} 100',
        'waypoint_lab_promotion_phase{stack="dev",phase="Progressing"} 1',
        'waypoint_lab_promotion_phase{stack="dev",phase="RolledBack"} 0',
        "# TYPE waypoint_lab_promotion_requests_total counter",
        'waypoint_lab_promotion_requests_total{stack="dev",source="probe",backend="canary"} 100',
        'waypoint_lab_promotion_failures_total{stack="dev",source="probe",backend="canary"} 3',
    } <= set(lines)
    assert len([line for line in lines if line.startswith("# TYPE")]) == 6


def test_requests_are_those_of_the_newest_promotion(tmp_path: Path) -> None:
    made = journal(tmp_path)
    decided(made, 3)
    made.append("start", "q", **{"from": {"weight": 0, "cohort": ""}}, steps=STEPS)
    assert [one for one in metrics.promotion(made.records()) if one[0].endswith("_total")] == []


def test_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    made, file = journal(tmp_path), tmp_path / "lab.prom"
    file.write_text("old\n")
    file.chmod(0o644)
    before = file.stat().st_ino
    MetricsFile(file, made, metrics.promotion, "dev", print)
    assert (file.stat().st_ino == before, file.stat().st_mode & 0o777) == (False, 0o644)
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".lab.prom")] == []


def test_file_without_a_promotion_is_empty(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "lab.prom", Journal(tmp_path, "dev"), metrics.promotion, "dev", print)
    assert (tmp_path / "lab.prom").read_text() == ""


def test_file_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match=r"^--metrics .*/missing/lab.prom: No such file or directory; name a file"):
        MetricsFile(tmp_path / "missing" / "lab.prom", Journal(tmp_path, "dev"), metrics.promotion, "dev", print)


def test_file_whose_folder_is_removed_stops_nothing(tmp_path: Path) -> None:
    made, lines = journal(tmp_path), list[str]()
    folder = tmp_path / "metrics"
    folder.mkdir()
    made.observers.append(MetricsFile(folder / "lab.prom", made, metrics.promotion, "dev", lines.append))
    (folder / "lab.prom").unlink()
    folder.rmdir()
    decided(made, 0)  # two records
    (line,) = lines
    assert line.endswith("lab.prom: No such file or directory; the promotion continues without")


def test_migration_has_weight_and_phase(tmp_path: Path) -> None:
    made = Journal(tmp_path, "dev")
    assert list(metrics.migration(made.records())) == []
    step = {"name": "a", "canary": "b", "weight": 10, "revision": "", "canary_revision": ""}
    made.append("migration", "m", step=step, decision="promote", why="w", evidence=[])
    found = metrics.text("waypoint_lab_migration", "dev", metrics.migration(made.records()))
    assert 'waypoint_lab_migration_weight_percent{stack="dev",waypoint="b"} 10\n' in found
    assert 'waypoint_lab_migration_phase{stack="dev",phase="Progressing"} 1\n' in found
    made.append("migration", "n", step={**step, "weight": 50}, decision="promote", why="w", evidence=[])
    made.append("migration", "n", step={"name": "b"}, decision="promote", why="w", evidence=[])
    assert [*metrics.migration(made.records())][:2] == [
        ("steps_passed", {}, 2),
        ("weight_percent", {"waypoint": "b"}, 100),
    ]
    made.append("migration", "n", step={"name": "b"}, decision="roll back", why="w", evidence=[])
    assert next(metrics.migration(made.records())) == ("steps_passed", {}, 2)


def test_text_escapes_labels() -> None:
    found = metrics.text("x", 'a"b\\c\nd', [("steps", {}, 1)])
    assert found.splitlines()[-1] == 'x_steps{stack="a\\"b\\\\c\\nd"} 1'
