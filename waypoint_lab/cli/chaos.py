"""`lab chaos check` and `lab chaos run`: the declared fault, its obstacles and its effect."""

from dataclasses import asdict
from typing import Any

import click

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab.chaos import blast_radius
from waypoint_lab.cli import output
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import NotSyncedError
from waypoint_lab.measure import envoy_config
from waypoint_lab.measure.verify import Measurement, measure
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.stages import fault_expiry
from waypoint_lab.stages.table import expectations

SYNC_SECONDS = 10.0


def _report(config: LabConfig, verdicts: list[Measurement], *, measured: bool) -> dict[str, Any]:
    """Return the requests that the declared fault hits, its obstacles, and its effect; fill in the verdicts."""
    document: dict[str, Any] = {"hits": blast_radius.described(config), "obstacles": blast_radius.obstacles(config)}
    seen = blast_radius.traffic(config)
    document |= {"traffic": None, "traffic_unknown": seen} if isinstance(seen, str) else {"traffic": asdict(seen)}
    if not measured or document["obstacles"]:
        return document
    try:
        envoy_config.wait(config, SYNC_SECONDS)
    except NotSyncedError as error:
        document["obstacles"] = [str(error)]
        return document
    verdicts += measure(config, expectations(config))
    document["verdicts"] = [item.document() for item in verdicts]
    return document


def _lines(document: dict[str, Any], config: LabConfig, *, measured: bool) -> list[str]:
    lines = [*document["hits"], *(f"HITS NOTHING: {why}" for why in document["obstacles"])]
    seen, seconds = document["traffic"], blast_radius.WINDOW_SECONDS
    if seen is None:
        return [*lines, f"the number of the application's requests is not known: {document['traffic_unknown']}"]
    if not seen["requests"]:
        return [*lines, f"no request of other clients in the last {seconds} s: the fault has no effect now"]
    total = f"{seen['requests']} requests of other clients in the last {seconds} s"
    return [*lines, f"{total}, {seen['hit']} of them hit" if measured else f"{total} went to {config.app.service}"]


def _show(invocation: Invocation, stack: str, *, measured: bool, as_json: bool) -> int:
    pulumi_stack = PulumiStack(PROJECT_FOLDER, stack)
    use_target(invocation.state, pulumi_stack.target_kind())
    config = pulumi_stack.config()
    verdicts: list[Measurement] = []
    document = _report(config, verdicts, measured=measured)
    passed = not document["obstacles"] and all(item.passed for item in verdicts)
    if as_json:
        output.print_json({"passed": passed, "fault": fault_expiry.fault_id(config), **document})
        return 0 if passed else 1
    click.echo("\n".join(_lines(document, config, measured=measured)))
    if verdicts:
        output.print_verdicts(verdicts)
    return 0 if passed else 1


@click.command()
@output.stack_option
@output.json_option
@click.pass_obj
def check(invocation: Invocation, stack: str, as_json: bool) -> int:
    """Show which requests the declared fault hits; send none.

    Exit status 1 where the fault would hit nothing.
    """
    return _show(invocation, stack, measured=False, as_json=as_json)


@click.command()
@output.stack_option
@output.json_option
@click.pass_obj
def run(invocation: Invocation, stack: str, as_json: bool) -> int:
    """Measure the fault that is on.

    Exit status 1 where the fault hits nothing, or its effect is not as declared.
    """
    return _show(invocation, stack, measured=True, as_json=as_json)
