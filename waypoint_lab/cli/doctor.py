"""`lab doctor`: check that a cluster has what the lab needs."""

from dataclasses import asdict

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.cli import output
from waypoint_lab.cli.cluster_checks import State
from waypoint_lab.cli.cluster_queries import examine
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.target import use_target
from waypoint_lab.pulumi_cli import PulumiStack


@click.command()
@output.stack_option
@output.json_option
@click.pass_obj
def doctor(invocation: Invocation, stack: str, as_json: bool) -> int:
    """Check that the stack's cluster has what the lab needs; change nothing.

    Exit status 1 where something is missing.
    """
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    checks = examine(pulumi_stack.config())
    ready = all(item.state is not State.MISSING for item in checks)
    if as_json:
        output.print_json({"ready": ready, "checks": [asdict(item) for item in checks]})
    else:
        click.echo("\n".join(map(str, checks)))
    return 0 if ready else 1
