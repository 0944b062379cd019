"""`lab canary history` and `lab waypoint history`: decisions with their times and evidence."""

from collections.abc import Callable

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.cli import output
from waypoint_lab.rollout.journal import Journal, Record
from waypoint_lab.rollout.migration_steps import KIND
from waypoint_lab.rollout.state import CanaryStep, current_state

SHOWN = ("start", "decision", "rollback", "end")
COLUMNS = ("at (UTC)", "name", ">step", "decision", "why")


def canary_row(record: Record) -> tuple[str, ...]:
    """Return the cells of one record of a promotion."""
    why = str(record.get("why") or "")
    step = CanaryStep.read(record["from"] if record["kind"] == "start" else record) if "from" in record else None
    if "weight" in record:
        step = CanaryStep.read(record)
    if record["kind"] == "start":
        why = "steps " + ", ".join(str(CanaryStep.read(item)) for item in record["steps"])
    decision = record.get("decision") or record.get("phase") or record["kind"]
    return record["at"][:19], record["promotion"], str(step or ""), decision, why


def waypoint_row(record: Record) -> tuple[str, ...]:
    """Return the cells of one record of a migration."""
    step = record["step"]
    weight = f"{step['weight']} %" if step["canary"] else "all"
    why = f"through {step['canary'] or step['name']}: {record['why']}"
    return record["at"][:19], record["promotion"], weight, record["decision"], why


def _show(stack: str, kinds: tuple[str, ...], row: Callable[[Record], tuple[str, ...]], *, as_json: bool) -> None:
    records = [record for record in Journal(PROJECT_FOLDER, stack).records() if record["kind"] in kinds]
    if as_json:
        output.print_json(records)
    elif not records:
        click.echo(f"stack {stack} has no history")
    else:
        output.print_table(COLUMNS, [row(record) for record in records])


@click.command("history")
@output.stack_option
@output.json_option
def canary(stack: str, as_json: bool) -> None:
    """Show the decisions of promotions and their evidence.

    With --json also the evidence of each step.
    """
    _show(stack, SHOWN, canary_row, as_json=as_json)
    state = current_state(Journal(PROJECT_FOLDER, stack).records())
    if state and not state.ended and not as_json:
        click.echo(f"not ended: {state}")


@click.command("history")
@output.stack_option
@output.json_option
def waypoint(stack: str, as_json: bool) -> None:
    """Show the decisions of migrations and their evidence.

    With --json also the verdicts of each step.
    """
    _show(stack, (KIND,), waypoint_row, as_json=as_json)
