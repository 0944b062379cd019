"""`lab outcome`: the two halves of `lab guard`, for a change that other processes make, such as a Pulumi program."""

from collections.abc import Sequence
from typing import Any, TextIO

import click

from waypoint_lab.cli import guard_options, output
from waypoint_lab.cli.guard import COLUMNS, EXIT_CODES, cells
from waypoint_lab.cli.main import Invocation
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.guard import stored
from waypoint_lab.guard.comparison import compare as compared
from waypoint_lab.guard.comparison import verdict
from waypoint_lab.guard.differences import Difference, Kind
from waypoint_lab.guard.readers import source
from waypoint_lab.guard.sampling import Source, settle
from waypoint_lab.guard.sampling import observe as observed
from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.measure.verify import Verdict

report = output.reporter("outcome")
seconds_option = click.option(
    "--seconds", type=guard_options.SECONDS, default=30.0, show_default=True, help="Seconds to observe."
)


def readers(invocation: Invocation, namespace: str, kubeconfig: str | None, context: str) -> Source:
    """Return the readers of a namespace's waypoints, in the cluster of the options or else of the environment."""
    config = LabConfig(target=ExistingTarget(kubeconfig=kubeconfig or "", context=context))
    use_target(invocation.state, config.target.kind)
    return source(Waypoints(config.target, namespace))


@click.command()
@click.option("--namespace", required=True, metavar="NS", help="Namespace of the waypoints.")
@seconds_option
@guard_options.kubeconfig_option
@guard_options.context_option
@click.pass_obj
def observe(invocation: Invocation, namespace: str, seconds: float, kubeconfig: str | None, context: str) -> int:
    """Observe the traffic of a namespace's waypoints, and print the observation as JSON.

    Example: lab outcome observe --namespace shop > before.json
    """
    found = observed(readers(invocation, namespace, kubeconfig, context), seconds, "before", report)
    click.echo(stored.dump(found, namespace))
    return 0


def show(found: Sequence[Difference], result: Verdict, *, latency: bool, as_json: bool) -> None:
    """Print the comparisons, and one line on standard error for each reason of a verdict that is not passed."""
    if as_json:
        missing = [] if latency else [Kind.LATENCY]
        passed = result is Verdict.PASSED
        items = [item.document() for item in found]
        output.print_json({"verdict": result, "passed": passed, "differences": items, "not_measured": missing})
    else:
        output.print_table(COLUMNS, [cells(item) for item in found])
    if not latency:
        report("latency is not measured: no request of an access log was read")
    if result is Verdict.PASSED:
        return
    for item in found:
        if item.verdict is result:
            needed = f"; {item.needed} requests are needed" if item.needed else ""
            report(f"{result}: {item.where}: {item.evidence}{needed}")


@click.command()
@click.option(
    "--before",
    type=click.File(errors="replace"),  # a file that is no text is no observation either
    default="-",
    show_default=True,
    metavar="FILE",
    help="Observation by `lab outcome observe`; - is standard input.",
)
@seconds_option
@click.option("--allow-inconclusive", is_flag=True, help="Exit with status 0 if the comparison is inconclusive.")
@guard_options.rules_options
@guard_options.kubeconfig_option
@guard_options.context_option
@output.json_option
@click.pass_obj
def compare(
    invocation: Invocation,
    /,
    before: TextIO,
    seconds: float,
    allow_inconclusive: bool,
    kubeconfig: str | None,
    context: str,
    as_json: bool,
    **given: Any,
) -> int:
    """Observe the same waypoints again, and fail if their traffic is worse than in an earlier observation.

    Exit status: 0 passed, 1 failed, 3 inconclusive.

    Example: lab outcome compare --before before.json
    """
    rules = guard_options.rules(**given)
    earlier, namespace = stored.load(before.read())
    waypoints = readers(invocation, namespace, kubeconfig, context)
    settle(waypoints, report)
    later = observed(waypoints, seconds, "after", report)
    found = compared(earlier, later, rules)
    result = verdict(found)
    show(found, result, latency=None not in (earlier.answers, later.answers), as_json=as_json)
    if result is Verdict.INCONCLUSIVE and allow_inconclusive:
        return 0
    return EXIT_CODES[result]
