"""Notifications: one JSON document for each decision of a promotion or a migration, to a webhook."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from waypoint_lab.measure.http_answer import NoAnswerError, place, post
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.journal import Record
from waypoint_lab.rollout.migration_steps import KIND, MigrationStep
from waypoint_lab.rollout.state import CanaryStep, Phase

PAUSES_SECONDS = (0.5, 2.0)  # between the tries
CLOSE_SECONDS = 20.0
_EVENTS = {StepDecision.PROMOTE: "step", StepDecision.PAUSE: "pause", StepDecision.ROLL_BACK: "rollback"}
_VERBS = {"step": "passed", "pause": "paused", "rollback": "rolling back"}
_PHASES = {"step": Phase.PROGRESSING, "pause": Phase.PAUSED, "rollback": Phase.ROLLING_BACK}


def document(record: Record, stack: str, service: str) -> dict[str, Any] | None:
    """Return the document of a journal record; None for a record that is no decision.

    Args:
        record: The record.
        stack: Name of the stack.
        service: Namespace and name of the Service.
    """
    made = _migration(record) if record["kind"] == KIND else _promotion(record)
    if made is None:
        return None
    event, phase, text, more = made
    base = {"event": event, "phase": str(phase), "stack": stack, "service": service, "at": record["at"]}
    why = {"why": record["why"]} if record.get("why") else {}
    shown = f"{stack}, {service}: {text}" + (f": {record['why']}" if why else "")
    return {"text": shown, **base, "promotion": record["promotion"], **more, **why}


def _promotion(record: Record) -> tuple[str, Phase, str, dict[str, Any]] | None:
    kind = record["kind"]
    if kind == "start":
        steps = ", ".join(str(CanaryStep.read(step)) for step in record["steps"])
        first = CanaryStep.read(record["from"])
        return "start", Phase.PROGRESSING, f"promotion started at {first}, steps {steps}", first.document()
    if kind == "rollback":
        return "rollback", Phase.ROLLING_BACK, "rolling back", {}
    if kind not in ("decision", "end"):
        return None
    step = CanaryStep.read(record)
    if kind == "end":
        phase = Phase(record["phase"])
        promoted = phase is Phase.PROMOTED
        return (
            "promotion" if promoted else "rollback",
            phase,
            f"{'promoted' if promoted else 'rolled back'}, at {step}",
            step.document(),
        )
    event = _EVENTS[StepDecision(record["decision"])]
    return event, _PHASES[event], f"{_VERBS[event]} at {step}", step.document()


def _migration(record: Record) -> tuple[str, Phase, str, dict[str, Any]]:
    step = MigrationStep(**record["step"])
    event = _EVENTS[StepDecision(record["decision"])]
    phase, text = _PHASES[event], f"waypoint migration {_VERBS[event]}, {step}"
    if not step.canary and event == "step":
        event, phase, text = "promotion", Phase.PROMOTED, f"waypoint migration done, {step}"
    elif not step.canary and event == "rollback":
        phase, text = Phase.ROLLED_BACK, f"waypoint migration rolled back, {step}"
    return event, phase, text, {"waypoint": step.canary or step.name, "weight": step.weight if step.canary else 100}


class Webhook:
    """Sends documents in a thread of its own, in order, so that no decision waits for the server."""

    def __init__(self, url: str, stack: str, service: str, report: Callable[[str], None]) -> None:
        """Start the thread.

        Args:
            url: Address of the webhook; errors show its server only.
            stack: Name of the stack.
            service: Namespace and name of the Service.
            report: Shows one line.
        """
        self._url, self._stack, self._service, self._report = url, stack, service, report
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._closing, self._silent = threading.Event(), False
        self._thread = threading.Thread(target=self._deliver, daemon=True)
        self._thread.start()

    def __call__(self, record: Record) -> None:
        """Send the document of a journal record, if it is a decision; return at once."""
        if found := document(record, self._stack, self._service):
            self._queue.put(found)

    def close(self, limit_seconds: float = CLOSE_SECONDS) -> None:
        """Wait until all documents are sent, at most `limit_seconds`."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join(limit_seconds)
        if self._thread.is_alive():
            self._report(f"{place(self._url)} has not taken all notifications within {limit_seconds:g} s")

    def _deliver(self) -> None:
        while (one := self._queue.get()) is not None:
            why = self._send(one)
            if why and not self._silent:
                self._report(f"the decision {one['event']} was not notified: {why}; check notify.webhook")
            self._silent = bool(why)

    def _send(self, one: dict[str, Any]) -> str:
        """Return why the server did not take a document; empty if it did. A silent server gets one try."""
        why = ""
        for pause in (*(() if self._silent else PAUSES_SECONDS), None):
            try:
                status, _ = post(self._url, one)
            except NoAnswerError as error:
                why = str(error)
            else:
                if 200 <= status < 300:
                    return ""
                why = f"{place(self._url)} answers {status}"
                if status < 500 and status not in (408, 429):  # another try gets the same answer
                    return why
            if pause is not None:
                time.sleep(pause)
        return why
