"""The analysis of one canary step by the numbers of a Prometheus, which are compared with the gate's thresholds."""

import time
from typing import Any

from waypoint_lab.config.traffic_models import GateSettings
from waypoint_lab.measure import gate as gates
from waypoint_lab.measure.prometheus import NoDataError, PrometheusError
from waypoint_lab.rollout.analysis import StepDecision, Thresholds

UNREADABLE_SECONDS = 20.0


class PrometheusEvidence:
    """Evidence of one step: the measured values themselves, without an error rate."""

    def __init__(self, gate: GateSettings, thresholds: Thresholds, window_seconds: float) -> None:
        """Read nothing yet.

        Args:
            gate: The queries and the thresholds.
            thresholds: Times of the analysis.
            window_seconds: Seconds for which the queries still look back on an earlier weight.
        """
        self._gate, self._thresholds = gate, thresholds
        self._min_seconds = max(thresholds.min_seconds, window_seconds)
        self._numbers: gates.PrometheusNumbers | None = None
        self._failures: list[str] = []
        self._missing = "no data"
        self._at = time.monotonic()

    def read(self) -> None:
        """Ask Prometheus. Raises PrometheusError where it does not answer for UNREADABLE_SECONDS."""
        assert self._gate.prometheus
        try:
            found = gates.prometheus_numbers(self._gate, self._gate.prometheus)
        except NoDataError as error:
            self._numbers, self._missing = None, str(error)
        except PrometheusError as error:
            if time.monotonic() - self._at > UNREADABLE_SECONDS:
                raise
            self._numbers, self._missing = None, str(error)
            return
        else:
            self._numbers = found
            self._failures = gates.judge_prometheus(self._gate, found)
        self._at = time.monotonic()

    def decide(self, elapsed_seconds: float) -> tuple[StepDecision, str] | None:
        """Decide the step.

        Args:
            elapsed_seconds: Seconds since the measurement began.

        Returns:
            The decision and its reason in one line; None while more has to be measured.
        """
        least = max(self._gate.minimum_requests, self._thresholds.min_rounds)
        expired = elapsed_seconds >= max(self._thresholds.limit_seconds, self._min_seconds)
        if self._numbers is None:
            return (StepDecision.PAUSE, self._missing) if expired else None
        requests = self._numbers.requests
        if requests < least:
            why = f"Prometheus has {requests:g} requests after {elapsed_seconds:.0f} s; {least} are needed"
            return (StepDecision.PAUSE, why) if expired else None
        if self._failures:
            return StepDecision.ROLL_BACK, "; ".join(self._failures)
        if elapsed_seconds < self._min_seconds:
            return None
        return StepDecision.PROMOTE, f"{requests:g} requests in Prometheus meet the thresholds of canary.gate"

    def document(self) -> dict[str, Any]:
        """Return the evidence as the journal keeps it."""
        numbers = self._numbers
        requests = round(numbers.requests) if numbers else 0
        failed = round(requests * (1 - numbers.success_rate)) if numbers and numbers.success_rate is not None else 0
        return {
            "requests": {"canary": requests},
            "failed": {"canary": failed},
            "p99": numbers.p99_seconds if numbers else None,
        }
