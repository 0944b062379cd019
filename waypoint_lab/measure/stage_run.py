"""Run the stages of the lab on one stack, and measure each: edit the config, `pulumi up`, measure."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from waypoint_lab.config.combinations import TOGGLES
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import LabError, RestoreError
from waypoint_lab.kubectl import Object
from waypoint_lab.measure import changes, envoy_config, manifests, proxy_versions, snapshot
from waypoint_lab.measure.changes import AFTER_SECONDS, ConfigurationChange
from waypoint_lab.measure.client import Answer, Load
from waypoint_lab.measure.restore import Backup, recover, restored, selected
from waypoint_lab.measure.verify import Measurement, measure
from waypoint_lab.pulumi_cli import UPDATE_SECONDS, PulumiStack
from waypoint_lab.stages import fault_expiry
from waypoint_lab.stages.table import BY_NAME, Stage, Step, expectations

UNDER_LOAD = ("migration", "canary", "promoted", "premium")  # stages in which no request may fail during a change
CHANGES_THE_PATH = ("waypoint", "migration", "cleanup")  # requests take another path, which is not in Envoy's config
FAULT_SECONDS = 600.0  # a fault of a run that was killed ends by itself after this time


@dataclass
class StageResult:
    """The measurements of one stage.

    Attributes:
        name: Name of the stage.
        title: One sentence on the stage.
        verdicts: All verdicts.
        own: Verdicts on the traffic that the stage itself declares, under its last step.
        problems: Reasons why the stage failed beside its verdicts.
        notes: Lines for a person.
        up_seconds: Seconds of all updates.
        sync_seconds: Seconds until the waypoint had the configuration, after the updates.
        changes: The requests around each update, where they are recorded.
        manifests: The objects of the stack under the last step, by name, where they are recorded.
        proxy: Versions of Istio and Envoy by name, where they are recorded.
    """

    name: str
    title: str
    verdicts: list[Measurement] = field(default_factory=list)
    own: list[Measurement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    up_seconds: float = 0.0
    sync_seconds: float = 0.0
    changes: list[ConfigurationChange] = field(default_factory=list)
    manifests: dict[str, Object] = field(default_factory=dict)
    proxy: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True with at least one verdict, if all passed and there is no problem."""
        return bool(self.verdicts) and not self.problems and all(item.passed for item in self.verdicts)

    def document(self) -> dict[str, Any]:
        """Return the result as `--json` prints it; `declared` and `interval` are of the stage's first own verdict."""
        first = next(iter(self.own), None)
        return {
            "name": self.name,
            "passed": self.passed,
            "requests": sum(item.requests for item in self.verdicts),
            "observed": {value: count for item in self.own for value, count in item.observed.items()},
            "declared": first.declared if first else None,
            "interval": first.interval if first else None,
            "up_seconds": round(self.up_seconds, 2),
            "sync_seconds": round(self.sync_seconds, 2),
            "problems": self.problems,
            "notes": self.notes,
            "verdicts": [item.document() for item in self.verdicts],
        }


def set_step(stack: PulumiStack, step: Step) -> LabConfig:
    """Write the toggles and settings of a step into the stack's file; other settings are kept."""
    toggles = {f"stages.{toggle}": toggle in step.on for toggle in TOGGLES}  # false, as the project may have defaults
    config = stack.set({**toggles, **step.settings})
    Backup(stack).note()
    return config


def _limited(step: Step, start: str) -> Step:
    """Return the step with a limit of its fault, so that it ends even if this process is killed."""
    if not {"delay", "abort"} & set(step.on):
        return step
    return replace(step, settings={**step.settings, "fault.durationSeconds": FAULT_SECONDS, "fault.start": start})


