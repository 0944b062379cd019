"""Promote a canary: for each step, edit the stack's config, run `pulumi up`, measure, and decide."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from waypoint_lab import kubectl
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import KubectlError, LabError, RolloutError, described
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.traffic import TrafficReader
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout.analysis import StepDecision, Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.progress import Around, Observer, Progress, ignore, unrecorded
from waypoint_lab.rollout.state import CanaryStep, Phase, PromotionState, current_state, plan
from waypoint_lab.rollout.step_analysis import StepAnalysis
from waypoint_lab.rollout.traffic_analysis import BaselineBefore

POLL_SECONDS = 0.2
API_SECONDS = 300.0  # a rollback waits this long for an API server that does not answer
ROLLBACK_TRIES = 3  # of an update, while the API server answers


@dataclass(frozen=True)
class Operator:
    """The person or pipeline that runs a promotion.

    Attributes:
        report: Shows one line.
        stop_requested: Returns the name of a signal that asks to stop, or an empty text.
        approve: Decides if a step may be applied; None means that every step may.
        progress: Observes the actions and the evidence; it neither raises nor blocks.
        around: Context of the update of a step, given the step and its config; call the value once it is applied.
    """

    report: Callable[[str], None]
    stop_requested: Callable[[], str]
    approve: Callable[[CanaryStep], StepDecision] | None = None
    progress: Observer = ignore
    around: Around = unrecorded


class Promotion:
    """The promotion of one stack's canary. The caller holds the stack's lock."""

    def __init__(self, journal: Journal, stack: PulumiStack, thresholds: Thresholds, operator: Operator) -> None:
        """Keep the parts.

        Args:
            journal: Journal of the stack.
            stack: The stack.
            thresholds: Limits of the analysis. `healthy_rolled_back` is of the whole promotion; the steps share it.
            operator: The person or pipeline that runs the promotion.
        """
        self.journal, self.stack, self.thresholds, self.operator = journal, stack, thresholds, operator

    def state(self) -> PromotionState:
        """Return the state of the newest promotion."""
        found = current_state(self.journal.records())
        assert found
        return found

    def start(self, weights: Sequence[float], cohort: str) -> PromotionState | None:
        """Start a promotion from the step that the stack declares.

        An update of the unchanged stack comes first, so that its faults are not blamed on the canary.

        Args:
            weights: Rising weights in percent.
            cohort: A header as NAME=VALUE, or empty.

        Returns:
            The new state; None where no step is left.

        Raises:
            RolloutError: The update of the unchanged stack failed, or the waypoints cannot be read.
        """
        config = self.stack.config()
        first = CanaryStep.declared(config)
        steps = plan(first, weights, cohort)
        if not steps:
            return None
        if "traffic" in config.canary.evidence:
            try:
                TrafficReader(config).read()
            except KubectlError as error:
                raise RolloutError(f"no promotion was started: {error}") from None
        self.operator.report(f"applying {first}, which the stack declares, before the first step")
        self.operator.progress(Progress(f"pulumi up of {first}, which the stack declares", first))
        try:
            self.stack.up()
            envoy_config.wait(config)
            if "probe" in config.canary.evidence:
                envoy_config.wait_for_traffic(config)
        except LabError as error:
            raise RolloutError(
                f"the update of the unchanged stack failed, so no promotion was started: {error}"
            ) from None
        name = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.journal.append("start", name, **{"from": first.document()}, steps=[step.document() for step in steps])
        return self.state()

    def run(self) -> tuple[StepDecision, PromotionState]:
        """Apply the remaining steps, until the promotion is promoted, paused or rolled back.

        Returns:
            The last decision and the state.

        Raises:
            RolloutError: The promotion cannot continue, or the rollback failed.
        """
        self._check_rollback(self.state())
        while True:
            state = self.state()
            if state.phase is Phase.ROLLING_BACK:
                return StepDecision.ROLL_BACK, self.roll_back(state)
            if state.passed == len(state.steps):
                self._record("end", state, phase=Phase.PROMOTED, **state.last_healthy.document())
                return StepDecision.PROMOTE, self.state()
            if self._step(state) is StepDecision.PAUSE:
                return StepDecision.PAUSE, self.state()

    def _check_rollback(self, state: PromotionState) -> None:
        """Refuse to continue a rollback that would overwrite a weight which somebody has set since."""
        if state.phase is not Phase.ROLLING_BACK:
            return
        declared = CanaryStep.declared(self.stack.config())
        if declared not in (state.last_healthy, *state.steps[state.passed :]):
            raise RolloutError(
                f"the stack's config declares {declared}, but the promotion is rolling back to {state.last_healthy}; "
                "restore that, or end the promotion with `lab canary rollback`, which keeps a lower weight"
            )

    def _record(self, kind: str, state: PromotionState, **more: Any) -> None:
        self.journal.append(kind, state.promotion, **more)

    def _step(self, state: PromotionState) -> StepDecision:
        step = state.steps[state.passed]
        began = time.monotonic()
        analysis: StepAnalysis | None = None
        try:
            decision, why = self._approve(state, step)
            if decision is StepDecision.PROMOTE:
                self._record("apply", state, **step.document())
                self.operator.progress(Progress("pulumi up", step))
                config = self.stack.set(step.changes(self.stack.config()))
                with self.operator.around(step, config) as applied:
                    up_seconds = self.stack.up()
                    applied()
                    self.operator.progress(Progress("the waypoint's Envoy", step))
                    envoy_config.wait(config)
                self._record("measure", state, **step.document(), up_seconds=round(up_seconds, 2))
                self.operator.report(f"{step}: applied in {up_seconds:.1f} s, measuring")
                limits, before = self._thresholds(state, config), self._before(state)
                analysis = StepAnalysis(
                    config, step, limits, before, self.operator.stop_requested, self.operator.progress
                )
                decision, why = analysis.run()
        except RolloutError:
            raise
        except Exception as error:  # of any type: the canary may have the weight already
            decision, why = StepDecision.ROLL_BACK, described(error)
        try:
            found = {"evidence": analysis.document()} if analysis else {}
        except Exception as error:
            decision, why, found = StepDecision.ROLL_BACK, described(error), {}
        if signal := self.operator.stop_requested():
            decision, why = StepDecision.ROLL_BACK, f"stopped by {signal}"
        seconds = round(time.monotonic() - began, 2)
        self._record("decision", state, **step.document(), decision=decision, why=why, seconds=seconds, **found)
        self.operator.report(f"{step}: {decision}: {why}")
        return decision

    def _approve(self, state: PromotionState, step: CanaryStep) -> tuple[StepDecision, str]:
        """Check that the step may be applied: the config is as the promotion left it, and the operator approves."""
        config = self.stack.config()
        declared = CanaryStep.declared(config)
        if declared not in (state.last_healthy, step):
            raise RolloutError(
                f"the stack's config declares {declared}, but the promotion is at {state.last_healthy}; "
                f"restore that, or end the promotion with `lab canary rollback`"
            )
        if not config.stages.canary:
            raise RolloutError("stages.canary is off; turn it on, or end the promotion with `lab canary rollback`")
        if self.operator.approve is None or (state.applying and declared == step):
            return StepDecision.PROMOTE, ""
        self.operator.progress(Progress("the operator's approval", step))
        return self.operator.approve(step), "decided by the operator"

    def _thresholds(self, state: PromotionState, config: LabConfig) -> Thresholds:
        limits = replace(self.thresholds, healthy_rolled_back=self.thresholds.healthy_rolled_back / len(state.steps))
        return limits.with_gate(config.canary.gate) if config.canary.gate else limits

    def _before(self, state: PromotionState) -> BaselineBefore | None:
        """Return the baseline's requests of users at the last step that sent it any."""
        for record in reversed(self.journal.records()):
            found = record.get("evidence", {}).get("traffic") if record["kind"] == "decision" else None
            if found and record["promotion"] == state.promotion and record["weight"] < 100:
                return BaselineBefore.read(found)
        return None

    def roll_back(self, state: PromotionState) -> PromotionState:
        """Apply the last healthy step again, once the API server answers; never raise the weight.

        Returns:
            The new state.

        Raises:
            RolloutError: The step could not be applied; the next run tries again.
        """
        healthy = state.last_healthy
        self.operator.report(f"rolling back to {healthy}: {state.why}")
        self.operator.progress(Progress(f"rollback to {healthy}", healthy))
        began, tries, reported, unreachable = time.monotonic(), 0, False, ""
        while True:
            why = unreachable
            if not unreachable:
                try:
                    declared = CanaryStep.declared(config := self.stack.config())
                    if declared.weight < healthy.weight:  # set by hand
                        healthy = healthy.lowered(declared)
                        self.operator.report(f"keeping the lower weight of the stack's config: {healthy}")
                    config = self.stack.set(healthy.changes(config))
                    self.stack.up_unchecked()
                    envoy_config.wait(config)
                    break
                except Exception as error:
                    why = described(error)
            unreachable = self._api_problem()  # checked only after a failure, so that a rollback starts at once
            tries += not unreachable
            if tries >= ROLLBACK_TRIES or time.monotonic() - began > API_SECONDS:
                raise RolloutError(f"cannot roll back to {healthy} yet: {why}; run `lab canary rollback` to try again")
            if unreachable and not reported:
                self.operator.report(f"waiting up to {API_SECONDS:.0f} s for the API server: {unreachable}")
                reported = True
            time.sleep(POLL_SECONDS)
        seconds = time.monotonic() - began
        self._record("end", state, phase=Phase.ROLLED_BACK, **healthy.document(), seconds=round(seconds, 2))
        self.operator.report(f"rolled back to {healthy} in {seconds:.1f} s")
        return self.state()

    def _api_problem(self) -> str:
        """Return the reason why the API server does not answer; empty where it does, or where it cannot be asked."""
        try:
            kubectl.run(self.stack.config().target, "get", "--raw=/readyz", limit_seconds=5.0)
        except Exception as error:  # of another type, such as of the stack's file, it counts as a try
            return str(error) if isinstance(error, KubectlError) else ""
        return ""
