"""Migrate traffic from one waypoint to another in measured steps; roll back on failure."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict

from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import RolloutError, described
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.client import Load
from waypoint_lab.measure.verify import Measurement, measure
from waypoint_lab.pulumi_cli import UPDATE_SECONDS, PulumiStack
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.migration_steps import KIND, MigrationState, MigrationStep, plan, rollback_steps
from waypoint_lab.stages import expectations

# Source: Pulumi, pending operations: an object that a killed engine was creating exists, but is not in its state.
LEFT_OVER = "if a killed update created it, delete it with kubectl, and run the command again"


class Migration:
    """One migration of a stack's waypoint. The caller holds the stack's lock."""

    def __init__(
        self,
        journal: Journal,
        stack: PulumiStack,
        report: Callable[[str], None],
        stop_requested: Callable[[], str],
        show: Callable[[Sequence[Measurement]], None] = lambda _verdicts: None,
    ) -> None:
        """Keep the parts.

        Args:
            journal: Journal of the stack.
            stack: The stack.
            report: Shows one line.
            stop_requested: Returns the name of a signal that asks to stop, or an empty text.
            show: Shows the verdicts of one step.
        """
        self._journal, self._stack, self._report, self._stop_requested = journal, stack, report, stop_requested
        self._show = show
        self._name = time.strftime("%Y%m%dT%H%M%S", time.gmtime())

    def run(self, steps: Sequence[MigrationStep]) -> bool:
        """Apply and measure all steps; roll back on failure.

        Returns:
            True if all steps passed, False if the migration was rolled back.

        Raises:
            RolloutError: The new primary failed its measurement, or the rollback failed.
        """
        for step in steps:
            why, verdicts = self._check(step)
            if (signal := self._stop_requested()) and step.canary:
                why = f"stopped by {signal}"
            failed = StepDecision.ROLL_BACK if step.canary else StepDecision.PAUSE  # a primary has no other waypoint
            self._record(step, failed if why else StepDecision.PROMOTE, why or "all checks passed", verdicts)
            if why and not step.canary:
                raise RolloutError(f"{why}; {step.name} is the primary already; run `lab waypoint migrate` again")
            if why:
                self._roll_back(step, why)
                return False
        return True

    def abort(self, why: str) -> None:
        """Roll back to the primary waypoint, or continue a rollback that has not ended.

        Raises:
            RolloutError: The stack has no canary waypoint and no open rollback, or the rollback failed.
        """
        current = MigrationStep.declared(self._stack.config())
        begun = MigrationState.read(self._journal.records(), current).rollback
        if not current.canary and not begun:
            raise RolloutError(f"there is no canary waypoint to roll back ({current}); `lab waypoint migrate` adds one")
        if not begun:
            self._record(current, StepDecision.ROLL_BACK, why)
        self._roll_back(current, begun or why, resumed=True)

    def _record(
        self, step: MigrationStep, decision: StepDecision, why: str, verdicts: Sequence[Measurement] = ()
    ) -> None:
        evidence = [item.document() for item in verdicts]
        self._journal.append(KIND, self._name, step=asdict(step), decision=decision, why=why, evidence=evidence)
        self._report(f"{step}: {decision}: {why}")

    def _check(self, step: MigrationStep) -> tuple[str, list[Measurement]]:
        try:
            return self._apply(step)
        except Exception as error:  # of any type: the canary may have the weight already
            why = described(error)
            return why + (f"; {LEFT_OVER}" if "already exists" in why else ""), []

    def _apply(self, step: MigrationStep) -> tuple[str, list[Measurement]]:
        """Apply one step under load and measure it. Return the reason of a failure, or an empty text, and verdicts."""
        config = self._set(step)
        load = Load(config, UPDATE_SECONDS, fresh_workers=2)
        try:
            seconds = self._stack.up()
            envoy_config.wait(config)
            envoy_config.wait_for_traffic(config)
        finally:
            rows = load.stop()
        self._report(f"{step}: applied in {seconds:.1f} s under {len(rows)} requests, measuring")
        wanted = [*expectations.waypoint(config), *expectations.migration(config)]
        verdicts = measure(config, tuple(dict.fromkeys(wanted)))
        self._show(verdicts)
        failed = Counter(row.outcome for row in rows if not row.succeeded)
        if failed or not rows:
            causes = f" ({', '.join(failed)})" if failed else ""
            return f"{failed.total()} of {len(rows)} requests failed while it was applied{causes}", verdicts
        return next((f"{item.what}: {item.why}" for item in verdicts if not item.passed), ""), verdicts

    def _set(self, step: MigrationStep) -> LabConfig:
        """Write the settings that change; a default is not written."""
        before = MigrationStep.declared(self._stack.config()).settings()
        return self._stack.set(
            {path: value for path, value in step.settings().items() if path not in before or value != before[path]}
        )

    def _roll_back(self, current: MigrationStep, why: str, *, resumed: bool = False) -> None:
        self._report(f"rolling back to {current.name}: {why}")
        for step in rollback_steps(current, resumed=resumed):
            try:
                self._set(step)
                self._stack.up_unchecked()
            except Exception as error:
                why = described(error)
                raise RolloutError(f"cannot roll back yet: {why}; run `lab waypoint abort` to try again") from None
        self._record(step, StepDecision.ROLL_BACK, why)


def choose_steps(
    config: LabConfig, state: MigrationState, to: str, revision: str, weights: Sequence[float]
) -> list[MigrationStep]:
    """Return the steps of a migration, once everything that it needs is there.

    Args:
        config: The stack's config.
        state: State of an interrupted migration.
        to: Name of the waypoint that becomes the primary; empty means the declared canary.
        revision: Its Istio revision; empty means the declared one, or the namespace's.
        weights: Rising whole percentages of new connections.

    Raises:
        RolloutError: A stage must be turned on or off, or the options do not match the declared waypoints.
        ConfigError: The name or the revision is not valid.
    """
    current = MigrationStep.declared(config)
    to = to or current.canary or (current.name if state.switched else "")
    for toggle in ("waypoint", "accessLog"):
        if toggle not in config.stages.on:
            raise RolloutError(f"stages.{toggle} is off; run `pulumi config set --path stages.{toggle} true`")
    if config.faulty:
        raise RolloutError("stages.delay or stages.abort is on; turn it off, because its failures look like others")
    if not to:
        raise RolloutError("there is no canary waypoint; give --to NAME")
    if current.canary and current.canary != to:
        raise RolloutError(f"{current.canary} is the canary waypoint; migrate to it, or run `lab waypoint abort`")
    LabConfig.from_mapping({"waypoint": {"name": to, "revision": revision}})
    if to == current.name and revision not in ("", current.revision):
        raise RolloutError(f"--revision {revision}: {to} is the primary already; give another name with --to")
    if not weights or any(weight != int(weight) for weight in weights):
        raise RolloutError("--steps: the weights are not valid; use rising whole percentages, such as 10,50,100")
    return plan(current, to, revision or current.canary_revision, [int(weight) for weight in weights])