def run_stage(stack: PulumiStack, row: Stage, start: str, *, record: bool = False) -> StageResult:
    """Apply and measure all steps of one stage.

    Args:
        stack: The stack.
        row: The stage.
        start: Any text that no earlier run had; faults of an earlier run may have expired.
        record: Record the requests around each update, and the objects.
    """
    result = StageResult(row.name, row.title)
    for step in row.steps:
        config = set_step(stack, _limited(step, start))
        if step.before:
            stack.up()
            envoy_config.wait(config)
            continue
        _change(stack, row, config, result, record=record)
        found = measure(config, tuple(dict.fromkeys([*expectations(config), *row.expects(config)])))
        result.verdicts += [item for item in found if item not in result.verdicts]
        declared = [item.what for item in row.expects(config)]
        own = [item for item in found if item.what in declared]
        result.own = sorted(own, key=lambda item: declared.index(item.what))
        if config.faulty and fault_expiry.now(config) != config:
            result.problems.append(f"the fault ended after {FAULT_SECONDS:g} s, before the measurement did")
        if step.note:
            result.notes.append(step.note)
    if row.name == "canary":
        stack.up(expect_no_changes=True)
        result.notes.append("a second update changed nothing")
    if record:
        result.manifests = manifests.deployed(stack)
        if row.name == "waypoint":
            result.proxy = proxy_versions.read(config.target, config.waypoint_namespace, config.waypoints)
    return result


def _change(stack: PulumiStack, row: Stage, config: LabConfig, result: StageResult, *, record: bool) -> None:
    """Apply the stack's file, under requests where the stage needs them or where they are recorded."""
    kinds = changes.kinds(config, row.expects(config) if record else ())
    under_load = row.name in UNDER_LOAD
    load = Load(config, UPDATE_SECONDS, 4, 2, [*kinds.values()]) if under_load or record else None
    change, answers = ConfigurationChange(str(len(result.changes) + 1), 0.0), list[Answer]()
    try:
        if load and record:
            load.wait_for_answers()
        change = replace(change, began=time.time())
        result.up_seconds += stack.up()
        change = replace(change, applied=time.time())
        result.sync_seconds += envoy_config.wait(config)
        if row.name in CHANGES_THE_PATH:
            result.sync_seconds += envoy_config.wait_for_traffic(config)
        change = replace(change, synced=time.time())
        if record:
            time.sleep(AFTER_SECONDS)
    finally:
        answers = load.stop() if load else []
    if record and row.name == "migration":  # only the waypoints' logs distinguish them
        seen = changes.logged(config, change.began - AFTER_SECONDS, by_waypoint=True)
        result.changes.append(replace(change, seen=seen, source=changes.LOG))
    elif record:
        result.changes.append(replace(change, seen=changes.seen(config, answers, [*kinds])))
    if under_load:
        _judge_load(result, answers)


def _judge_load(result: StageResult, answers: list[Answer]) -> None:
    failed = [answer for answer in answers if not answer.succeeded]
    again = sum(answer.reconnected for answer in answers)
    reopened = f", {again} on a kept connection that had to be opened again" if again else ""
    result.notes.append(f"{len(answers)} requests during the change, {len(failed)} failed{reopened}")
    if failed or not answers:
        result.problems.append(f"{len(failed)} of {len(answers)} requests failed during the change")


def run_stages(
    stack: PulumiStack, rows: list[Stage], report: Callable[[str], None], *, record: bool = False
) -> list[StageResult]:
    """Run stages in order; a stage that cannot be applied fails, and the run continues.

    The stack is restored in the end, however the run ends; where that fails, `restore` is the last result.

    Args:
        stack: The stack.
        rows: The stages; the waypoint comes first in any case.
        report: Shows one line.
        record: Record the requests around each update, and the objects.

    Raises:
        LabError: The stack cannot be selected or emptied, or be restored before the run or after an interruption.
    """
    results: list[StageResult] = []
    if rows[0].name not in ("waypoint", "cleanup"):
        rows = [BY_NAME["waypoint"], *rows]
    start = f"{time.time():.3f}"
    recover(stack, report)
    try:
        with selected(stack), restored(stack, report):
            report("turn all stages off, as the state to compare with")
            config = set_step(stack, Step(()))
            stack.up()
            before = snapshot.settled(config)
            for row in rows:
                report(f"{row.name}: {row.title}")
                try:
                    result = run_stage(stack, row, start, record=record)
                except LabError as error:
                    result = StageResult(row.name, row.title, problems=[str(error)])
                if row.name == "cleanup" and not result.problems:
                    result.problems += snapshot.wait(config, before)
                    result.notes.append("namespaces, the Service and all objects are as before")
                results.append(result)
                report(f"{row.name}: {'passed' if result.passed else 'FAILED'}")
    except RestoreError as error:
        if len(results) < len(rows):
            raise
        results.append(StageResult("restore", "The stack is as before.", problems=[str(error)]))
    return results
