"""`lab verify`: measure the deployed stages."""

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config import deployed
from waypoint_lab.config.target import use_target
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.verify import measure
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages import fault_expiry
from waypoint_lab.stages.table import expectations


@click.command()
@output.stack_option
@output.json_option
@click.pass_obj
def verify(invocation: Invocation, stack: str, as_json: bool) -> int:
    """Measure the deployed stages and compare them with the deployed config.

    Exit status 1 where a verdict is not a pass.
    """
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    declared = pulumi_stack.deployed()
    if line := deployed.ahead(pulumi_stack.config(), declared, stack):
        click.echo(f"lab verify: {line}", err=True)
    config = fault_expiry.now(declared)
    if config != declared:
        click.echo("lab verify: the declared fault has expired; the rest of the stack is measured", err=True)
    envoy_config.wait(config)
    envoy_config.wait_for_traffic(config)
    verdicts = measure(config, expectations(config))
    passed = bool(verdicts) and all(item.passed for item in verdicts)
    if as_json:
        output.print_json({"passed": passed, "verdicts": [item.document() for item in verdicts]})
    else:
        output.print_verdicts(verdicts)
    return 0 if passed else 1
