"""`lab canary rollback`: apply the last healthy weight again."""

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.cli import observers, output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import RolloutError
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout.analysis import Thresholds
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.promotion import Operator, Promotion
from waypoint_lab.rollout.state import current_state


@click.command()
@output.stack_option
@click.pass_obj
def rollback(invocation: Invocation, stack: str) -> None:
    """Apply the last healthy weight again.

    For a promotion that has not ended, that is the last step that passed; for one that has ended, the weight that it
    started from. A lower weight that the stack's file declares is kept and applied instead.
    """
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    journal = Journal(PROJECT_FOLDER, stack)
    report = output.reporter("rollback")
    with journal.locked(), observers.observed(journal, pulumi_stack, report):
        state = current_state(journal.records())
        if state is None:
            raise RolloutError(f"stack {stack} was never promoted; there is no weight to roll back to")
        journal.append("rollback", state.promotion, why="by hand", passed=0 if state.ended else state.passed)
        operator = Operator(report, lambda: "")
        promotion = Promotion(journal, pulumi_stack, Thresholds(0.02, 0.01, 0.01), operator)
        promotion.roll_back(promotion.state())
