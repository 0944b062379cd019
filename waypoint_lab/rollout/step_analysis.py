"""Analyse one canary step by the sources of `canary.evidence`, one after the other."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from waypoint_lab.config.app_models import AccessLogIdentify
from waypoint_lab.config.cohort_models import CohortSettings
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.errors import ProbeError
from waypoint_lab.measure.client import Client, Endpoint, Group
from waypoint_lab.measure.traffic import TrafficReader, none_passed
from waypoint_lab.rollout.analysis import ProbeEvidence, StepDecision, Thresholds
from waypoint_lab.rollout.progress import Observer, Progress, ignore
from waypoint_lab.rollout.prometheus_analysis import PrometheusEvidence
from waypoint_lab.rollout.state import CanaryStep
from waypoint_lab.rollout.traffic_analysis import BaselineBefore, TrafficEvidence
from waypoint_lab.stages.fault_outcomes import longest_seconds

ORDER = ("probe", "traffic", "prometheus")  # the probe is fast, and would be counted as traffic if it ran beside it
COMPARING = {"probe", "traffic"}  # sources with an error rate
WORDS = {"probe": "the probe", "traffic": "the users' requests", "prometheus": "Prometheus"}
POLL_SECONDS = 0.2
INTERVAL_SECONDS = 1.0  # of reading counters, logs and Prometheus
WORKERS = 4
REQUEST_SECONDS = 5.0
WARM_SECONDS = 5.0  # a Service that was just created answers after a moment
Decided = tuple[StepDecision, str]
StepEvidence = ProbeEvidence | TrafficEvidence | PrometheusEvidence


class StepAnalysis:
    """The analysis of one step."""

    def __init__(
        self,
        config: LabConfig,
        step: CanaryStep,
        thresholds: Thresholds,
        before: BaselineBefore | None,
        stop_requested: Callable[[], str],
        progress: Observer = ignore,
    ) -> None:
        """Keep the parts.

        Args:
            config: Config of the stack, which declares the step.
            step: The step.
            thresholds: Limits of the analysis of this step; the sources share `healthy_rolled_back`.
            before: The baseline's requests at earlier steps; None where they are not known.
            stop_requested: Returns the name of a signal that asks to stop, or an empty text.
            progress: Observes the evidence; it neither raises nor blocks.
        """
        self._progress = progress
        self._config, self._step, self._before = config, step, before
        among = max(1, len(COMPARING & {*config.canary.evidence}))
        self._thresholds = replace(thresholds, healthy_rolled_back=thresholds.healthy_rolled_back / among)
        self._stop_requested, self._began = stop_requested, time.monotonic()
        self._evidence: dict[str, StepEvidence] = {}

    def document(self) -> dict[str, Any]:
        """Return the evidence by source."""
        return {name: one.document() for name, one in self._evidence.items()}

    def run(self) -> Decided:
        """Measure until each source has promoted the step, or one has not.

        Returns:
            The decision and its reason in one line.

        Raises:
            KubectlError: The waypoints cannot be read.
            ProbeError: The probe ended.
            PrometheusError: Prometheus does not answer.
        """
        sources = {"probe": self._probe, "traffic": self._traffic, "prometheus": self._prometheus}
        reasons = []
        for name in ORDER:
            if name not in self._config.canary.evidence:
                continue
            with ExitStack() as stack:
                decision, why = self._until_decided(name, *sources[name](stack))
            if decision is StepDecision.PAUSE and name == "traffic" and not self._any_request():
                why = f"{why}; {none_passed(self._config)}"
            if decision is not StepDecision.PROMOTE:
                return decision, why
            reasons.append(why)
        return StepDecision.PROMOTE, "; ".join(reasons)

    def _any_request(self) -> bool:
        """Return True if a request of users was seen."""
        return any(self._evidence["traffic"].document()["requests"].values())

    def _until_decided(self, name: str, evidence: StepEvidence, collect: Callable[[], None]) -> Decided:
        began = time.monotonic()
        while True:
            collect()
            if found := evidence.decide(time.monotonic() - began):
                return found
            if signal := self._stop_requested():
                return StepDecision.ROLL_BACK, f"stopped by {signal}"
            self._progress(Progress(f"evidence of {WORDS[name]}", self._step, self._thresholds, self.document))

    def _probe(self, stack: ExitStack) -> tuple[StepEvidence, Callable[[], None]]:
        found = self._evidence["probe"] = ProbeEvidence(self._thresholds, self._identity())
        app = self._config.app
        route = Endpoint()
        if self._step.cohort:
            cohort = CohortSettings.parse(self._step.cohort)
            method, path, headers = cohort.request(app.request.method, app.request.path)
            route = Endpoint("", headers, method, path)
        endpoints = (Endpoint(app.canary.service), Endpoint(app.baseline.service), route)
        group = Group(endpoints, workers=WORKERS, warm_seconds=WARM_SECONDS)
        request_seconds = REQUEST_SECONDS + longest_seconds(self._config)
        client = stack.enter_context(
            Client(self._config, [group], self._thresholds.limit_seconds + 30, request_seconds)
        )

        def collect() -> None:
            """Add all rounds that are there; at most for an interval, so that the step is decided in any case."""
            until, rounds = time.monotonic() + INTERVAL_SECONDS, client.read(POLL_SECONDS)
            if rounds is None:
                raise ProbeError("the probe ended before the analysis did")
            while rounds:
                for one in rounds:
                    found.add(one)
                rounds = client.read(0) if time.monotonic() < until else None

        return found, collect

    def _identity(self) -> str:
        """Return the value of the canary's answers; empty where only the access log names the backend."""
        identify = self._config.app.identify
        return "" if isinstance(identify, AccessLogIdentify) else identify.value("canary")

    def _traffic(self, _stack: ExitStack) -> tuple[StepEvidence, Callable[[], None]]:
        logs = self._config.stages.access_log
        found = self._evidence["traffic"] = TrafficEvidence(
            self._thresholds, self._step.weight, self._before, logs=logs
        )
        reader = TrafficReader(self._config)
        reader.read()

        def collect() -> None:
            self._pause()
            if block := reader.read():
                found.add(block)

        return found, collect

    def _prometheus(self, _stack: ExitStack) -> tuple[StepEvidence, Callable[[], None]]:
        gate = self._config.canary.gate
        assert gate
        assert gate.prometheus
        window_seconds = gate.prometheus.window_seconds - (time.monotonic() - self._began)
        found = self._evidence["prometheus"] = PrometheusEvidence(gate, self._thresholds, window_seconds)

        def collect() -> None:
            self._pause()
            found.read()

        return found, collect

    def _pause(self) -> None:
        """Wait for the next interval, or for a request to stop."""
        until = time.monotonic() + INTERVAL_SECONDS
        while time.monotonic() < until and not self._stop_requested():
            time.sleep(min(POLL_SECONDS, INTERVAL_SECONDS))
