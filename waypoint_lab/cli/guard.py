"""`lab guard`: watch what a command does to the traffic of a namespace's waypoints."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from embedded.cluster import PROJECT_FOLDER
from waypoint_lab import signals
from waypoint_lab.cli import guard_options, output, reports
from waypoint_lab.config.models import ExistingTarget
from waypoint_lab.config.settings import LabConfig
from waypoint_lab.config.target import use_target
from waypoint_lab.errors import GuardError, LabError
from waypoint_lab.guard import declared
from waypoint_lab.guard.comparison import Rules
from waypoint_lab.guard.differences import Difference
from waypoint_lab.guard.guarded_change import GuardedChange, GuardResult, watch
from waypoint_lab.guard.readers import source
from waypoint_lab.guard.waypoints import Waypoints
from waypoint_lab.measure import proxy_versions
from waypoint_lab.measure.verify import Verdict
from waypoint_lab.pulumi_cli import PulumiStack
from waypoint_lab.report import guard_report
from waypoint_lab.report.context import without_secrets

EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INCONCLUSIVE: 3}
COLUMNS = ("where", "what", "evidence", "verdict")
STDERR = 2  # file descriptor
report = output.reporter("guard")


def deployed(stack: PulumiStack) -> LabConfig | None:
    """Return the config that the stack was deployed with; None where it cannot be read."""
    try:
        return stack.deployed()
    except LabError as error:
        report(f"no share is taken from stack {stack.name}: {error}")
        return None


def stack_rules(rules: Rules, stack: PulumiStack, before: LabConfig | None) -> Rules:
    """Return `rules` with the shares that the deployed stack declares; those of the user come first."""
    config = deployed(stack)
    if config is None:
        return rules
    former = (declared.services(before) if before else frozenset[str]()) - declared.services(config)
    return replace(
        rules,
        expected={**declared.expectations(config), **rules.expected},
        may_be_silent=rules.may_be_silent | declared.without_requests(config) | former,
        may_move=declared.moved(before, config),
        may_fall=declared.falling(before, config),
        of_stack=declared.services(config) | former,
    )


def cells(item: Difference) -> list[object]:
    """Return the row of one comparison."""
    word = item.verdict.upper() if item.verdict is Verdict.FAILED else item.verdict.value
    needed = f"  needs {item.needed} requests" if item.needed else ""
    return [item.where, item.kind.value, item.evidence, Text(word, output.STYLES[word]) + Text(needed)]


def show(result: GuardResult) -> None:
    """Print the comparisons, and the outcome of the rollback."""
    output.print_table(COLUMNS, [cells(item) for item in result.differences])
    if not result.rollback:
        return
    if result.restored:
        report("rolled back: the former outcome is back")
        return
    output.print_table(COLUMNS, [cells(item) for item in result.after_rollback])
    report(f"rolled back: {result.rollback.problem or 'the former outcome is not proven to be back'}")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--namespace", metavar="NS", help="Namespace of the waypoints [default: the stack's].")
@click.option(
    "--seconds",
    type=guard_options.SECONDS,
    default=30.0,
    show_default=True,
    help="Seconds to observe after the command.",
)
@click.option("--before-seconds", type=guard_options.SECONDS, help="Seconds to observe before it [default: --seconds].")
@click.option("--rollback", default="", metavar="COMMAND", help="Run this on failure, and observe once more.")
@guard_options.rules_options
@click.option(
    "--limit",
    type=click.FloatRange(1, 86400),
    default=1800.0,
    show_default=True,
    help="Seconds after which the command is asked to end.",
)
@guard_options.kubeconfig_option
@guard_options.context_option
@reports.report_option
@reports.picture_option
@output.stack_option
@output.json_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def guard(
    ctx: click.Context,
    /,
    namespace: str | None,
    seconds: float,
    before_seconds: float | None,
    rollback: str,
    limit: float,
    kubeconfig: str | None,
    context: str,
    report_folder: Path | None,
    picture: bool,
    stack: str,
    as_json: bool,
    command: tuple[str, ...],
    **given: Any,
) -> int:
    """Run COMMAND, and fail if the traffic of a namespace's waypoints is worse afterwards.

    Each destination is compared with the time before: requests, share, failures and latency. The output of
    COMMAND passes through; with --json, on standard error.

    Exit status: 0 passed, 1 failed or rolled back, 3 inconclusive, 130 interrupted.

    Example: lab guard --rollback 'kubectl apply -f old.yaml' -- kubectl apply -f new.yaml
    """
    destination = reports.prepared(report_folder, picture)
    rules = guard_options.rules(**given)
    without_stack = bool(kubeconfig or context)
    if without_stack and ctx.get_parameter_source("stack") is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("--stack names a cluster; do not combine it with --kubeconfig or --context")
    if without_stack and not namespace:
        raise click.UsageError("--namespace is needed without a stack; name the namespace of the waypoints")
    pulumi_stack = None if without_stack else PulumiStack(PROJECT_FOLDER, stack)
    use_target(ctx.obj.state, pulumi_stack.target_kind() if pulumi_stack else "existing")
    named = LabConfig(target=ExistingTarget(kubeconfig=kubeconfig or "", context=context))
    config = pulumi_stack.config() if pulumi_stack else named
    if shutil.which(command[0]) is None:
        raise GuardError(f"{command[0]}: there is no such command; correct it, or its path")
    if config.target.kubeconfig:  # the command changes the cluster that is watched
        os.environ["KUBECONFIG"] = str(PROJECT_FOLDER / Path(config.target.kubeconfig).expanduser())
    watched = namespace or config.waypoint_namespace
    stack_of_lab = pulumi_stack if watched == config.waypoint_namespace else None
    before = deployed(stack_of_lab) if stack_of_lab else None
    change = GuardedChange(
        command,
        rollback,
        before_seconds or seconds,
        seconds,
        limit,
        lambda: stack_rules(rules, stack_of_lab, before) if stack_of_lab else rules,
        STDERR if as_json else None,
        replace(rules, expected={}, may_be_silent=frozenset()),
    )
    record = reports.Recording(destination, pulumi_stack, ctx.obj.state)
    waypoints = Waypoints(config.target, watched)
    objects = guard_report.objects(waypoints, report) if destination else {}
    result = watch(source(waypoints), change, report)
    if as_json:
        output.print_json(result.document())
    else:
        show(result)
    if destination:
        summary = f"{without_secrets(' '.join(command))}: the traffic of namespace {watched} before and after"
        with reports.attempt():
            sections = guard_report.sections(result, waypoints, objects, report)
            proxy = proxy_versions.read(config.target, watched, waypoints.names)
            record.write(
                "lab guard", result.verdict.value, summary, guard_report.CONFIDENCE, sections, proxy, config.target
            )
    return signals.EXIT if result.interrupted else EXIT_CODES[result.verdict]
