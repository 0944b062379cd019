"""`lab waypoint migrate` and `lab waypoint abort`."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import observers, output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.config.weights import StepsError, read_steps
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout import metrics
from waypoint_lab.rollout.journal import Journal
from waypoint_lab.rollout.migration import Migration, choose_steps
from waypoint_lab.rollout.migration_steps import MigrationState, MigrationStep
from waypoint_lab.signals import StopRequest

STEPS = "10,50,100"
report = output.reporter("migrate")


def weights(text: str) -> tuple[float, ...]:
    """Return the weights of `--steps`; none where they are not valid."""
    try:
        return read_steps(text)
    except StepsError:
        return ()


def _run(
    invocation: Invocation,
    stack: str,
    to: str = "",
    revision: str = "",
    steps: str = STEPS,
    metrics_file: Path | None = None,
    *,
    abort: bool,
    as_json: bool,
) -> int:
    stop = StopRequest()
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack, stop)
    use_target(invocation.state, pulumi_stack.target_kind())
    journal = Journal(PROJECT_FOLDER, stack)
    observed = observers.observed(journal, pulumi_stack, report, metrics.migration, metrics_file)
    with stop.received(), journal.locked(), observed:
        config = pulumi_stack.config()
        state = MigrationState.read(journal.records(), MigrationStep.declared(config))
        migration = Migration(journal, pulumi_stack, report, stop, partial(output.print_verdicts, stderr=True))
        if abort or state.rollback:
            migration.abort(state.rollback or "by hand")
            passed = abort
        else:
            passed = migration.run(choose_steps(config, state, to, revision, weights(steps)))
    current = MigrationStep.declared(pulumi_stack.config())
    report(str(current))
    if as_json:
        output.print_json({"passed": passed, **asdict(current)})
    return signals.EXIT if stop() else 0 if passed else 1


@click.command()
@click.option("--to", default="", metavar="NAME", help="The new primary waypoint [default: the canary waypoint].")
@click.option("--revision", default="", help="Istio revision of that waypoint [default: the namespace's].")
@click.option(
    "--steps", default=STEPS, show_default=True, metavar="LIST", help="Rising whole percentages of new connections."
)
@observers.metrics_option
@output.stack_option
@output.json_option
@click.pass_obj
def migrate(
    invocation: Invocation, to: str, revision: str, steps: str, metrics_file: Path | None, stack: str, as_json: bool
) -> int:
    """Migrate traffic to another waypoint in measured steps; roll back on failure.

    An interrupted migration continues with the next call.

    Exit status: 0 all steps passed, 1 rolled back or refused, 130 interrupted and rolled back.

    Example: lab waypoint migrate --to waypoint-b
    """
    return _run(invocation, stack, to, revision, steps, metrics_file, abort=False, as_json=as_json)


@click.command()
@output.stack_option
@output.json_option
@click.pass_obj
def abort(invocation: Invocation, stack: str, as_json: bool) -> int:
    """Roll back to the primary waypoint and remove the canary waypoint."""
    return _run(invocation, stack, abort=True, as_json=as_json)
