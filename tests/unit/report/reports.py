"""Results of a run, with requests around a change."""

from typing import Any

from waypoint_lab.measure.changes import ConfigurationChange, Seen
from waypoint_lab.measure.stage_run import StageResult
from waypoint_lab.measure.verify import Measurement, Verdict
from waypoint_lab.report import run_report
from waypoint_lab.report.model import Report
from waypoint_lab.stages.table import STAGES

NAMES = [row.name for row in STAGES if row.steps]
LATENCY = {"p0": 0.001, "p50": 0.004, "p99": 0.02, "p100": 0.03}


def change(*outcomes: str, began: float = 100.0) -> ConfigurationChange:
    """Return a change whose requests come every 0.1 s from 0.5 s before the update; it is in sync after 2 s."""
    seen = [Seen(began - 0.5 + number / 10, text) for number, text in enumerate(outcomes)]
    return ConfigurationChange("1", began, began + 1.5, began + 2, seen)


def measurement(what: str = "everyone to the canary", **more: Any) -> Measurement:
    """Return a share of 20 % that passed."""
    given = {"verdict": Verdict.PASSED, "requests": 3000, "declared": 0.2, "measured": 0.19, "observed": {}}
    return Measurement(what, **{**given, "interval": (0.17, 0.22), "latency": LATENCY, **more})


def result(name: str, *changes: ConfigurationChange, **more: Any) -> StageResult:
    """Return the result of a stage that passed."""
    return StageResult(name, f"Title of {name}", [measurement()], changes=list(changes), **more)


def report(*results: StageResult, **more: Any) -> Report:
    """Return a report of these stages; of all stages of the lab without one."""
    stages = results or [result(name, change(*["baseline"] * 20, *["canary"] * 20)) for name in NAMES]
    given = {
        "title": "lab run",
        "verdict": "passed",
        "summary": "a summary",
        "began": 0.0,
        "ended": 60.0,
        "confidence": 0.999,
        "versions": {"Envoy": "1.40.0"},
        "repeat": ["lab run --report DIR"],
        "config": {"canary": {"weight": 20}},
    }
    return Report(**{**given, "sections": run_report.sections(list(stages)), **more})
