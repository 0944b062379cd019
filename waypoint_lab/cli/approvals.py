"""The approval of each step of a promotion: at the terminal, by a file, or by an HTTP server."""

import select
import sys
from collections.abc import Callable
from pathlib import Path

import click

from waypoint_lab.cli import output
from waypoint_lab.config.types import is_address
from waypoint_lab.rollout.analysis import StepDecision
from waypoint_lab.rollout.approval import FileApproval, HttpApproval, Wait
from waypoint_lab.rollout.state import CanaryStep
from waypoint_lab.signals import StopRequest

ANSWERS = {"y": StepDecision.PROMOTE, "n": StepDecision.PAUSE, "b": StepDecision.ROLL_BACK}
POLL_SECONDS = 0.2
report = output.reporter("promote")


class Approval:
    """A person at the terminal who approves each step."""

    def __init__(self, stop_requested: StopRequest) -> None:
        """Keep the request to stop, which also ends the question."""
        self._stop_requested = stop_requested

    def __call__(self, step: CanaryStep) -> StepDecision:
        """Ask until the answer is one; end of input pauses the promotion, a signal rolls it back."""
        while not self._stop_requested():
            report(f"promote to {step}? y: yes, n: pause, b: roll back")
            while not self._stop_requested() and not select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                pass
            if self._stop_requested():
                break
            line = sys.stdin.readline()
            if not line:
                return StepDecision.PAUSE
            if line.strip().lower() in ANSWERS:
                return ANSWERS[line.strip().lower()]
        return StepDecision.ROLL_BACK


def choose_approval(
    stack: str, stop: StopRequest, *, ask: bool, file: Path | None, url: str | None, limit_seconds: float
) -> Callable[[CanaryStep], StepDecision] | None:
    """Return the approval of each step; None where none is asked for.

    Args:
        stack: Name of the stack.
        stop: The request to stop.
        ask: Ask at the terminal.
        file: File of `--approve-file`.
        url: Address of `--approve-url`.
        limit_seconds: Limit of the wait for a file or a server.

    Raises:
        UsageError: Both are given, or the address is not valid.
    """
    if file and url:
        raise click.UsageError("--approve-file and --approve-url exclude each other; give one")
    if url and not is_address(url):
        raise click.UsageError("--approve-url is not an http or https address; correct it")
    if file or url:
        source = FileApproval(file, report) if file else HttpApproval(url or "", stack, report)
        return Wait(source, limit_seconds, stop, report)
    return Approval(stop) if ask else None
