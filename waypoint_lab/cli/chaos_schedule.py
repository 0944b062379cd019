"""`lab chaos schedule`: run a schedule of faults, with health checks."""

from pathlib import Path

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.chaos import schedule as engine
from waypoint_lab.chaos import schedule_file as engine_file
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.measure.restore import recover
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.rollout.journal import Journal


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@output.stack_option
@click.pass_obj
def schedule(invocation: Invocation, file: Path, stack: str) -> int:
    """Run the schedule of faults in FILE, with health checks.

    FILE is YAML with `health` (url, contains, seconds, failures) and `faults`, a list of startSeconds,
    durationSeconds, abort, delay, header and at. The run stops once the application is unhealthy, and restores the
    stack in any case.

    Exit status: 0 every fault was as declared, 1 not, unhealthy or not restored, 130 interrupted.
    """
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    plan = engine_file.load(file)
    with Journal(PROJECT_FOLDER, stack).locked():
        report = output.reporter("chaos")
        recover(pulumi_stack, report)
        return engine.run(pulumi_stack, plan, pulumi_stack.config(), report, output.print_verdicts)
